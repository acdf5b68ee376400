"""Faults in packed lanes, encoders and arrays are refuted, and the compiled C does with the numbers what the proof says."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import provers  # noqa: F401
import pytest
from mcu_tools import need_program
from small_models import SPIKES, packed

from qleaky import IntegerNetwork, QFormat
from qleaky._share import shared_folder
from qleaky.export.c.model import c_model
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification.c_proofs import CProofs, Refuted, UnreadableError, prove_model, runtime_text
from qleaky.verification.c_proofs.encoders import prove_encoder
from qleaky.verification.c_proofs.lanes import packed_products, prove_lanes
from qleaky.verification.c_proofs.reading import Source

LANE_MUTANTS = [
    (8, "even + (w & 0x00FF00FFu)", "even + (w & 0x00FF01FFu)"),
    (8, "even + (w & 0x00FF00FFu)", "even + (w & 0x00FF00FEu)"),
    (8, "odd + (w >> 8)", "odd + (w >> 7)"),
    (8, "odd - ((even >> 16) << 8)", "odd - ((even >> 16) << 7)"),
    (8, "odd - ((even >> 16) << 8)", "odd"),
    (4, "even + (w & 0x0F0F0F0Fu)", "even + (w & 0x0F0F0F1Fu)"),
    (2, "even + (w & 0x33333333u)", "even + (w & 0x33333331u)"),
    (2, "odd - ((even >> 4) << 2)", "odd - ((even >> 4) << 3)"),
    (2, "(8u * k)) & 0xFFu", "(7u * k)) & 0xFFu"),
    (1, "odd + (w >> 1)", "odd + (w >> 2)"),
    (1, "even + (w & 0x55555555u)", "even + w"),
]


def about_lanes(network: IntegerNetwork, runtime: str) -> CProofs:
    """The statements about packed lanes alone."""
    model = c_model(network, "net")
    source = Source(f"{runtime}\n{model.header}\n{model.source}")
    return CProofs(tuple(prove_lanes(source, packed_products(model), {"net_fc": "fc"}, 60.0)))


@pytest.mark.parametrize(("bits", "old", "new"), LANE_MUTANTS)
def test_a_mutant_of_the_lanes_is_refuted(bits: int, old: str, new: str) -> None:
    network = packed(bits, inputs=40)
    runtime = runtime_text(c_model(network, "net"))
    assert runtime.count(old) == 1
    assert {each.layer for each in about_lanes(network, runtime.replace(old, new)).refuted} == {"fc"}


def test_a_mask_that_is_too_narrow_is_refuted_where_sums_are_large_and_proved_equal_where_they_are_not() -> None:
    for inputs, same in ((40, True), (700, False)):
        network = packed(8, inputs=inputs)
        runtime = runtime_text(c_model(network, "net"))
        assert about_lanes(network, runtime).proved
        narrow = runtime.replace("(16u * k)) & 0xFFFFu", "(16u * k)) & 0x7FFFu")
        assert about_lanes(network, narrow).proved == same


def test_an_interval_that_is_one_event_too_long_is_refuted_and_overflows_a_lane(tmp_path: Path) -> None:
    network = packed(8)
    model = c_model(network, "net")
    interval = 65535 // 254
    assert f"product_left < {interval}u ? product_left : {interval}u" in model.source
    wrong = replace(
        model,
        source=model.source.replace(
            f"{interval}u ? product_left : {interval}u", f"{interval + 1}u ? product_left : {interval + 1}u"
        ),
    )
    (refuted,) = prove_model(network, wrong, runtime_text(wrong)).refuted
    assert "no lane overflows" in refuted.statement
    assert refuted.c != refuted.specification
    sums = {events: first_sum(events, 254, tmp_path) for events in (interval, interval + 1)}
    assert sums[interval] == interval * 254
    assert sums[interval + 1] != (interval + 1) * 254


@pytest.mark.parametrize(("bits", "largest"), [(4, 15), (2, 3), (1, 1)])
def test_lanes_of_8_bits_that_are_emptied_too_late_are_refuted(bits: int, largest: int) -> None:
    network = packed(bits)
    model, most = c_model(network, "net"), 255 // largest
    assert model.source.count(f", {most}u, ") == 1
    wrong = replace(model, source=model.source.replace(f", {most}u, ", f", {most + 1}u, "))
    (refuted,) = prove_model(network, wrong, runtime_text(wrong)).refuted
    assert f"{most + 1} events" in refuted.statement


def first_sum(events: int, field: int, folder: Path) -> int:
    """What a kernel of the runtime sums up for so many events of one field."""
    need_program("gcc")
    source = folder / "sum.c"
    source.write_text(
        f'#include "qleaky_lanes.h"\n#include <stdio.h>\nint main(void) {{ static const uint32_t rows[1] = {{{field}u}};'
        f"static uint16_t events[{events}]; int32_t sums[4] = {{0, 0, 0, 0}};"
        f'qleaky_sum_8x4(rows, events, {events}u, 1, sums); printf("%d", (int)sums[0]); return 0; }}\n'
    )
    folder_of_headers = shared_folder("export") / "c" / "runtime"
    subprocess.run(["gcc", "-std=gnu99", "-I", str(folder_of_headers), str(source), "-o", str(folder / "sum")], check=True)
    return int(subprocess.run([str(folder / "sum")], capture_output=True, check=True, text=True).stdout)


def test_an_array_that_is_not_of_the_rows_that_the_text_reads_is_refused() -> None:
    network = packed(8, inputs=40)
    model = c_model(network, "net")
    many = replace(model, source=model.source.replace("40u", "300u"))
    with pytest.raises(UnreadableError, match="no array net_fc_weights of words in rows of 300"):
        prove_model(network, many, runtime_text(many))


def neurons(theta: np.ndarray) -> IntegerNetwork:
    lif = LIF(name="lif", input="fc", state=QFormat(8, 2), theta=theta)
    weight = np.arange(12, dtype=np.int8).reshape(3, 4)
    layers = (Linear(name="fc", input="input", weight=weight, weight_frac_bits=0), lif)
    return IntegerNetwork(
        inputs=(Input((4,), SPIKES),), num_steps=2, layers=layers, readouts=(Readout("lif", "spikes", False),)
    )


def test_a_wrong_constant_of_one_neuron_is_refuted_by_that_neuron() -> None:
    network = neurons(np.array([20, 30, 40]))
    model = c_model(network, "net")
    assert prove_model(network, model, runtime_text(model)).proved
    arrays = tuple(
        replace(array, values=np.array([20, 31, 40], np.int8)) if array.name.endswith("_theta") else array
        for array in model.constants
    )
    refuted = prove_model(network, wrong := replace(model, constants=arrays), runtime_text(wrong)).refuted
    assert {each.neuron for each in refuted} == {1}


@pytest.mark.parametrize("index", ["0", "i", "o + 1u"])
def test_the_constants_of_another_neuron_are_refused(index: str) -> None:
    network = neurons(np.array([20, 30, 40]))
    model = c_model(network, "net")
    wrong = replace(model, source=model.source.replace("_theta[o]", f"_theta[{index}]"))
    assert wrong.source != model.source
    with pytest.raises(UnreadableError, match=r"layer 'lif': .* does not take .* of its neuron"):
        prove_model(network, wrong, runtime_text(wrong))


def test_a_step_that_is_missing_or_never_called_is_refused() -> None:
    network = neurons(np.array(20))
    model = c_model(network, "net")
    renamed = replace(model, source=model.source.replace("net_lif_neuron_step", "net_lif_neuron_other"))
    with pytest.raises(UnreadableError, match="does not define a function net_lif_neuron_step"):
        prove_model(network, renamed, runtime_text(renamed))
    head, _, tail = model.source.rpartition("net_lif_neuron_step(")
    uncalled = replace(model, source=f"{head}something_else({tail}")
    with pytest.raises(UnreadableError, match="never calls net_lif_neuron_step"):
        prove_model(network, uncalled, runtime_text(uncalled))


def test_packed_weights_that_no_kernel_reads_are_refused() -> None:
    network = packed(8, inputs=40)
    model = c_model(network, "net")
    wrong = replace(model, source=model.source.replace("product_rows", "rows"))
    with pytest.raises(UnreadableError, match="a proof can read 0 of the calls"):
        prove_model(network, wrong, runtime_text(wrong))


FORMATS = [
    QFormat(8, 6, signed=False, zero_point=128),
    QFormat(4, 1),
    QFormat(12, -3),
    QFormat(16, 8),
    QFormat(8, 8, signed=False),
]
ENCODER_MUTANTS = [
    ("(right - 1)", "right"),
    ("& 1)", "& 0)"),
    ("raw > most", "raw >= most"),
    ("raw < least", "raw <= least"),
    ("down > 31 ? 0", "down > 30 ? 0"),
    ("(int32_t)1 << left", "(int32_t)2 << left"),
    (" + 128)", ")"),
    ("down < 1 ? 1 : down > 31", "down < 0 ? 1 : down > 31"),
]


def encoder(fmt: QFormat) -> tuple[Source, str]:
    lif = LIF(name="lif", input="input", state=QFormat(16, 2), theta=np.array(9))
    network = IntegerNetwork(
        inputs=(Input((4,), fmt),), num_steps=2, layers=(lif,), readouts=(Readout("lif", "spikes", False),)
    )
    model = c_model(network, "net")
    return Source(f"{model.header}\n{model.source}"), "net_encode"


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_encoders_are_proved(fmt: QFormat) -> None:
    source, function = encoder(fmt)
    result = prove_encoder(source, function, "input", fmt, 60.0)
    assert str(result).startswith("proved"), str(result)


@pytest.mark.parametrize(("old", "new"), ENCODER_MUTANTS)
def test_a_mutant_of_an_encoder_is_refuted_and_the_format_says_so_too(old: str, new: str) -> None:
    fmt = FORMATS[0]
    source, function = encoder(fmt)
    body = source.body(function)
    assert old in body
    wrong = Source(source.plain.replace(body, body.replace(old, new, 1)))
    result = prove_encoder(wrong, function, "input", fmt, 60.0)
    assert isinstance(result, Refuted), str(result)
    raw, bits = result.inputs["raw"], result.inputs["raw_frac_bits"]
    code = int(fmt.quantize(raw * 2.0**-bits)) if -900 < bits < 900 else None
    assert code in (None, result.specification["code"])
    assert result.c != result.specification or "net_encode:" in result.what
