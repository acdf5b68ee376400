"""Currents that the search computes from the step graph, against what the layers of the network are given."""

from typing import Any

import pytest
import torch
from networks import CASES, network
from torch import Tensor

from qleaky import Leaky
from qleaky.calibration.blocks import blocks_of
from qleaky.calibration.measuring import run
from qleaky.calibration.parts import parts_of
from qleaky.calibration.samples import Calling, arguments_of, read_samples
from qleaky.calibration.values import Values

CHECKED = [name for name in CASES if name != "batch norm"]


def currents(net: Any, samples: Any) -> dict[str, Tensor]:
    """What reaches every neuron layer, undone from its recorded spikes and membranes: I = U[t] - beta U[t-1] + R theta."""
    recorded = run(net, samples)
    found = {}
    for neurons in samples.graph.neurons:
        layer = neurons.module
        assert isinstance(layer, Leaky)
        after = recorded.membranes[neurons.name].double()
        before = torch.cat([torch.zeros_like(after[:1]), after[:-1]])
        reset = (before > layer.threshold).double()
        found[neurons.name] = after - layer.beta.double() * before + reset * layer.threshold.double()
    return found


@pytest.mark.parametrize("name", [name for name in CHECKED if "zero reset" not in name])
def test_currents_are_those_of_the_network(name: str) -> None:
    case, net = CASES[name], network(name)
    samples = read_samples(net, arguments_of(case.inputs()), Calling(**case.arguments))
    values = Values(samples, run(net, samples).spikes)
    for neurons in samples.graph.neurons:
        expected = currents(net, samples)[neurons.name]
        assert torch.allclose(values.current(neurons, {}).double(), expected.detach(), atol=1e-5), neurons.name


@pytest.mark.parametrize("name", CHECKED)
def test_every_weighted_layer_is_decided_once_in_order_of_execution(name: str) -> None:
    case, net = CASES[name], network(name)
    samples = read_samples(net, arguments_of(case.inputs()), Calling(**case.arguments))
    weighted = parts_of(net).weighted
    decided = [path for block in blocks_of(samples.graph, weighted) for path in block.weighted]
    assert sorted(decided) == sorted(weighted)
    assert len(set(decided)) == len(decided)


def test_samples_are_found_on_their_axis() -> None:
    for name in CHECKED:
        case = CASES[name]
        samples = read_samples(network(name), arguments_of(case.inputs()), Calling(**case.arguments))
        assert (samples.count, samples.num_steps) == (24, 6), name
        picked = samples.taken(torch.tensor([5, 1]))
        assert picked.count == 2
        assert [batch.count for batch in samples.batches(10)] == [10, 10, 4]
