"""The runner: ONNX Runtime behind a small face, its errors in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from qleaky import IntegerNetwork, QFormat, Runner, export_onnx
from qleaky.errors import ArtefactError, InputError, UsageError
from qleaky.export import onnx_bytes
from qleaky.integer import LIF, Add, Delay, Input, Readout, Synapse
from qleaky.models import FeedForward
from qleaky.verification.runners import versions

T = 3


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    export_onnx(FeedForward((3, 5, 4)), tmp_path / "net.onnx", sample_input=torch.zeros(T, 1, 3), input_format=QFormat(8, 6))
    return tmp_path / "net.onnx"


INPUTS = np.zeros((T, 20, 3), np.int8)


def test_a_runner_takes_a_path_or_bytes(artefact: Path) -> None:
    for source in (artefact, str(artefact), artefact.read_bytes()):
        assert Runner(source).run(INPUTS)["spikes"].shape == (T, 20, 4)
    assert Runner(artefact).outputs == ["spikes", "lif1.final_mem", "lif2.final_mem"]


@pytest.mark.parametrize("inputs", [INPUTS.astype(np.uint8), INPUTS / 2, INPUTS[0], INPUTS[:2], INPUTS[..., :2], None, "x"])
def test_a_runner_refuses_inputs_of_another_type_or_shape(inputs: Any, artefact: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"ONNX Runtime refused inputs: input of shape .*; the graph takes input tensor\(int8\) \[3, 'batch', 3\]",
    ):
        Runner(artefact).run(inputs)


def test_a_runner_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="Cannot read ONNX file"):
        Runner(tmp_path / "net.onnx")


def test_the_runtime_names_its_version() -> None:
    assert set(versions()) == {"onnxruntime"}


# Streaming


def contract(readout: Any = "spike_count", **parts: Any) -> IntegerNetwork:
    """Two inputs, a recurrence, a synapse."""
    layers = (
        Delay(name="back", input="lif", shape=(3,), frac_bits=0, low=0, high=1),
        Add(name="sum", inputs=("sound", "light", "back"), signs=(1, 1, -1)),
        LIF(name="lif", input="sum", state=QFormat(8, 2), theta=np.array(9), synapse=Synapse(state=QFormat(12, 4))),
    )
    given = (Input((3,), QFormat(4, 1), "sequence", "sound"), Input((3,), QFormat(8, 3), "static", "light"))
    return IntegerNetwork(
        **{"inputs": given, "num_steps": T, "layers": layers, "readouts": (Readout("lif", readout, True),)} | parts
    )


RNG = np.random.default_rng(0)
GIVEN = {"sound": RNG.integers(-8, 8, (T, 4, 3)).astype(np.int8), "light": RNG.integers(-20, 20, (4, 3)).astype(np.int8)}


def at(t: int, samples: slice = slice(None)) -> dict[str, Any]:
    return {"sound": GIVEN["sound"][t, samples], "light": GIVEN["light"][samples]}


@pytest.mark.parametrize("readout", ["spikes", "spike_count", "membrane_mean", "last_membrane"])
def test_a_step_graph_runs_whole_sequences_as_the_others_do(readout: Any) -> None:
    runners = [Runner(onnx_bytes(contract(readout), form)) for form in ("unrolled", "scan", "step")]
    found = [runner.run(GIVEN) for runner in runners]
    assert list(found[0]) == list(found[1]) == list(found[2]) == runners[2].outputs
    for name in found[0]:
        assert found[0][name].dtype.kind == found[2][name].dtype.kind
        assert np.array_equal(found[0][name], found[1][name])
        assert np.array_equal(found[0][name], found[2][name])


def test_states_stay_between_steps_until_they_are_reset() -> None:
    runner, whole = Runner(onnx_bytes(contract(), "step")), Runner(onnx_bytes(contract(), "scan")).run(GIVEN)
    for _ in range(2):
        for t in range(T):
            found = runner.step(at(t))
        assert np.array_equal(found["spike_count"], whole["spike_count"])
        assert np.array_equal(found["lif.syn.next"], whole["lif.final_syn"])
        runner.reset()
    first = runner.step(at(0))
    assert not np.array_equal(runner.step(at(0))["lif.mem.next"], first["lif.mem.next"])


def test_what_a_step_returns_is_not_overwritten_by_the_next() -> None:
    runner = Runner(onnx_bytes(contract(), "step"))
    first = runner.step(at(0))
    kept = {name: array.copy() for name, array in first.items()}
    runner.step(at(1))
    runner.step(at(2))
    assert all(np.array_equal(first[name], kept[name]) for name in kept)


def test_inputs_that_are_not_contiguous_are_taken() -> None:
    runner = Runner(onnx_bytes(contract(), "step"))
    turned = {name: np.asfortranarray(array) for name, array in at(0).items()}
    expected = runner.step(at(0))
    runner.reset()
    assert np.array_equal(runner.step(turned)["lif.mem.next"], expected["lif.mem.next"])


def test_another_batch_needs_a_reset() -> None:
    runner = Runner(onnx_bytes(contract(), "step"))
    runner.step(at(0))
    with pytest.raises(
        InputError, match=r"this step has a batch of 2, the steps before had 4.*call reset\(\) before another batch"
    ):
        runner.step(at(1, slice(2)))
    runner.reset()
    assert runner.step(at(1, slice(2)))["class"].shape == (2,)


@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("call", ["step", "reset"])
def test_a_whole_sequences_graph_runs_no_steps(call: str, form: str) -> None:
    runner = Runner(onnx_bytes(contract(), form))
    with pytest.raises(
        UsageError, match=rf"Runner\.{call}: this file runs whole sequences \(form '{form}'\); export it with form='step'"
    ):
        runner.step(at(0)) if call == "step" else runner.reset()


@pytest.mark.parametrize("form", ["scan", "step"])
@pytest.mark.parametrize(
    "inputs",
    [GIVEN["sound"], {"sound": GIVEN["sound"]}, {**GIVEN, "touch": GIVEN["light"]}, (GIVEN["sound"],), None],
)
def test_inputs_by_other_names(inputs: Any, form: str) -> None:
    with pytest.raises(InputError, match=r"the graph takes sound, light\. Pass a dict of arrays by name"):
        Runner(onnx_bytes(contract(), form)).run(inputs)


def test_inputs_in_order() -> None:
    runner = Runner(onnx_bytes(contract()))
    by_name, in_order = runner.run(GIVEN), runner.run((GIVEN["sound"], GIVEN["light"]))
    assert all(np.array_equal(by_name[name], in_order[name]) for name in by_name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sound": GIVEN["sound"][0].astype(np.int16)},
            r"sound has shape \(4, 3\), dtype int16; one step takes \(batch, 3\) of int8",
        ),
        ({"sound": GIVEN["sound"]}, r"sound has shape \(3, 4, 3\), dtype int8; one step takes \(batch, 3\) of int8"),
        ({"light": GIVEN["light"][:, :2]}, r"light has shape \(4, 2\), dtype int8; one step takes \(batch, 3\)"),
        ({"light": GIVEN["light"][:0]}, r"light has shape \(0, 3\): there is nothing in it"),
        ({"light": GIVEN["light"][:3]}, "inputs have batches of 4, 3; all must have the same number of samples"),
    ],
)
def test_a_step_refuses_inputs_of_another_type_or_shape(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Runner(onnx_bytes(contract(), "step")).step(at(0) | change)


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
@pytest.mark.parametrize("sound", [GIVEN["sound"][:0], GIVEN["sound"][:, :0]])
def test_inputs_without_steps_or_samples(sound: Any, form: str) -> None:
    with pytest.raises(InputError, match=r"sound has shape \(.*\): there is nothing in it. Pass at least one sample and step"):
        Runner(onnx_bytes(contract(), form)).run(GIVEN | {"sound": sound})


def test_two_sequences_of_other_lengths() -> None:
    inputs = (Input((3,), QFormat(4, 1), "sequence", "sound"), Input((3,), QFormat(8, 3), "sequence", "light"))
    runner = Runner(onnx_bytes(contract(inputs=inputs), "step"))
    with pytest.raises(
        InputError, match=r"inputs have \{'sound': 3, 'light': 4\} steps; pass \(T, batch, ...\) with the same T"
    ):
        runner.run(GIVEN | {"light": np.zeros((4, 4, 3), np.int8)})


@pytest.mark.parametrize("form", ["unrolled", "scan"])
def test_two_inputs_of_other_batches(form: str) -> None:
    """ONNX Runtime would add the one sample to all others."""
    runner = Runner(onnx_bytes(contract(), form))
    with pytest.raises(InputError, match=r"inputs have \{'sound': 4, 'light': 1\} along the axis 'batch'"):
        runner.run(GIVEN | {"light": GIVEN["light"][:1]})


def test_two_sequences_that_hold_as_many_numbers_but_not_as_many_steps() -> None:
    inputs = (Input((3,), QFormat(4, 1), "sequence", "sound"), Input((3,), QFormat(8, 3), "sequence", "light"))
    runner = Runner(onnx_bytes(contract(inputs=inputs), "scan"))
    with pytest.raises(InputError, match=r"inputs have \{'sound': 3, 'light': 4\} along the axis 'time'"):
        runner.run(GIVEN | {"light": np.zeros((4, 3, 3), np.int8)})


def test_a_whole_run_leaves_the_states_of_single_steps_alone() -> None:
    runner, other = (Runner(onnx_bytes(contract(), "step")) for _ in range(2))
    for t in range(T):
        expected, found = other.step(at(t)), runner.step(at(t))
        runner.run(GIVEN)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_numbers_in_other_files_are_not_read() -> None:
    model = onnx.load_model_from_string(onnx_bytes(contract()))
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../secret.bin")
    with pytest.raises(ArtefactError, match=r"the model keeps the numbers of .* in another file"):
        Runner(model.SerializeToString())
