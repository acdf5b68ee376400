"""A quantized network comes back from its float network, its structure and its state, to the same contract."""

import json
from typing import Any

import pytest
import torch
from quantized_networks import quantized

import qleaky
from qleaky import Leaky, Levels, QFormat, ShiftDecay
from qleaky.errors import ArtefactError, InputError
from qleaky.models import FeedForward
from qleaky.models.structure import describe, restructure

FORMAT = QFormat(8, 8, signed=False)


def image_network() -> FeedForward:
    return FeedForward(["3C3", "AP2", 7, 4], None, input_shape=(1, 8, 8), num_steps=5)


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_bits": 8},
        {"weight_bits": 4, "per_channel": True},
        {"weight_bits": 2, "per_channel": True},
        {"weight_bits": "ternary"},
        {"weight_bits": "binary"},
        {"weight_bits": 8, "accumulator_bits": 20},
    ],
)
def test_structure_and_state_give_the_same_contract(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = quantized(image_network(), FORMAT, 4, **settings)
    structure = json.loads(json.dumps(describe(net)))
    again = image_network()
    restructure(again, structure)
    again.load_state_dict(net.state_dict())
    contracts = [
        qleaky.lower(each.eval(), torch.zeros(2, 1, 8, 8), input_format=FORMAT, readout="spike_count") for each in (net, again)
    ]
    assert contracts[0].digest == contracts[1].digest
    assert type(contracts[0]).__name__ == "IntegerNetwork"
    assert describe(again) == describe(net)


def test_a_float_network_has_no_structure() -> None:
    assert describe(image_network()) == {}


@pytest.mark.parametrize(
    "lif", [Leaky(0.5, state_quant=Levels([0.0, 1.0])), Leaky(0.5, state_quant=qleaky.FixedPoint(8, 5), decay=ShiftDecay(2))]
)
def test_other_neurons_are_refused(lif: Leaky) -> None:
    net = image_network()
    net.lif2 = lif
    with pytest.raises(InputError, match=r"lif2: a state quantizer .* with decay .*; a quantized network has FixedPoint"):
        describe(net)


@pytest.mark.parametrize(
    "structure",
    [{"fc9": {"weight_bits": 8}}, {"fc2": {"weight_bits": 8}}, {"pool1": {"input_format": "spikes"}}, {"lif1": {"bits": 8}}],
)
def test_a_structure_of_another_network_is_refused(structure: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match=f"The structure does not fit the network: '{next(iter(structure))}' is a "):
        restructure(image_network(), structure)
