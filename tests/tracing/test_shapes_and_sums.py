"""Shapes, sums, constants and joins: what moves numbers about, several inputs, and branches that evaluation does not take."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import HIDDEN, INPUT, B, T, Written, compared, layers_of, on_grid, refusal, sequence, step, steps

from qleaky import QFormat, QuantLinear, lower

Forward = Any


def image(x: Tensor) -> Tensor:
    """(B, 4) -> (B, 2, 2)."""
    return x.view(len(x), 2, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.view(len(y), 2, 2).permute(0, 2, 1).reshape(len(y), -1),
        lambda y: y.unflatten(1, (2, 2)).transpose(1, 2).flatten(1),
        lambda y: y.reshape(-1, 2, 2).mT.contiguous().view(-1, 4),
        lambda y: torch.reshape(y, (len(y), 2, 2)).swapaxes(-1, -2).flatten(start_dim=1),
        lambda y: torch.movedim(y.unflatten(-1, (1, 2, 2)), 3, 2).flatten(1),
        lambda y: y.unflatten(1, (2, 2)).transpose(dim0=-1, dim1=-2).squeeze().flatten(1),
        lambda y: y.unsqueeze(0).squeeze(0).unsqueeze(-1).squeeze(2)[:, :],
        lambda y: y[None][0],
        lambda y: y.to(torch.float32).clone().contiguous().detach(),
    ],
)
def test_other_shapes_of_a_sample(function: Forward) -> None:
    net = Written(lambda layers, x: layers.lif1(layers.inner(function(layers.fc1(x)))), hidden=True)
    net.inner = on_grid(nn.Linear(HIDDEN, HIDDEN))
    network = compared(net, step(), steps, num_steps=T)
    assert {kind for _, kind in layers_of(network)} <= {"Linear", "Reshape", "Transpose", "LIF"}


@pytest.mark.parametrize(
    "function",
    [
        lambda layers, x: layers.fc1(x.flatten(0, 1)).unflatten(0, (len(x), -1)),
        lambda layers, x: layers.fc1(x.reshape(-1, INPUT)).view(*x.shape[:2], -1),
        lambda layers, x: layers.fc1(x.view(-1, INPUT)).reshape(len(x), x.shape[1], HIDDEN),
        lambda layers, x: torch.stack([layers.fc1(now) for now in x]),
        lambda layers, x: torch.cat([layers.fc1(x[t : t + 1]) for t in range(len(x))]),
        lambda layers, x: torch.cat([layers.fc1(part) for part in x.split(1)], dim=0),
    ],
)
def test_time_and_batch_may_be_merged_and_split(function: Forward) -> None:
    network = compared(Written(lambda layers, x: layers.lif1.sequence(function(layers, x))), sequence())
    assert layers_of(network) == [("fc1", "Linear"), ("lif1", "LIF")]


@pytest.mark.parametrize(
    "function",
    [
        lambda layers, y: y + layers.inner(y),
        lambda layers, y: layers.inner(y) - y,
        lambda layers, y: torch.sub(y, layers.inner(y)),
        lambda layers, y: y.add(layers.inner(y)).add_(y),
        lambda layers, y: torch.rsub(y, layers.inner(y)),
        lambda layers, y: y + layers.inner(y) * 0.25 + 1.5,
        lambda layers, y: 2 - layers.inner(y) / 4 - y,
        lambda layers, y: -y + (layers.inner(y) > -100).new_tensor(0.5),
        lambda layers, y: y * layers.scale + layers.scale,
        lambda layers, y: layers.scale * y - layers.scale.new_ones(HIDDEN),
        lambda layers, y: y * torch.ones_like(y) * True,
        lambda layers, y: y + layers.inner(y).view(-1, 2, 2).transpose(1, 2).flatten(1),
        lambda layers, y: y + layers.narrow(y),
        lambda layers, y: torch.cat([y[:, None], layers.inner(y)[:, None]], 1).flatten(1) @ layers.pick,
        lambda layers, y: torch.cat((y, layers.inner(y)), dim=-1) @ layers.pick,
    ],
)
def test_sums_products_with_constants_and_joins_on_their_own_grids(function: Forward) -> None:
    net = Written(lambda layers, x: layers.lif2(layers.fc2(function(layers, layers.lif1(layers.fc1(x))))), hidden=True)
    net.inner, net.narrow = on_grid(nn.Linear(HIDDEN, HIDDEN), 5), on_grid(nn.Linear(HIDDEN, 1))
    net.register_buffer("scale", torch.tensor([1.0, -2.0, 0.5, 1.25]))
    net.register_buffer("pick", torch.randint(-2, 3, (2 * HIDDEN, HIDDEN)) / 2.0)
    compared(net, step(), steps, num_steps=T)


def test_a_residual_block() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = (on_grid(nn.Conv2d(2, 2, 3, padding=1, bias=False)) for _ in range(2))
            self.lif1, self.lif2 = Written(None, hidden=True).lif1, Written(None, hidden=True).lif2  # type: ignore[arg-type]

        def forward(self, x: Tensor) -> Tensor:
            return self.lif2(self.conv2(self.lif1(self.conv1(x))) + x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = compared(nn.Sequential(Block(), Block()), torch.zeros(B, 2, 4, 4), steps, num_steps=T)
    assert [kind for _, kind in layers_of(network)] == ["Conv", "LIF", "Conv", "Add", "LIF"] * 2


class DropPath(nn.Module):
    """Leaves a branch out at random in training."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full((len(x), 1), 0.5))


def test_branches_that_evaluation_does_not_take() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        y = layers.fc1(x)
        return layers.lif1(y + layers.path(layers.drop(layers.inner(y))))

    net = Written(forward, hidden=True, inner=QuantLinear(HIDDEN, HIDDEN), path=DropPath(), drop=nn.Dropout(0.9)).train()
    compared(net, step(), steps, num_steps=T)


# Several inputs


def both(layers: Any, x: Tensor, y: Tensor) -> Any:
    return layers.lif1.sequence(layers.fc1(x) + layers.other(y))


class TwoInputs(Written):
    def forward(self, left: Tensor, right: Tensor) -> Any:
        return self.function[0](self, left, right)


def test_two_inputs_that_change_with_time() -> None:
    net = TwoInputs(both, other=on_grid(nn.Linear(2, HIDDEN)))
    formats = {"left": QFormat(6, 2), "right": "spikes"}
    network = compared(net, (sequence(), torch.zeros(T, B, 2)), input_format=formats)
    assert [(i.name, i.shape, i.time) for i in network.inputs] == [("left", (5,), "sequence"), ("right", (2,), "sequence")]


def test_an_input_that_stays_beside_one_that_changes() -> None:
    net = TwoInputs(both, other=on_grid(nn.Linear(2, HIDDEN)))
    network = compared(net, (sequence(), torch.zeros(B, 2)))
    assert [i.time for i in network.inputs] == ["sequence", "static"]


def test_two_inputs_of_a_step() -> None:
    def forward(layers: Any, x: Tensor, y: Tensor) -> Any:
        return layers.lif1(layers.fc1(x) + layers.other(y))

    net = TwoInputs(forward, hidden=True, other=on_grid(nn.Linear(2, HIDDEN)))
    compared(net, (step(), torch.zeros(B, 2)), steps, num_steps=T)


def test_an_argument_that_nothing_depends_on_is_no_input() -> None:
    net = TwoInputs(lambda layers, x, y: layers.lif1.sequence(layers.fc1(x)))
    assert [i.name for i in lower(net, (sequence(), step()), input_format="spikes").inputs] == ["input"]


def test_arguments_that_are_no_tensors_are_passed_on() -> None:
    net = TwoInputs(lambda layers, x, scale: layers.lif1.sequence(layers.fc1(x) * scale))
    assert lower(net, (sequence(), 0.5), input_format="spikes").layers[1].scale == 1


# What mixes samples or steps


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda layers, x: layers.fc1(x.transpose(0, 2).transpose(0, 2)),
            "transpose moves the batch or time axis into the sample; data are (T, B, ...) or (B, T, ...)",
        ),
        (
            lambda layers, x: layers.fc1(x.flatten(0, 1)).view(x.shape[1], len(x), -1),
            "mixes the batch (or time) axis with those",
        ),
        (lambda layers, x: layers.fc1(x.permute(2, 1, 0).permute(2, 1, 0)), "permute moves the batch or time axis"),
        (lambda layers, x: layers.fc1(x.flip(0)), "flip cannot be exported; reverse the input before the network"),
        (lambda layers, x: layers.fc1(x.roll(1, 0)), "roll cannot be exported; shift the input before the network"),
        (lambda layers, x: layers.fc1(x[torch.arange(T)]), "indexing picks some steps of the sequence; take whole steps, x[t]"),
        (lambda layers, x: layers.fc1(x[::2].repeat(2, 1, 1)), "indexing picks some steps of the sequence"),
        (lambda layers, x: layers.fc1(x)[..., :2], "indexing picks"),
        (lambda layers, x: layers.fc1(x)[:, :, torch.tensor([1, 0])], "indexing picks"),
        (lambda layers, x: layers.fc1(x) + x.sum(-1, keepdim=True), "sum along axes of a sample cannot be exported"),
        (lambda layers, x: layers.fc1(x) - layers.fc1(x).mean(0), "a sum over all steps feeds a layer"),
        (lambda layers, x: layers.fc1(x) + layers.fc1(x[0]), "mixes one time step with a whole sequence"),
        (lambda layers, x: layers.fc1(x) + torch.arange(x.shape[1])[:, None], "differ between samples or steps"),
        (lambda layers, x: layers.fc1(x) + torch.arange(T)[:, None, None], "differ between samples or steps"),
        (lambda layers, x: layers.fc1(torch.cat([x[1:], x[:1]])), "indexing picks some steps"),
        (lambda layers, x: layers.fc1(torch.cat([x, x], 1))[:, : x.shape[1]], "cat along axis 1 joins batches or steps"),
        (lambda layers, x: layers.fc1(torch.stack([x[t] for t in reversed(range(T))])), "are not the 6 steps in order"),
        (lambda layers, x: layers.fc1(torch.stack([x[max(t - 1, 0)] for t in range(T)])), "are not the 6 steps in order"),
        (lambda layers, x: layers.fc1(x.cumsum(0)), "cumsum cannot be exported; only Leaky layers keep a state over time"),
        (lambda layers, x: layers.fc1(x) * layers.fc1(x), "a product of two signals is no spiking layer; multiply with"),
        (lambda layers, x: layers.fc1(x) @ layers.fc1(x[0]).t(), "a product of two signals is no spiking layer; use Linear"),
        (lambda layers, x: torch.einsum("tbi,hi->tbh", x, layers.fc1.weight), "einsum cannot be exported; use Linear"),
    ],
)
def test_what_mixes_samples_or_steps_is_refused(function: Forward, message: str) -> None:
    found = refusal(Written(lambda layers, x: layers.lif1.sequence(function(layers, x))), sequence())
    assert message in found
    assert "test_shapes_and_sums.py:" in found


def test_a_batch_that_looks_like_features_is_told_from_them() -> None:
    """(B, N) with B = N: a transposed product would fit at this one batch size only."""
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x.T)), hidden=True)
    assert "T moves the batch or time axis" in refusal(net, torch.zeros(INPUT, INPUT), num_steps=T)


def test_a_sample_without_a_batch_is_refused() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x)), hidden=True)
    message = refusal(net, torch.zeros(INPUT), num_steps=T)
    assert "forward works for a batch" in message or "pass (B, features)" in message or "forward failed" in message


def test_outputs_of_different_shape_for_other_batches_are_refused() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x) if len(x) == B else layers.fc1(x) * 2), hidden=True)
    assert f"for a batch of {2 * B} than for one of {B}; it must do the same" in refusal(net, step(), num_steps=T)
