"""The JSON Schema of ``.qleaky`` files: the kept file is the one the types give, and what is saved satisfies it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_schemas import KNOWN, problems
from safetensors import safe_open

from qleaky.dynamics import MulShift, ResetTiming, ShiftDecay
from qleaky.fixed import QFormat
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    FloatAffine,
    FloatConv,
    FloatInput,
    FloatLIF,
    FloatLinear,
    FloatNetwork,
    Golden,
    Input,
    IntegerNetwork,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Synapse,
    Transpose,
    load_network,
)
from qleaky.integer.schema import schema, schema_text

KEPT = Path(__file__).resolve().parents[2] / "export" / "schema" / "qleaky.schema.json"
ONES = np.ones((4, 2, 2, 2), np.int8)
FLOATS = np.ones((4, 2, 2, 2), np.float32)
WINDOW: dict[str, Any] = {"stride": (1, 1), "pads": ((0, 1), (1, 0)), "dilation": (1, 1)}
STATE = QFormat(8, 3)


def every_layer() -> IntegerNetwork:
    synapse = Synapse(state=STATE, decay=MulShift(n=4), multiplier=np.array([9]))
    pool = {"kernel": (2, 2), "stride": (2, 2), "pads": ((0, 0), (0, 0))}
    layers = (
        Conv(name="conv", input="image", weight=ONES, weight_frac_bits=2, **WINDOW),
        Affine(name="affine", input="conv", scale=np.array(3), bias=np.array(1), scale_frac_bits=1),
        LIF(
            name="lif",
            input="affine",
            state=STATE,
            theta=np.array(8),
            synapse=synapse,
            max_spikes=3,
            reset_timing=ResetTiming.SAME_STEP,
        ),
        MaxPool(name="max", input="lif", dilation=(1, 1), **pool),
        AveragePool(name="mean", input="lif", divisor=4, **pool),
        Concat(name="join", inputs=("max", "mean"), axis=0),
        Transpose(name="turn", input="join", axes=(2, 0, 1)),
        Reshape(name="flat", input="turn", shape=(32,)),
        Delay(name="before", input="out", shape=(3,), frac_bits=0, low=0, high=1),
        Linear(name="fc", input="flat", weight=np.ones((3, 32), np.int8), bias=np.zeros(3, np.int8), weight_frac_bits=0),
        Add(name="sum", inputs=("fc", "before", "extra"), signs=(1, -1, 1)),
        LIF(name="out", input="sum", state=STATE, theta=np.array([5, 6, 7]), decay=ShiftDecay(2, at_least_one=True)),
    )
    image, extra = Input((2, 4, 4), QFormat(4, 1), "static", "image"), Input((3,), QFormat(8, 0), name="extra")
    readouts = (Readout("out", "spike_count", argmax=True), Readout("lif", "membrane_mean"))
    return IntegerNetwork(inputs=(image, extra), num_steps=3, layers=layers, readouts=readouts)


def every_float_layer() -> FloatNetwork:
    one, record = np.ones((), np.float32), np.zeros((2, 1, 3), np.float32)
    lif = FloatLIF(name="lif", input="fc", beta=one, theta=one, graded=one, state=STATE, levels=np.arange(3, dtype=np.float32))
    layers = (
        FloatConv(name="conv", input="image", weight=FLOATS, **WINDOW),
        FloatAffine(name="affine", input="conv", scale=one),
        Reshape(name="flat", input="affine", shape=(64,)),
        FloatLinear(name="fc", input="flat", weight=np.ones((3, 64), np.float32), bias=np.ones(3, np.float32)),
        lif,
    )
    golden = Golden({"image": np.zeros((2, 1, 2, 4, 4), np.float32)}, {"lif": record}, {"lif": record})
    parts: dict[str, Any] = {"layers": layers, "readouts": (Readout("lif"),), "reasons": ("beta",), "golden": golden}
    return FloatNetwork(inputs=(FloatInput((2, 4, 4), STATE, name="image"),), num_steps=2, **parts)


def structure(network: IntegerNetwork | FloatNetwork, folder: Path) -> Any:
    network.save(folder / "net.qleaky")
    assert load_network(folder / "net.qleaky").digest == network.digest
    with safe_open(folder / "net.qleaky", framework="np") as file:
        return json.loads(file.metadata()["qleaky"])


def test_the_kept_schema_is_the_one_of_the_code() -> None:
    assert KEPT.read_text() == schema_text(), "run: python -m qleaky.integer.schema > export/schema/qleaky.schema.json"


def test_the_schema_uses_only_keywords_that_the_check_knows() -> None:
    names = {name for part in schema()["$defs"].values() for name in part.get("properties", {})} | set(schema()["$defs"])
    used = set(re.findall(r'"([^"]+)":', schema_text())) - names
    assert used - KNOWN - {"propertyName", "mapping", *re.findall(r'"([a-z_]+)": "#/', schema_text())} == set()


@pytest.mark.parametrize("network", [every_layer(), every_float_layer()], ids=["integer", "float"])
def test_a_saved_network_satisfies_the_schema(network: IntegerNetwork | FloatNetwork, tmp_path: Path) -> None:
    assert problems(structure(network, tmp_path), schema(), schema()["$defs"]) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda held: held.update(version=1), "file.version: 1"),
        (lambda held: held["network"].update(colour="red"), "file.network: colour is unknown"),
        (lambda held: held["network"].pop("num_steps"), "file.network: num_steps is missing"),
        (lambda held: held["network"].update(num_steps="3"), "file.network.num_steps: '3' is no integer"),
        (lambda held: held.update(digest="0"), "file.digest: '0' is not like"),
        (lambda held: held["network"]["layers"][0].update(weight=[1]), r"file.network.layers[0].weight: [1] is no object"),
    ],
)
def test_what_the_schema_forbids(change: Any, found: str, tmp_path: Path) -> None:
    held = structure(every_layer(), tmp_path)
    change(held)
    assert any(p.startswith(found) for p in problems(held, schema(), schema()["$defs"]))


def test_every_kind_of_layer_is_in_the_networks_above() -> None:
    kinds = {layer.__struct_config__.tag for net in (every_layer(), every_float_layer()) for layer in net.layers}
    union = schema()["$defs"]
    tags = {part["properties"]["type"]["enum"][0] for part in union.values() if "type" in part.get("properties", {})}
    assert kinds == tags - {"integer", "float", "mul_shift", "shift_decay"}
