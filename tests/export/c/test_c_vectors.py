"""``qleaky_vectors.c``: the same text everywhere, whose inputs can be read back and whose digests are the reference's."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handmade import network as spikes_network
from mcu_tools import need_program

from qleaky import IntegerNetwork, QFormat
from qleaky.errors import ArtefactError, InputError
from qleaky.export.c.golden_inputs import golden_inputs
from qleaky.export.c.model import c_model
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.integer import LIF, Input, Linear, Readout, Reshape
from qleaky.verification.mcu.golden_runs import affordable_samples, golden_of, golden_runs


def network(fmt: QFormat, shape: tuple[int, ...] = (5,), time: str = "sequence", steps: int = 4) -> IntegerNetwork:
    """One layer behind an input of any format and shape."""
    size = int(np.prod(shape))
    layers = (
        Reshape(name="flat", input="input", shape=(size,)),
        Linear(
            name="fc", input="flat", weight=(np.arange(3 * size).reshape(3, size) % 5 - 2).astype(np.int8), weight_frac_bits=0
        ),
        LIF(name="lif", input="fc", state=QFormat(8, 0), theta=np.array(5)),
    )
    inputs = (Input(shape, fmt, time),)  # type: ignore[arg-type]
    return IntegerNetwork(inputs=inputs, num_steps=steps, layers=layers, readouts=(Readout("lif", "spike_count", argmax=True),))


FORMATS = [
    QFormat(1, 0, False),
    QFormat(8, 0, False, 128),
    QFormat(8, 3),
    QFormat(16, 3),
    QFormat(12, 3, False),
    QFormat(20, 0),
]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("time", ["sequence", "static"])
@pytest.mark.parametrize("shape", [(5,), (32,), (3, 7, 2)])
def test_the_inputs_can_be_read_back(fmt: QFormat, time: str, shape: tuple[int, ...]) -> None:
    net = network(fmt, shape, time)
    model, golden = c_model(net), golden_runs(net, samples=5)
    found = golden_inputs(vectors_source(model, golden), model)
    assert {name: codes.tolist() for name, codes in found.items()} == {"input": golden.codes["input"].tolist()}


def test_the_same_network_gives_the_same_text() -> None:
    net = network(QFormat(8, 3))
    assert vectors_source(c_model(net), golden_runs(net)) == vectors_source(c_model(net), golden_runs(net))


def test_text_and_readers_know_the_lowest_int32() -> None:
    """C has no literal of it."""
    net = network(QFormat(8, 3), (1,))
    model, codes = c_model(net), np.zeros((4, 1, 1), np.int32)
    port = replace(model.inputs[0], tensor=replace(model.inputs[0].tensor, ctype="int32_t"))
    model, golden = replace(model, inputs=(port,)), golden_of(net, {"input": codes})
    text = vectors_source(model, GoldenRuns({"input": codes + np.iinfo(np.int32).min}, golden.digests, golden.outputs))
    assert "(-2147483647 - 1)" in text
    assert (golden_inputs(text, model)["input"] == -(1 << 31)).all()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("model_golden_in_bits[", "model_golden_other[", "there is no array model_golden_in_bits of uint32_t"),
        ("u,", "u, 0x0u,", "with 4 numbers for each sample"),
        ("0x7u", "0y7u", "there is no array"),
        ("0x7u", "0x777777777u", "is no number of a golden input"),
        ("0x7u", "--7", "is no number of a golden input"),
    ],
)
def test_a_text_of_another_form_is_refused(before: str, after: str, message: str) -> None:
    net = spikes_network(4)
    model = c_model(net)
    text = vectors_source(model, golden_of(net, {"input": np.ones((4, 1, 3), np.uint8)})).replace(before, after, 1)
    with pytest.raises(ArtefactError, match=message):
        golden_inputs(text, model)


def test_only_one_symbol_is_external(tmp_path: Path) -> None:
    need_program("clang", "llvm-nm")
    net = spikes_network()
    model = c_model(net)
    files = {"qleaky_model.h": model.header, "qleaky_vectors.c": vectors_source(model, golden_runs(net))}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    own = Path(__file__).resolve().parents[3] / "export" / "c"
    folders = ["-I", str(own), "-I", str(own / "runtime")]
    subprocess.run(["clang", "-std=c99", *folders, "-c", "qleaky_vectors.c"], cwd=tmp_path, check=True)
    symbols = subprocess.run(
        ["llvm-nm", "--extern-only", "--defined-only", "--format=just-symbols", "qleaky_vectors.o"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert symbols.stdout.split() == ["model_vectors"]


def test_as_many_samples_as_24_kilobytes_hold() -> None:
    few = network(QFormat(8, 3), (5000,))
    assert affordable_samples(network(QFormat(8, 3))) == 16
    assert affordable_samples(few) == 2
    assert affordable_samples(network(QFormat(8, 3), (5000,), "static")) == 4


def test_given_inputs_follow_the_vectors() -> None:
    net = network(QFormat(8, 3))
    given = np.full((4, 2, 5), 7)
    golden = golden_runs(net, given, samples=3)
    assert golden.samples == 5
    np.testing.assert_array_equal(golden.codes["input"][:, 3:], given)
    np.testing.assert_array_equal(golden_runs(net, given, samples=0).codes["input"], given)


def test_no_samples_at_all_are_refused() -> None:
    with pytest.raises(InputError, match=r"samples=0; ask for at least 1, or pass inputs"):
        golden_runs(network(QFormat(8, 3)), samples=0)
