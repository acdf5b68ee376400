"""Which form computes a LIF layer, what it is made of, and that it is exact for every membrane and current."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

from qleaky import IntegerNetwork, QFormat, Runner, run
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.export import cell_choice, onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.export.cell_choice import Style, new_cell
from qleaky.export.cells import Cell
from qleaky.export.graph import Graph
from qleaky.export.offset_cell import OffsetCell
from qleaky.export.plain_cell import PlainCell
from qleaky.export.quantized_cells import QuantizedCell, VectorQuantizedCell
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Input, Linear, Readout, Signal, Synapse

SOURCE = Signal((3,), 7, np.array(-900), np.array(900))
STATE16, STATE8 = QFormat(16, 7), QFormat(8, 5)


def lif(**fields: Any) -> LIF:
    given = {"state": STATE8, "theta": np.array(40), "decay": MulShift(n=8), "multiplier": np.array(230)}
    return LIF(name="lif", input="fc", **given | fields)  # type: ignore[arg-type]


def choose(
    layer: LIF, source: Signal = SOURCE, form: str = "scan", floats: bool = True, stacked: bool = False, plain: bool = False
) -> Cell:
    carrier = "float" if plain else "quantized" if floats else "integer"
    return new_cell(Graph(), layer, source, Style(form, frozenset({"lif"} if stacked else ())), carrier)


# Which form


@pytest.mark.parametrize(
    ("fields", "floats", "kind"),
    [
        ({}, True, QuantizedCell),
        ({"state": STATE16, "theta": np.array(900)}, True, QuantizedCell),
        ({"state": QFormat(12, 6)}, True, QuantizedCell),
        ({"rounding": Rounding.FLOOR}, True, QuantizedCell),
        ({"decay": None, "multiplier": None, "state": QFormat(8, 7), "rounding": Rounding.HALF_EVEN}, True, QuantizedCell),
        ({"theta": np.array([40, 41, 42])}, True, VectorQuantizedCell),
        ({"multiplier": np.array([230, 231, 232])}, True, VectorQuantizedCell),
        ({}, False, OffsetCell),
        ({"compare": Compare.INCLUSIVE}, False, OffsetCell),
        ({"theta": np.array([40, 41, 42])}, False, Cell),
        ({"compare": Compare.INCLUSIVE}, True, Cell),
        ({"theta": np.array(127)}, True, Cell),
        ({"theta": np.array(0)}, True, VectorQuantizedCell),
        ({"theta": np.array(-3)}, True, Cell),
        *(
            ({**fields}, floats, Cell)
            for floats in (True, False)
            for fields in (
                {"rounding": Rounding.HALF_EVEN},
                {"rounding": Rounding.TOWARD_ZERO},
                {"rounding_site": RoundingSite.DECAY},
                {"decay": ShiftDecay(3), "multiplier": None},
                {"reset_mechanism": ResetMechanism.ZERO},
                {"reset_timing": ResetTiming.SAME_STEP},
                {"overflow": Overflow.WRAP},
                {"graded": np.array(3)},
                {"max_spikes": 2},
                {"synapse": Synapse(state=QFormat(12, 6))},
            )
        ),
    ],
)
def test_the_fastest_form_whose_preconditions_hold_is_taken(fields: Any, floats: bool, kind: type[Cell]) -> None:
    assert type(choose(lif(**fields), floats=floats)) is kind


@pytest.mark.parametrize(
    ("fields", "kind", "dtype"),
    [
        ({}, PlainCell, "float32"),
        ({"state": STATE16, "theta": np.array(900), "compare": Compare.INCLUSIVE}, PlainCell, "float32"),
        ({"theta": np.array(-3)}, PlainCell, "float32"),
        ({"theta": np.array([40, 41, 42])}, Cell, "float32"),
        ({"rounding": Rounding.HALF_EVEN}, Cell, "float32"),
        ({"state": QFormat(20, 7)}, OffsetCell, "int32"),
    ],
)
def test_the_portable_form_is_plain_float_arithmetic(fields: Any, kind: type[Cell], dtype: str) -> None:
    cell = choose(lif(**fields), plain=True)
    assert (type(cell), cell.dtype.name) == (kind, dtype)


def test_one_step_graphs_take_the_general_form() -> None:
    assert type(choose(lif(), form="step")) is type(choose(lif(), form="step", floats=False)) is Cell


def test_spikes_come_from_all_membranes_where_the_layer_is_narrow() -> None:
    cells = [choose(lif(), form=form, stacked=True) for form in ("unrolled", "scan")]
    assert [cell.spikes_each_step for cell in cells] == [False, True]
    wide = Signal((300,), 7, np.array(-900), np.array(900))
    assert choose(lif(), wide, "unrolled", stacked=True).spikes_each_step
    assert not choose(lif(), floats=False, stacked=True).spikes_each_step


@pytest.mark.parametrize(
    ("state", "n", "reach", "dtype"),
    [
        (STATE16, 7, 1 << 15, "int16"),
        (STATE16, 7, 1 << 28, "int16"),  # what float32 loses of such a current saturates either way
        (STATE16, 8, 1 << 15, "float32"),  # no room for the bit more that a half-even rounding asks for
        (STATE16, 12, 1 << 15, "int32"),
        (QFormat(12, 7), 11, 1 << 12, "float32"),
        (QFormat(20, 7), 6, 1 << 20, "int32"),
        (QFormat(32, 7), 4, 1 << 40, "int64"),
        (STATE8, 8, 1 << 40, "int8"),
    ],
)
def test_float32_is_taken_only_where_it_holds_every_number(state: QFormat, n: int, reach: int, dtype: str) -> None:
    wide = Signal((3,), 7, np.array(-reach), np.array(reach))
    cell = choose(lif(state=state, decay=MulShift(n=n), multiplier=np.array((1 << n) - 1)), wide)
    assert cell.dtype.name == dtype


def test_int32_is_kept_by_clipping_a_current_that_saturates_anyway() -> None:
    wide = Signal((3,), 7, np.array(-(1 << 33)), np.array(1 << 33))
    cell = choose(lif(state=STATE16, theta=np.array(900)), wide, floats=False)
    assert cell.dtype == np.int32
    assert cell.clip is not None
    assert choose(lif(state=STATE16, overflow=Overflow.WRAP), wide, floats=False).dtype == np.int64


# What a step is made of


def network(layer: LIF, readout: Any = "spike_count", steps: int = 5, fan_in: int = 2) -> IntegerNetwork:
    weight = np.resize(np.array([100, -3, 7, 90], np.int8), (3, fan_in))
    fc = Linear(name="fc", input="input", weight=weight, bias=np.array([1, 2, -3]), weight_frac_bits=7)
    spikes = QFormat(1, 0, signed=False)
    return IntegerNetwork(
        inputs=(Input((fan_in,), spikes),), num_steps=steps, layers=(fc, layer), readouts=(Readout("lif", readout),)
    )


def operators(form: str, carrier: str, layer: LIF, readout: str = "spike_count") -> Counter[str]:
    """Operators that one more step adds to an unrolled graph, or those in the body of a Scan."""
    if form == "scan":
        model = onnx.load_model_from_string(onnx_bytes(network(layer, readout), form, carrier))
        body = next(a.g for n in model.graph.node for a in n.attribute if a.name == "body")
        return Counter(node.op_type for node in body.node)
    graphs = [onnx.load_model_from_string(onnx_bytes(network(layer, readout, steps), form, carrier)).graph for steps in (5, 6)]
    counts = [Counter(node.op_type for node in graph.node) for graph in graphs]
    return counts[1] - counts[0]


WIDE = {"state": STATE16, "theta": np.array(900), "decay": MulShift(n=7), "multiplier": np.array(115)}


@pytest.mark.parametrize(
    ("carrier", "form", "fields", "wanted"),
    [
        ("integer", "unrolled", {}, {"Clip": 2, "Mul": 2, "Add": 1, "Sub": 1, "Div": 1}),
        ("integer", "unrolled", WIDE, {"Clip": 2, "Mul": 2, "Add": 1, "Sub": 1, "BitwiseAnd": 1, "Div": 1}),
        ("quantized", "unrolled", WIDE, {"DequantizeLinear": 2, "Clip": 1, "Add": 1, "Sub": 1, "QuantizeLinear": 1}),
        ("float", "unrolled", WIDE, {"Gather": 1, "Mul": 2, "Add": 1, "Sub": 1, "Floor": 1, "Clip": 2}),
        ("quantized", "scan", WIDE, {"DequantizeLinear": 2, "Clip": 1, "Add": 1, "Sub": 1, "QuantizeLinear": 2, "Identity": 2}),
        (
            "quantized",
            "scan",
            {"theta": np.array([40, 41, 42])},
            {"DequantizeLinear": 1, "Mul": 2, "Cast": 1, "Add": 1, "Sub": 1, "QuantizeLinear": 1, "Greater": 1, "Identity": 2},
        ),
        (
            "integer",
            "unrolled",
            {"theta": np.array([40, 41, 42])},
            {"Mul": 1, "Where": 1, "Add": 1, "Sub": 1, "BitwiseAnd": 1, "Div": 1, "Clip": 1, "Greater": 1},
        ),
    ],
)
def test_the_operators_of_a_step(carrier: str, form: str, fields: Any, wanted: dict[str, int]) -> None:
    assert operators(form, carrier, lif(**fields)) == Counter(wanted)


def test_products_are_hoisted_out_of_time_or_kept_inside() -> None:
    for hint, products in ((None, 1), (10**8, 5)):
        model = onnx.load_model_from_string(onnx_bytes(network(lif()), "unrolled", batch_hint=hint))
        assert sum(node.op_type == "MatMulInteger" for node in model.graph.node) == products


# Every membrane against every current


def two_steps(layer: LIF) -> IntegerNetwork:
    """Sets the membrane to any code in the first step, and adds any current in the second."""
    return IntegerNetwork(
        inputs=(Input((1,), QFormat(9, 5)),), num_steps=3, layers=(layer,), readouts=(Readout("lif", "membrane_mean"),)
    )


CURRENTS = np.arange(-256, 256, 3)
PAIRS = np.array(list(itertools.product(np.arange(-128, 128), CURRENTS)), np.int16)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("rounding", ["half_up", "floor"])
@pytest.mark.parametrize("compare", ["strict", "inclusive"])
@pytest.mark.parametrize(("theta", "m"), [(1, 230), (40, 230), (126, 256), (40, 3), ([40], [230])])
def test_fast_forms_on_all_8_bit_membranes(theta: Any, m: Any, compare: Any, rounding: Any, form: str, carrier: str) -> None:
    layer = LIF(
        name="lif",
        input="input",
        state=STATE8,
        theta=np.array(theta),
        decay=MulShift(n=8),
        multiplier=np.array(m),
        rounding=rounding,
        compare=compare,
    )
    contract = two_steps(layer)
    inputs = np.stack([PAIRS[:, :1], PAIRS[:, 1:], PAIRS[::-1, 1:]])
    found = Runner(onnx_bytes(contract, form, carrier, probe=True)).run(inputs)
    expected = run(contract, inputs)
    assert np.array_equal(found["lif.mem"], expected.membranes["lif"])
    assert np.array_equal(found["lif.spk"], expected.spikes["lif"])
    assert 0 < expected.spikes["lif"].mean() < 1


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("mechanism", list(ResetMechanism))
@pytest.mark.parametrize("timing", list(ResetTiming))
def test_the_general_form_on_all_8_bit_membranes(
    timing: Any, mechanism: Any, rounding: Any, overflow: Any, carrier: str
) -> None:
    """A graph of one step takes the membranes as they are."""
    decays: list[dict[str, Any]] = [
        {"decay": MulShift(n=4), "multiplier": np.array(13)},
        {"decay": MulShift(n=4, rounding=Rounding.FLOOR), "multiplier": np.array(13), "rounding_site": RoundingSite.DECAY},
        {"decay": ShiftDecay(3, True)},
    ]
    for decay in decays:
        layer = LIF(
            name="lif",
            input="input",
            state=STATE8,
            theta=np.array(40),
            reset_timing=timing,
            reset_mechanism=mechanism,
            rounding=rounding,
            overflow=overflow,
            **decay,
        )
        contract = two_steps(layer)
        inputs = np.stack([PAIRS[:, :1], PAIRS[:, 1:], PAIRS[::-1, 1:]])
        found = Runner(onnx_bytes(contract, "step", carrier)).run(inputs)
        expected = run(contract, inputs)
        assert np.array_equal(found["lif.final_mem"], expected.membranes["lif"][-1])
        assert np.array_equal(found["membrane_sum"], expected.outputs["membrane_sum"])


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("fan_in", [2, 2_000])
def test_currents_beyond_what_float32_holds_saturate_as_they_should(fan_in: int, form: str, carrier: str) -> None:
    """2,000 weights of 100 reach 2**25 units of 2**-8 of the membrane."""
    wide = network(lif(**WIDE | {"multiplier": np.array(127)}), "membrane_mean", steps=6, fan_in=fan_in)
    rng = np.random.default_rng(0)
    inputs = (rng.random((6, 400, fan_in)) < rng.random((6, 400, 1))).astype(np.uint8)
    expected = run(wide, inputs)
    found = Runner(onnx_bytes(wide, form, carrier, probe=True)).run(inputs)
    assert np.array_equal(found["lif.mem"], expected.membranes["lif"])
    assert fan_in == 2 or (expected.membranes["lif"] == STATE16.highest).any()


def test_every_layer_has_a_form() -> None:
    assert cell_choice.NARROW == 256
    far = Signal((3,), -20, np.array(-(1 << 40)), np.array(1 << 40))
    with pytest.raises(Exception, match="layer 'lif': its sums need more than 64-bit integers"):
        choose(lif(overflow=Overflow.WRAP), far)
