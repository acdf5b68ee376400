"""Networks that take (B, T, ...): read as what they are, while contract and graph are time first."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import INPUT, SAMPLES, B, T, Written, compared, lif, on_grid, refusal

import qleaky
from qleaky import lower
from qleaky.integer import FloatNetwork


def indexes(layers: Any, x: Tensor) -> Any:
    mem, spikes = layers.lif1.reset_mem(), []
    for t in range(x.shape[1]):
        spk, mem = layers.lif1(layers.fc1(x[:, t]), mem)
        spikes.append(spk)
    return torch.stack(spikes, dim=1)


def selects(layers: Any, x: Tensor) -> Any:
    mem, spikes = None, []
    for t in range(x.shape[1]):
        spk, mem = layers.lif1(layers.fc1(x.select(1, t)), mem)
        spikes.append(spk)
    return torch.stack(spikes, 1)


def unbinds(layers: Any, x: Tensor) -> Any:
    mem, spikes = None, []
    for now in layers.fc1(x).unbind(dim=1):
        spk, mem = layers.lif1(now, mem)
        spikes.append(spk)
    return torch.stack(spikes).transpose(0, 1)


def permutes(layers: Any, x: Tensor) -> Any:
    mem, spikes = None, []
    for now in x.permute(1, 0, 2):
        spk, mem = layers.lif1(layers.fc1(now), mem)
        spikes.append(spk)
    return torch.stack(spikes, dim=1)


def whole(layers: Any, x: Tensor) -> Any:
    return layers.lif1.sequence(layers.fc1(x).transpose(0, 1))[0].movedim(0, 1)


def merges(layers: Any, x: Tensor) -> Any:
    batch, steps, _ = x.shape
    current, mem, spikes = layers.fc1(x.reshape(batch * steps, -1)).view(batch, steps, -1), None, []
    for t in range(steps):
        spk, mem = layers.lif1(current[:, t, ...], mem)
        spikes.append(spk)
    return torch.stack(spikes, dim=1)


def turned(net: nn.Module, *inputs: Tensor) -> None:
    """Forward takes everything at once, batch first."""
    net(*(x.transpose(0, 1) for x in inputs))


@pytest.mark.parametrize("forward", [indexes, selects, unbinds, permutes, whole, merges])
@pytest.mark.parametrize("shape", [(B, T, INPUT), (T, T, INPUT), (1, T, INPUT), (B, 1, INPUT)])
def test_forwards_with_the_batch_first_are_one_contract(forward: Any, shape: tuple[int, ...]) -> None:
    network = compared(Written(forward), torch.zeros(shape), turned)
    assert (network.num_steps, network.input.shape, network.readout.kind) == (shape[1], (INPUT,), "spikes")


@pytest.mark.parametrize(
    ("readout", "kind"),
    [
        (lambda spikes: spikes.sum(dim=1), "spike_count"),
        (lambda spikes: spikes.mean(1), "spike_count"),
        (lambda spikes: spikes.transpose(0, 1).sum(0), "spike_count"),
        (lambda spikes: spikes, "spikes"),
    ],
)
def test_results_with_the_batch_first_are_readouts(readout: Any, kind: str) -> None:
    net = Written(lambda layers, x: readout(indexes(layers, x)))
    assert lower(net, torch.zeros(B, T, INPUT), input_format="spikes").readout.kind == kind


def test_a_network_that_takes_time_first_may_return_the_batch_first() -> None:
    net = Written(lambda layers, x: layers.lif1.sequence(layers.fc1(x))[0].transpose(0, 1))
    assert compared(net, torch.zeros(T, B, INPUT)).readout.kind == "spikes"


def test_convolutions_on_merged_batches_and_steps() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        maps = layers.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        spikes, _ = layers.third.sequence(maps.transpose(0, 1))
        return spikes.transpose(0, 1).mean(1)

    net = Written(forward, conv=on_grid(nn.Conv2d(2, 3, 3)), third=lif())
    assert compared(net, torch.zeros(B, T, 2, 5, 5), turned).input.shape == (2, 5, 5)


def test_several_inputs_with_the_batch_first() -> None:
    class Two(Written):
        def forward(self, left: Tensor, right: Tensor) -> Any:
            return whole(self, left + right)

    network = compared(Two(whole), (torch.zeros(B, T, INPUT), torch.zeros(B, T, INPUT)), turned)
    assert [source.name for source in network.inputs] == ["left", "right"]


def test_the_artefact_is_time_first_and_compared_with_the_network_itself(tmp_path: Any) -> None:
    net = Written(indexes)
    network = lower(net, torch.zeros(B, T, INPUT), input_format="spikes")
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    inputs = (torch.rand(T, SAMPLES, INPUT) < 0.5).float()
    report = qleaky.verify(tmp_path / "net.onnx", network, inputs, module=net)
    assert (report.verdict, report.mismatches) == ("proved", 0)
    assert qleaky.Runner(tmp_path / "net.onnx").run(inputs.to(torch.uint8).numpy())["spikes"].shape[:2] == (T, SAMPLES)


def test_golden_vectors_are_time_first() -> None:
    net = Written(indexes, lif1=qleaky.Leaky(0.9))
    network = lower(net, torch.rand(B, T, INPUT))
    assert isinstance(network, FloatNetwork)
    assert network.golden.inputs["input"].shape == (T, B, INPUT)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda layers, x: layers.fc1(x)[:, ::2], "some steps of the sequence; take whole steps, x[:, t], and all channels"),
        (lambda layers, x: torch.relu(layers.fc1(x)), "relu cannot be exported"),
        (lambda layers, x: torch.stack([layers.bn(layers.fc1(x[:, t])) for t in range(T)], 1), "qleaky.fold_batch_norm(net)"),
    ],
)
def test_what_stands_in_the_way_is_told_in_the_reading_that_fits(function: Any, message: str) -> None:
    net = Written(lambda layers, x: layers.lif1.sequence(function(layers, x).transpose(0, 1)), bn=nn.BatchNorm1d(4))
    found = refusal(net, torch.zeros(B, T, INPUT))
    assert message in found
    assert "moves the batch or time axis" not in found


def test_a_sequence_with_the_batch_first_is_refused_with_the_fix() -> None:
    net = Written(lambda layers, x: (layers.lif1.sequence(layers.fc1(x.transpose(0, 1))), layers.lif2.sequence(layers.fc1(x))))
    assert "(T, B, ...); here it is given (B, T, ...); transpose(0, 1) it" in refusal(net, torch.zeros(T, B, INPUT))
