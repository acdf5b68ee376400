"""Networks that a careless tracer reads wrongly: each lowers to what torch computes, or is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import HIDDEN, INPUT, T, Written, call, compared, lif, refusal, sequence, step, steps

from qleaky import FloatNetwork, lower

OPAQUE = torch.jit.trace(lambda x: x.sum() * 0.5, torch.zeros(2))


def writes_to_data(layers: Any, x: Tensor) -> Any:
    currents = layers.inner(x)
    currents.data.clamp_(min=0)  # torch does not count this as a write
    return currents


def writes_to_a_view(layers: Any, x: Tensor) -> Any:
    currents = layers.inner(x)
    view = currents.view(len(x), -1)
    view += 1
    return currents


def writes_behind_a_view(layers: Any, x: Tensor) -> Any:
    currents = layers.inner(x)
    view = currents.view(*x.shape[:2], 2, 2)
    currents += 1
    return view.flatten(2)


def writes_out(layers: Any, x: Tensor) -> Any:
    currents = layers.inner(x)
    torch.mul(x[..., :2], 3, out=currents[..., :2])
    return currents


def relu_in_place(layers: Any, x: Tensor) -> Any:
    currents = layers.inner(x)
    torch.nn.functional.relu(currents.view(-1), True)
    return currents


def writes_to_a_constant(layers: Any, x: Tensor) -> Any:
    factor = layers.factor.clone()
    currents = layers.inner(x) * factor
    factor.mul_(0.5)
    return currents


def scripted(layers: Any, x: Tensor) -> Any:
    return layers.inner(x) + OPAQUE(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (writes_to_data, "in-place write"),
        (writes_to_a_view, "in-place write"),
        (writes_behind_a_view, "in-place write"),
        (writes_out, "in-place write"),
        (relu_in_place, "relu cannot be exported|in-place write|changed before"),
        (writes_to_a_constant, "a constant that it uses is written to in the same forward; write into a new tensor"),
        (scripted, "forward does something else for other values"),
    ],
)
def test_what_is_written_in_place_or_hidden_from_torch_functions_is_refused(function: Any, message: str) -> None:
    """With float weights, where no exact comparison finds it."""
    net = Written(lambda layers, x: layers.lif1.sequence(function(layers, x)), inner=nn.Linear(INPUT, HIDDEN))
    net.register_buffer("factor", torch.tensor([1.0, 2.0, 0.5, 1.0]))
    found = refusal(net, sequence())
    assert any(part in found for part in message.split("|")), found


def test_in_place_sums_of_new_tensors_are_sums() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        currents = layers.fc1(x)
        currents += layers.other(x)
        currents.mul_(2).add_(0.5)
        return layers.lif1.sequence(currents)

    compared(Written(forward, other=nn.Linear(INPUT, HIDDEN).requires_grad_(False).apply(_round)), sequence())


def _round(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.copy_(torch.round(parameter * 8) / 8)


def test_a_constant_that_is_changed_before_it_is_used_is_used_as_changed() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        offset = torch.zeros(HIDDEN)
        offset += 0.5
        currents = layers.fc1(x) + offset
        offset.mul_(100)
        return layers.lif1.sequence(currents)

    compared(Written(forward), sequence())


class Doubles(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) * 2


@pytest.mark.parametrize("path", ["fc1", "lif1"])
@pytest.mark.parametrize("kind", ["forward", "pre"])
def test_hooks_that_change_what_layers_take_or_give_are_part_of_the_network(path: str, kind: str) -> None:
    net = Written(lambda layers, x: layers.lif2(layers.fc2(layers.lif1(layers.fc1(x)))), hidden=True)
    if kind == "forward":
        net.get_submodule(path).register_forward_hook(lambda module, inputs, output: output * 2)
    else:
        net.get_submodule(path).register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    network = compared(net, step(), steps, num_steps=T)
    assert [layer.name for layer in network.layers if layer.name.endswith("scale")] == ["scale"]


def test_sequences_of_a_layer_that_keeps_its_state_go_on_where_the_last_one_ended() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        layers.lif1.sequence(layers.fc1(x))
        return layers.lif1.sequence(layers.fc1(x))

    assert "layer 'lif1' makes 12 steps where the sequence has 6" in refusal(Written(forward, hidden=True), sequence())
    compared(Written(forward), sequence(), call, {"lif1": ["lif1", "lif1_2"]}, readout="spikes")


def test_steps_after_a_sequence_go_on_where_it_ended() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        layers.lif1.sequence(layers.fc1(x))
        return torch.stack([layers.lif1(now)[0] for now in layers.fc1(x)])

    assert "layer 'lif1' makes 12 steps where the sequence has 6" in refusal(Written(forward), sequence())


def test_layers_that_are_called_in_another_order_in_one_step_are_the_same_network() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        spikes = []
        for t in range(len(x)):
            calls = [lambda t=t: layers.lif1(layers.fc1(x[t])), lambda t=t: layers.other(layers.fc1(x[t]))]
            results = [each() for each in (calls if t else calls[::-1])]
            spikes.append(results[0] if t else results[1])
        return torch.stack(spikes)

    compared(Written(forward, hidden=True, other=lif(init_hidden=True, threshold=1.0)), sequence())


def test_states_are_found_by_data_flow_and_not_by_their_order() -> None:
    def forward(layers: Any, x: Tensor, a: Tensor, b: Tensor) -> Any:
        spk, b = layers.lif1(layers.fc1(x), b)
        spk, a = layers.other(layers.fc1(x) - spk, a)
        return spk, a, b

    def drive(net: nn.Module, x: Tensor) -> None:
        a = b = torch.zeros(x.shape[1], HIDDEN)
        for now in x:
            _, a, b = net(now, a, b)

    zeros = torch.zeros(3, HIDDEN)
    compared(Written(forward, other=lif()), (step(), zeros, zeros), drive, num_steps=T)


class Remembers(nn.Module):
    """A closure keeps state that no trace sees."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.other, self.lif = layer, nn.Linear(INPUT, HIDDEN), lif(init_hidden=True)
        self.seen: list[int] = []

    def __deepcopy__(self, memo: Any) -> "Remembers":
        new = Remembers(self.layer)
        new.load_state_dict(self.state_dict())
        new.seen = self.seen
        return new

    def forward(self, x: Tensor) -> Any:
        self.seen.append(1)
        return self.lif((self.layer if len(self.seen) < 3 else self.other)(x))


def test_a_float_network_that_the_trace_misreads_is_found_by_running_it() -> None:
    assert "layer 'lif' computes something else in torch than its settings say" in refusal(
        Remembers(nn.Linear(INPUT, HIDDEN)), step(), num_steps=T
    )


@pytest.mark.parametrize("reset_timing", ["delayed", "same_step", "undelayed"])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("quantized", [True, False])
def test_float_networks_pass_the_check_by_running_them(reset_timing: str, overflow: str, quantized: bool) -> None:
    from qleaky import FixedPoint

    torch.manual_seed(0)
    settings: Any = {"state_quant": FixedPoint(6, 3, overflow=overflow)} if quantized else {"state_quant": False}
    neurons = lif(beta=0.9, reset_timing=reset_timing, **settings)
    net = Written(lambda layers, x: layers.neurons.sequence(layers.inner(x)), neurons=neurons, inner=nn.Linear(INPUT, HIDDEN))
    net.inner.weight.data *= 4
    assert isinstance(lower(net, torch.zeros(50, 2, INPUT), input_format="spikes"), FloatNetwork)
