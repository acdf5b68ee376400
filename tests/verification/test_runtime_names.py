"""Runtimes by name: the known ones, those of other packages, and what is said where one is missing."""

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
import pytest
import small_contracts
from small_contracts import INPUTS, T, artefact, contract
from wrong_runtimes import Wrong

from qleaky import verify
from qleaky.errors import ArtefactError, InputError, MissingDependencyError
from qleaky.verification.runtimes import Runtime, Setting, require
from qleaky.verification.runtimes.registry import chosen, installed, names, runtime

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "runtimes"
TOY = """
import onnx
from onnx.reference import ReferenceEvaluator
from qleaky.verification.runtimes import Runtime

class Executor:
    def __init__(self, data):
        self.model = onnx.load_model_from_string(data)
        self.evaluator = ReferenceEvaluator(self.model)

    def run(self, arrays):
        return dict(zip([o.name for o in self.model.graph.output], self.evaluator.run(None, arrays)))

class Toy(Runtime):
    name = "toy"
    forms = ("unrolled", "step")

    def versions(self):
        return {"toy": "1.2.3"}

    def load(self, data, setting):
        return Executor(data)

class Other(Toy):
    name = "another"

class OffByOne(Toy):
    name = "off-by-one"

    def load(self, data, setting):
        inner = Executor(data)

        class Changed:
            def run(self, arrays):
                found = inner.run(arrays)
                return found | {"class": found["class"] + 1}

        return Changed()

class Failing:
    def __init__(self):
        raise RuntimeError("no licence found")

class Lacking(Toy):
    name = "lacking"

    def __init__(self):
        import a_package_that_is_nowhere
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that names runtimes in the entry-point group, as pip leaves one behind."""
    folder = tmp_path / "site"
    info = folder / "toy-1.2.3.dist-info"
    info.mkdir(parents=True)
    (folder / "toy_runtime.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.2.3\n")
    entries = {"toy": "Toy", "misnamed": "Other", "failing": "Failing", "lacking": "Lacking", "string": "__doc__"}
    lines = "".join(f"{name} = toy_runtime:{kind}\n" for name, kind in entries.items())
    (info / "entry_points.txt").write_text(f"[qleaky.runtimes]\n{lines}gone = nowhere_at_all:Toy\n")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_runs_the_forms_that_it_has(tmp_path: Path) -> None:
    for form in ("unrolled", "step"):
        report = verify(artefact(tmp_path, form), contract(), INPUTS, runtime="toy")
        assert (report.verdict, report.mismatches) == ("measured", 0)
        assert {run.runtime for run in report.runs} == {"toy"}
        assert report.certificate().versions["toy"] == "1.2.3"
    with pytest.raises(ArtefactError, match="no verdict in runtime 'toy': it runs the forms unrolled, step, and this is scan"):
        verify(artefact(tmp_path, "scan"), contract(), INPUTS, runtime="toy")


@pytest.mark.usefixtures("plugins")
def test_names_are_qleakys_then_those_of_plug_ins() -> None:
    known = names()
    assert known[0] == "onnxruntime"
    assert known[-6:] == ["failing", "gone", "lacking", "misnamed", "string", "toy"]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("misnamed", InputError, r"misnamed = 'toy_runtime:Other' .* gives no runtime of that name; it must name a class"),
        ("string", InputError, r"runtime 'string' of the entry point 'toy_runtime:__doc__' fails: .* Mend it"),
        (
            "failing",
            InputError,
            r"the entry point 'toy_runtime:Failing' fails: no licence found\. Mend it",
        ),
        ("lacking", MissingDependencyError, r"cannot be imported: No module named 'a_package.*Install what it needs"),
        ("gone", MissingDependencyError, r"'nowhere_at_all:Toy' cannot be imported: No module named 'nowhere_at_all'"),
    ],
)
def test_a_plug_in_that_is_none(name: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        runtime(name)


@pytest.mark.parametrize("name", ["", "tvm", "ONNXRUNTIME", "onnxruntime ", "\x1b[31m"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(
        InputError, match=r"runtime='.*' is unknown\. Choose one of onnxruntime, .*onnx-reference, .*, all\."
    ) as caught:
        chosen(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "message"),
    [((), "runtime is empty"), ([3], "runtime=3 is neither a name nor a Runtime"), (None, "runtime=None is neither")],
)
def test_what_names_no_runtime(choice: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(choice)  # type: ignore[arg-type]


def test_each_runtime_is_taken_once_whatever_names_it() -> None:
    found = chosen(["onnxruntime", "onnxruntime:CPUExecutionProvider", Wrong(), "onnxruntime"])
    assert [each.name for each in found] == ["onnxruntime", "wrong"]


def test_all_are_those_that_are_installed() -> None:
    assert [each.name for each in chosen("all")] == [each.name for each in installed()]
    assert {"onnxruntime", "onnx-reference"} <= {each.name for each in chosen("all")}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("openvino", r"`pip install openvino`, or qleaky with `pip install 'qleaky\[openvino\]'`"),
        ("tract", r"`pip install tract`, or qleaky with `pip install 'qleaky\[tract\]'`"),
    ],
)
def test_a_missing_package_with_the_command_that_installs_it(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"'{name}' needs the package '{name}'.*Install it with {command}"):
        verify(artefact(tmp_path), contract(), INPUTS, runtime=["onnxruntime", name])
    assert name not in [each.name for each in installed()]


def test_a_plug_in_asks_for_packages_with_a_command_of_its_own() -> None:
    assert require("toy", "json").dumps(1) == "1"
    with pytest.raises(MissingDependencyError, match=r"runtime 'toy' needs the package 'no_such'.*`pip install such-a-one`\."):
        require("toy", "no_such", install="pip install such-a-one")


def test_a_provider_that_this_build_lacks() -> None:
    with pytest.raises(
        MissingDependencyError,
        match=r"'onnxruntime:CUDAExecutionProvider': the installed ONNX Runtime has .*CPUExecutionProvider.*`pip install "
        r"onnxruntime-gpu`, in place of onnxruntime",
    ):
        runtime("onnxruntime:CUDAExecutionProvider")


def test_a_setting_says_what_it_is() -> None:
    assert str(Setting(False, 2)) == "optimisation off, 2 threads"
    assert str(Setting()) == "optimisation on, 1 thread"


def test_a_runtime_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Runtime()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("module", "kind", "package", "command"),
    [
        ("qleaky_tvm", "Tvm", "tvm", "pip install apache-tvm"),
        ("qleaky_iree", "Iree", "iree.compiler", "pip install iree-base-compiler iree-base-runtime"),
    ],
)
def test_the_examples_are_runtimes_that_ask_for_their_packages(
    module: str, kind: str, package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setitem(sys.modules, package, None)
    entries = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]["entry-points"]["qleaky.runtimes"]
    assert entries[kind.lower()] == f"{module}:{kind}"
    found = getattr(import_module(module), kind)
    assert issubclass(found, Runtime)
    assert found.name == kind.lower()
    with pytest.raises(MissingDependencyError, match=rf"runtime '{found.name}' needs .* Install it with `{command}`"):
        found()


def test_an_example_gets_the_lengths_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    fixed = import_module("qleaky_fixed_shapes")
    compiled: list[Any] = []

    def compile_it(model: onnx.ModelProto) -> Any:
        compiled.append(model)
        return lambda arrays: {"shape": arrays["input"].shape}

    executor = fixed.ByShape(small_contracts.model("scan"), compile_it)
    for batch in (2, 3, 2):
        assert executor.run({"input": INPUTS[:, :batch]}) == {"shape": (T, batch, 3)}
    assert len(compiled) == 2
    assert [d.dim_value for d in compiled[1].graph.input[0].type.tensor_type.shape.dim] == [T, 3, 3]
    bodies = [a.g for node in compiled[1].graph.node for a in node.attribute if a.name == "body"]
    assert bodies
    assert all(value.type.tensor_type.shape.dim[0].dim_value == 3 for body in bodies for value in body.input)
