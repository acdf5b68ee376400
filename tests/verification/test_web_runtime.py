"""onnxruntime-web under node: tensors of every type come and go unchanged, and what fails is said in one sentence."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_contracts import INPUTS, artefact, contract

from qleaky import verify
from qleaky.errors import ArtefactError, MissingDependencyError
from qleaky.verification.runtimes import Setting
from qleaky.verification.runtimes.node import Node
from qleaky.verification.runtimes.web import TYPES, VARIABLE, OnnxRuntimeWeb


@pytest.fixture(scope="module")
def web() -> OnnxRuntimeWeb:
    try:
        return OnnxRuntimeWeb()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def identity(*types: str) -> bytes:
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in types}
    nodes = [helper.make_node("Identity", [name], [f"{name}.out"]) for name in types]
    values = [[helper.make_tensor_value_info(f"{n}{end}", kind, ["n", 3]) for n, kind in kinds.items()] for end in ("", ".out")]
    graph = helper.make_graph(nodes, "identity", *values)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def extremes(name: str) -> np.ndarray:
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return np.array([[True, False, True]])
    if dtype.kind == "f":
        return np.array([[np.nan, -np.inf, np.finfo(dtype).tiny]], dtype)
    return np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max, 1]], dtype)


def test_every_type_comes_back_as_it_went(web: OnnxRuntimeWeb) -> None:
    inputs = {name: extremes(name) for name in TYPES}
    found = web.load(identity(*TYPES), Setting()).run(inputs)
    for name, array in inputs.items():
        assert found[f"{name}.out"].dtype == array.dtype
        assert np.array_equal(found[f"{name}.out"], array, equal_nan=array.dtype.kind == "f")


def test_arrays_in_any_order_of_bytes_and_axes(web: OnnxRuntimeWeb) -> None:
    model = web.load(identity("int32"), Setting(optimize=False))
    array = np.arange(12).reshape(3, 4).T
    for given in (array.astype(">i4"), np.asfortranarray(array.astype(np.int32))):
        assert np.array_equal(model.run({"int32": given})["int32.out"], array)
    big = np.arange(3 << 20, dtype=np.int32).reshape(-1, 3)
    assert np.array_equal(model.run({"int32": big})["int32.out"], big)


def test_many_models_and_runs_share_a_process(web: OnnxRuntimeWeb) -> None:
    models = {name: web.load(identity(name), Setting()) for name in ("int8", "bool")}
    for _ in range(20):
        for name, model in models.items():
            assert np.array_equal(model.run({name: extremes(name)})[f"{name}.out"], extremes(name))
    del models
    again = web.load(identity("int8"), Setting())
    assert np.array_equal(again.run({"int8": extremes("int8")})["int8.out"], extremes("int8"))


def test_what_it_cannot_load_or_run_is_one_sentence_and_it_goes_on(web: OnnxRuntimeWeb) -> None:
    with pytest.raises(ArtefactError, match=r"^[^\n]+$"):
        web.load(b"no model", Setting())
    model = web.load(identity("int8"), Setting())
    with pytest.raises(ArtefactError, match=r"^[^\n]+$"):
        model.run({"other": extremes("int8")})
    assert np.array_equal(model.run({"int8": extremes("int8")})["int8.out"], extremes("int8"))


def test_a_folder_of_its_own(web: OnnxRuntimeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = web._folder
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=OnnxRuntimeWeb(folder))
    assert report.mismatches == 0
    assert report.certificate().versions["onnxruntime-web"] == json.loads((folder / "package.json").read_text())["version"]


@pytest.mark.parametrize("package", [None, "{", "[]", '{"name": "left-pad", "version": "1"}', '{"name": "onnxruntime-web"}'])
def test_no_such_package(package: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    folder.mkdir(parents=True)
    if package is not None:
        (folder / "package.json").write_text(package)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"holds none\. Install it with `npm install onnxruntime-web`, or name"):
        OnnxRuntimeWeb()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(MissingDependencyError, match=f"{tmp_path / 'elsewhere'} holds none"):
        OnnxRuntimeWeb()


def test_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "ort.wasm.min.mjs").write_text("")
    (tmp_path / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.0.0"}')
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"needs node, which is not installed; install Node\.js 18 or later"):
        OnnxRuntimeWeb(tmp_path)


# A process that does not keep the protocol


def python(code: str, patience: float = 20.0) -> Node:
    return Node([sys.executable, "-c", code], patience)


ANSWER = "import struct, sys, json; w = sys.stdout.buffer.write; h = {!r}; w(struct.pack('<I', len(h)) + h); sys.stdout.flush()"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "node failed: it ended"),
        ("raise TypeError('no such file')", "node failed: TypeError: no such file"),
        (ANSWER.format(b"no json"), "node failed: "),
        (ANSWER.format(b'{"bytes": -1}'), "an answer of -1 bytes"),
        (ANSWER.format(b'{"bytes": 99999999999999}'), "an answer of 99999999999999 bytes"),
        (ANSWER.format(b'{"bytes": 10}'), "it ended"),
        (ANSWER.format(b"[]"), "node failed: "),
        (ANSWER.format(b'{"bytes": 0, "error": "bad model\\nstack"}'), "^bad model$"),
    ],
)
def test_answers_that_are_none(code: str, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        python(code).ask({"command": "load"})


def test_an_answer_that_never_comes() -> None:
    with pytest.raises(ArtefactError, match="node failed: no answer within 1 s"):
        python("import time; time.sleep(60)", patience=1.0).ask({"command": "load"})


def test_a_process_that_ended_stays_so() -> None:
    node = python("")
    for _ in range(2):
        with pytest.raises(ArtefactError, match="node failed"):
            node.ask({"command": "load"}, bytes(1 << 20))
    node.tell({"command": "release"})
