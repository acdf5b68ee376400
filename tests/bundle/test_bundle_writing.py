"""A bundle: what is in it, that its manifest says so, and that the same call gives the same bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from bundle_helpers import SPIKES, bundle, members, network
from numpy.lib import format as npy

import qleaky
from qleaky import FloatNetwork, IntegerNetwork, QFormat, export_bundle, lower
from qleaky.bundling import bundle_of, samples_of
from qleaky.errors import InputError, LoweringError, UsageError
from qleaky.export import bundle as writing
from qleaky.export import onnx_bytes
from qleaky.export.bundle_arrays import npy_array, npy_bytes
from qleaky.export.bundle_manifest import Manifest
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.models import FeedForward
from qleaky.reference import run
from qleaky.verification.digests import state_digest

FLOATS: dict[str, Any] = {"sample_input": torch.ones(6, 2, 3)}


def one_layer(name: str = "lif", steps: int = 3, inputs: int = 2, **fields: Any) -> IntegerNetwork:
    layers = (
        Linear(name="fc", input="input", weight=np.ones((2, inputs), np.int8), weight_frac_bits=2),
        LIF(name=name, input="fc", state=QFormat(8, 2), theta=np.array(3), **fields),
    )
    readouts = (Readout(name, "spike_count"),)
    return IntegerNetwork(inputs=(Input((inputs,), SPIKES),), num_steps=steps, layers=layers, readouts=readouts)


def held(data: bytes) -> tuple[dict[str, bytes], Manifest]:
    files = members(data)
    return files, Manifest.decode(files["manifest.json"])


def arrays(data: bytes) -> Any:
    """Golden inputs, outputs and digests by what the manifest says of them, read by NumPy itself."""
    import io

    files, manifest = held(data)

    def load(name: str) -> Any:
        return np.load(io.BytesIO(files[name]), allow_pickle=False)

    inputs = {entry.name: load(entry.golden) for entry in manifest.inputs}
    outputs = {entry.name: load(entry.golden) for entry in manifest.outputs}
    return inputs, outputs, {(entry.layer, entry.kind): load(entry.digests) for entry in manifest.states}


def test_the_same_call_gives_the_same_bytes_and_a_contract_that_is_not_in_them(tmp_path: Path) -> None:
    assert export_bundle(network(), tmp_path / "a.zip", forms=("unrolled", "scan", "step")).digest == network().digest
    assert (tmp_path / "a.zip").read_bytes() == bundle()
    assert not [name for name in members(bundle()) if name.endswith(".qleaky")]


def test_the_manifest_names_every_other_file_with_its_digest_and_size() -> None:
    files, manifest = held(bundle())
    del files["manifest.json"]
    found = {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    assert {name: (entry.sha256, entry.bytes) for name, entry in manifest.files.items()} == found
    assert {"README.txt", "validate.py"} < set(files)


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_a_graph_is_the_exported_file_and_its_twin_has_more_outputs_alone(form: str) -> None:
    files, _ = held(bundle())
    assert files[f"models/{form}.onnx"] == onnx_bytes(network(), form)
    shipped, probe = (onnx.load_model_from_string(files[f"models/{form}{kind}.onnx"]) for kind in ("", ".probe"))
    assert [o.name for o in probe.graph.output][: len(shipped.graph.output)] == [o.name for o in shipped.graph.output]
    assert len(probe.graph.output) > len(shipped.graph.output)


def test_golden_outputs_and_digests_are_the_references() -> None:
    inputs, outputs, digests = arrays(bundle())
    recording = run(network(), inputs)
    for name, array in recording.outputs.items():
        assert np.array_equal(outputs[name], array)
    states = {"mem": recording.membranes, "spk": recording.spikes, "syn": recording.synapses}
    assert {kind for _, kind in digests} == set(states)
    for (layer, kind), found in digests.items():
        codes = states[kind][layer]
        assert found.shape == (*codes.shape[:2], 32)
        assert found[4, 7].tobytes() == state_digest(layer, kind, 4, codes[4, 7])


def test_the_manifest_describes_inputs_outputs_states_and_steps() -> None:
    _, manifest = held(bundle())
    events, image = manifest.inputs
    assert (events.name, events.dtype, events.shape, events.time) == ("events", "uint8", (6,), "sequence")
    assert (image.time, image.low, image.high, image.zero) == ("static", 0, 255, 128)
    assert {(o.name, o.over_time, o.shape) for o in manifest.outputs} == {
        ("out.spike_count", False, (3,)),
        ("out.class", False, ()),
        ("hidden.spikes", True, (4,)),
    }
    assert [(s.layer, s.kind) for s in manifest.states] == [
        ("hidden", "mem"), ("hidden", "syn"), ("hidden", "spk"), ("out", "mem"), ("out", "spk"),
    ]  # fmt: skip
    step = next(artefact for artefact in manifest.artefacts if artefact.form == "step")
    assert {state.input for state in step.steps or ()} == {"hidden.mem", "hidden.syn", "out.mem", "out.spike_count.state"}
    assert all(state.output == f"{state.input}.next" for state in step.steps or ())
    assert manifest.samples == sum(group.count for group in manifest.vectors) == 64


def test_the_default_forms_are_the_chosen_one_and_the_step_and_one_that_is_named_twice_is_kept_once() -> None:
    assert [a.form for a in held(bundle_of(one_layer()))[1].artefacts] == ["unrolled", "step"]
    assert [a.form for a in held(bundle_of(one_layer(), forms=("auto", "unrolled", "step")))[1].artefacts] == [
        "unrolled",
        "step",
    ]


def test_recordings_are_in_it_only_where_they_are_given() -> None:
    given = np.array([[[0, 1]], [[1, 0]], [[1, 1]]], np.uint8)
    inputs, _, _ = arrays(bundle_of(one_layer(), given))
    _, manifest = held(bundle_of(one_layer(), given))
    assert manifest.vectors[-1].name == "given"
    assert (manifest.vectors[-1].first, manifest.samples) == (64, 65)
    assert np.array_equal(inputs["input"][:, 64:], given)
    assert "given" not in [group.name for group in held(bundle_of(one_layer()))[1].vectors]


@pytest.mark.parametrize(
    ("steps", "inputs", "samples"),
    [(10, 100, 64), (100, 10_000, 20), (1000, 100_000, 16)],
    ids=["small", "large", "larger than 20 MB"],
)
def test_samples_keep_the_golden_part_near_20_megabytes(steps: int, inputs: int, samples: int) -> None:
    assert samples_of(one_layer(steps=steps, inputs=inputs)) == samples


def test_a_torch_network_is_lowered_on_the_way(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FeedForward((3, 4))
    arguments: dict[str, Any] = {"sample_input": torch.zeros(6, 1, 3), "input_format": QFormat(8, 4)}
    contract = export_bundle(net, tmp_path / "a.zip", **arguments)
    assert contract.digest == lower(net, **arguments).digest
    assert held((tmp_path / "a.zip").read_bytes())[1].network.digest == contract.digest


def test_a_float_network_carries_what_torch_recorded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), qleaky.Leaky(0.9, init_hidden=True))
    contract = export_bundle(net, tmp_path / "a.zip", sample_input=torch.rand(2, 3), num_steps=4)
    assert isinstance(contract, FloatNetwork)
    _, manifest = held((tmp_path / "a.zip").read_bytes())
    assert (manifest.network.numbers, manifest.network.proved) == ("float32", False)
    assert manifest.network.reasons == contract.reasons
    inputs, _, digests = arrays((tmp_path / "a.zip").read_bytes())
    golden = contract.golden
    assert all(np.array_equal(inputs[name], array) for name, array in contract.encode_all(golden.inputs).items())
    (name, membranes), *_ = golden.membranes.items()
    codes = (membranes.astype(np.float32) + np.float32(0)).view(np.int32)  # no NaN is among them
    assert digests[name, "mem"][2, 1].tobytes() == state_digest(name, "mem", 2, codes[2, 1])
    with pytest.raises(InputError, match="no reference for other inputs than those recorded"):
        export_bundle(contract, tmp_path / "b.zip", torch.rand(4, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"forms": ("rolled",)}, InputError, "form='rolled' is unknown"),
        ({"forms": ()}, InputError, "forms are none; a bundle holds at least one"),
        ({"carrier": "int4"}, InputError, "carrier='int4' is unknown"),
        ({"inputs": np.zeros((3, 1, 9), np.uint8)}, InputError, "inputs have shape"),
        ({"num_steps": 3}, UsageError, "export_bundle: num_steps: a network that is lowered already"),
    ],
)
def test_misuse_leaves_no_file(arguments: dict[str, Any], error: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        export_bundle(one_layer(), tmp_path / "a.zip", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_whose_digests_would_be_ambiguous_is_refused() -> None:
    with pytest.raises(LoweringError, match="digests name their layer in printable ASCII"):
        bundle_of(one_layer("l\nif"))


def test_emitted_numbers_that_no_int32_holds_are_refused() -> None:
    graded = {"graded": np.array((1 << 31) - 1), "max_spikes": 3}
    with pytest.raises(LoweringError, match="emits integers from 0 to 6,442,450,941; digests are of int32"):
        bundle_of(one_layer(**graded))


def test_a_bundle_that_nobody_would_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_BUNDLE_BYTES", 1000)
    with pytest.raises(LoweringError, match=r"would hold [\d,]+ bytes, more than the 1,000 it may have. Put in fewer forms"):
        bundle_of(one_layer())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float32", "bool"])
def test_arrays_are_files_that_numpy_reads(dtype: str, tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    data = npy_bytes(array)
    (tmp_path / "a.npy").write_bytes(data)
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    with (tmp_path / "a.npy").open("rb") as file:
        assert npy.read_magic(file) == (1, 0)
    assert np.array_equal(npy_array(data, dtype, (2, 3), "a.npy"), array)


def test_the_kept_manifest_has_sorted_keys_and_no_paths_of_this_machine() -> None:
    text = members(bundle())["manifest.json"].decode()
    assert text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True, indent=1) + "\n"
    assert str(Path.home()) not in text
