"""The house: light imports, a documented public surface, no traces of the machine it was written on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import qleaky

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "onnxruntime", "brevitas", "onnx", "onnx_ir", "snntorch", "matplotlib")


def loaded_by(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("statement", ["import qleaky", "import qleaky.cli", "import qleaky; dir(qleaky); qleaky.QFormat"])
def test_what_starts_fast_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) == []


@pytest.mark.parametrize(
    "module",
    [
        *("fixed", "dynamics", "integer", "reference", "export", "report", "datasets"),
        *("verification", "verification.compare", "verification.certificate"),
    ],
)
def test_what_runs_on_a_device_loads_no_torch(module: str) -> None:
    assert not {"torch", "brevitas"} & set(loaded_by(f"import qleaky.{module}"))


@pytest.mark.parametrize("name", qleaky.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(qleaky, name)
    assert name in dir(qleaky)
    if name == "__version__":
        assert re.fullmatch(r"\d+\.\d+\.\d+(\.?[a-z]+\d+)?", value)
    else:
        assert value.__doc__.strip()


def test_public_names_are_sorted_and_unique() -> None:
    assert dir(qleaky) == sorted(set(qleaky.__all__))


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"module 'qleaky' has no attribute 'Leeky'; it has .*Leaky.*export_onnx"):
        qleaky.Leeky


def test_no_module_bears_the_name_of_a_public_function() -> None:
    modules = {path.stem for path in (ROOT / "qleaky").iterdir() if path.suffix == ".py" or path.is_dir()}
    functions = {name for name in qleaky.__all__ if name not in ("surrogate", "datasets", "models")}
    assert not modules & functions


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_file_mentions_a_place_on_someones_machine() -> None:
    home = re.compile("/(root|home|Users)" + r"/\w")
    found = [str(path.relative_to(ROOT)) for path in tracked() if path.is_file() and home.search(path.read_text("latin-1"))]
    assert found == []
