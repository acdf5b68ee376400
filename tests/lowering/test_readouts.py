"""What leaves a network: what forward returns of the layers in which it ends, or what the user names."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, Leaky, QuantLinear, lower
from qleaky.errors import InputError, LoweringError

B, T, N, M = 3, 5, 4, 3


class Net(nn.Module):
    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = [forward]
        self.fc, self.lif = QuantLinear(N, M), Leaky(0.5, threshold=0.5, state_quant=FixedPoint(8, 5))
        self.other, self.lif2 = QuantLinear(N, 2), Leaky(0.5, threshold=0.5, state_quant=FixedPoint(8, 5))

    def forward(self, x: Tensor) -> Any:
        return self.function[0](self, x)


def lowered(forward: Any, **arguments: Any) -> Any:
    return lower(Net(forward), torch.zeros(T, B, N), input_format="spikes", **arguments)


def accumulated(net: Any, x: Tensor, which: int, share: bool = False) -> Any:
    mem, total = None, torch.zeros(x.shape[1], M)
    for now in x:
        result = net.lif(net.fc(now), mem)
        mem = result[1]
        total = total + result[which]
    return total / T if share else total


def in_place(net: Any, x: Tensor) -> Any:
    mem, total = None, 0
    for now in x:
        spk, mem = net.lif(net.fc(now), mem)
        total += spk
    return total


@pytest.mark.parametrize(
    ("forward", "kind"),
    [
        (lambda net, x: net.lif.sequence(net.fc(x)), "spikes"),
        (lambda net, x: net.lif.sequence(net.fc(x))[0], "spikes"),
        (lambda net, x: net.lif.sequence(net.fc(x))[0].sum(0), "spike_count"),
        (lambda net, x: net.lif.sequence(net.fc(x))[0].mean(dim=0), "spike_count"),
        (lambda net, x: net.lif.sequence(net.fc(x))[1].mean(0), "membrane_mean"),
        (lambda net, x: net.lif.sequence(net.fc(x))[1][-1], "last_membrane"),
        (lambda net, x: accumulated(net, x, 0), "spike_count"),
        (lambda net, x: accumulated(net, x, 0, share=True), "spike_count"),
        (lambda net, x: accumulated(net, x, 1, share=True), "membrane_mean"),
        (lambda net, x: sum(net.lif.sequence(net.fc(x))[0].unbind(0)), "spike_count"),
        (in_place, "spike_count"),
    ],
)
def test_forward_shows_what_it_returns(forward: Any, kind: str) -> None:
    assert lowered(forward).readout.kind == kind


@pytest.mark.parametrize(
    ("forward", "made"),
    [
        (lambda net, x: net.lif.sequence(net.fc(x))[0].sum(-1), "torch.Tensor.sum at"),
        (lambda net, x: net.lif.sequence(net.fc(x))[0][-1], "__getitem__ at"),
        (lambda net, x: net.lif.sequence(net.fc(x))[1][0], "__getitem__ at"),
        (lambda net, x: net.lif.sequence(net.fc(x))[0].sum(0) * 2, "torch.Tensor.mul at"),
        (lambda net, x: sum(net.lif.sequence(net.fc(x))[0].unbind(0)[1:]), "torch.Tensor.add at"),
        (lambda net, x: torch.relu(net.lif.sequence(net.fc(x))[0]), "torch.relu at"),
    ],
)
def test_what_is_no_readout_must_be_named(forward: Any, made: str) -> None:
    with pytest.raises(LoweringError) as caught:
        lowered(forward)
    assert f"forward returns values of 'lif' that it computed further ({'torch.Tensor.' * made.startswith('__')}{made} " in str(
        caught.value
    )
    assert "'test_readouts.py:" in str(caught.value)
    assert str(caught.value).endswith("with readout='spikes', 'spike_count', 'membrane_mean', 'last_membrane'.")
    assert lowered(forward, readout="membrane_mean:argmax").readout.argmax


def test_membranes_of_all_steps_are_no_readout_but_a_probe() -> None:
    with pytest.raises(LoweringError, match=r"the membranes of 'lif' at every step.*probe=True.*as output lif\.mem"):
        lowered(lambda net, x: net.lif.sequence(net.fc(x))[1])


def two_ends(net: Any, x: Tensor) -> Any:
    return net.lif.sequence(net.fc(x))[0], net.lif2.sequence(net.other(x))[0].sum(0)


def test_a_network_may_end_in_several_layers() -> None:
    network = lowered(two_ends)
    assert [(r.layer, r.kind) for r in network.readouts] == [("lif", "spikes"), ("lif2", "spike_count")]
    outputs = qleaky.run(network, torch.ones(T, 2, N)).outputs
    assert {name: array.shape for name, array in outputs.items()} == {"lif.spikes": (T, 2, M), "lif2.spike_count": (2, 2)}


def test_readouts_by_layer() -> None:
    network = lowered(two_ends, readout={"lif2": "last_membrane", "lif": "spike_count:argmax"})
    assert [(r.layer, r.kind, r.argmax) for r in network.readouts] == [
        ("lif2", "last_membrane", False),
        ("lif", "spike_count", True),
    ]


def test_a_readout_of_a_layer_that_is_none() -> None:
    with pytest.raises(InputError, match="readout names layer 'fc'; the network's Leaky layers are lif, lif2"):
        lowered(two_ends, readout={"fc": "spikes"})
