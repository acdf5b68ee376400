"""Coverage-guided fuzzing of everything that reads files of others; a finding is any error but qleaky's own.

With Python 3.11, in an environment that qleaky's readers need (``pip install atheris==3.0.0 msgspec numpy onnx onnxruntime
safetensors``)::

    PYTHONPATH=. python tests/fuzz/atheris_readers.py [CORPUS] -max_total_time=600

An input's first byte chooses the reader, and whether the rest of it is the file or a recipe: JSON of changes to a good file.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bundle"))

with atheris.instrument_imports(include=["qleaky"]):
    import bundle_helpers

    from qleaky.errors import QleakyError
    from qleaky.export.bundle_manifest import Manifest
    from qleaky.integer import load_network
    from qleaky.verification import verify
    from qleaky.verification.certificate import Certificate
    from qleaky.verification.device.bundles import Bundle
    from qleaky.verification.device.report_file import DeviceFile

FOLDER = Path(tempfile.mkdtemp(prefix="qleaky-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
LIMIT = 1 << 17
Reader = Callable[[bytes], Any]


def device() -> Any:
    """validate.py, instrumented."""
    spec = importlib.util.spec_from_file_location("device_validate", ROOT / "export" / "device" / "validate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with atheris.instrument_imports():
        spec.loader.exec_module(module)
    for name in ("check_model", "model_problem", "fields", "varint", "once", "integer", "shown", "first_line"):
        setattr(module, name, atheris.instrument_func(getattr(module, name)))
    for name in ("_parsed", "_problems", "_check"):
        setattr(module.Bundle, name, atheris.instrument_func(getattr(module.Bundle, name)))
    return module


DEVICE = device()
REFUSALS = (QleakyError, DEVICE.BadInput)


def from_file(name: str, read: Callable[[Path], Any]) -> Reader:
    """A reader of bytes, by way of a file."""
    path = FOLDER / name

    def take(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return take


def seeds() -> dict[str, bytes]:
    """A good file of each kind."""
    files = bundle_helpers.members(bundle_helpers.bundle())
    folder = bundle_helpers.unpacked(FOLDER / "bundle")
    bundle_helpers.validated(folder, "--nonce", "n")
    bundle_helpers.network().save(FOLDER / "net.qleaky")
    verify(folder / "models" / "scan.onnx", bundle_helpers.network()).certificate().save(FOLDER / "seed.json")
    return {
        "manifest": files["manifest.json"],
        "device manifest": files["manifest.json"],
        "report": (folder / "report.json").read_bytes(),
        "certificate": (FOLDER / "seed.json").read_bytes(),
        "contract": (FOLDER / "net.qleaky").read_bytes(),
        "bundle": bundle_helpers.bundle(),
        "device graph": files["models/scan.onnx"],
    }


READERS: dict[str, Reader] = {
    "manifest": Manifest.decode,
    "device manifest": from_file("manifest.json", lambda path: DEVICE.Bundle(str(path.parent))),
    "report": DeviceFile.decode,
    "certificate": from_file("certificate.json", Certificate.load),
    "contract": from_file("fuzzed.qleaky", load_network),
    "bundle": from_file("fuzzed.zip", Bundle.open),
    "device graph": lambda data: DEVICE.check_model(data, "a.onnx"),
}
NAMES = list(READERS)
SEEDS = seeds()


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value, and each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [spot for key, item in list(items) for spot in [(value, key), *spots(item)]]


def changed(seed: bytes, data: bytes) -> bytes:
    """A good file with changes that ``data`` names: of JSON its values, of others its bytes."""
    provider = atheris.FuzzedDataProvider(data)
    if not seed.startswith(b"{"):
        found = bytearray(seed)
        for _ in range(provider.ConsumeIntInRange(1, 8)):
            at = provider.ConsumeIntInRange(0, len(found))
            cut = provider.ConsumeIntInRange(0, 8)
            found[at : at + cut] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 8))
        return bytes(found)
    value = json.loads(seed)
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        places = spots(value)
        if not places:
            break
        container, key = places[provider.ConsumeIntInRange(0, len(places) - 1)]
        if provider.ConsumeBool():
            container[key] = drawn(provider)
        elif isinstance(container, list):
            container.insert(key, drawn(provider))
        else:
            del container[key]
    return json.dumps(value).encode("utf-8", "surrogatepass")


def drawn(provider: Any) -> Any:
    """A JSON value."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        provider.ConsumeBool,
        lambda: provider.ConsumeInt(9),
        provider.ConsumeFloat,
        lambda: provider.ConsumeUnicode(12),
        lambda: provider.PickValueInList(
            ["../x", "a" * 64, "\x1b[2J", "manifest.json", "step", "mem", "0000", {"tensor": "0000"}]
        ),
        list,
        dict,
    ]
    return kinds[provider.ConsumeIntInRange(0, len(kinds) - 1)]()


def one_input(data: bytes) -> None:
    """Read one file; errors that are not qleaky's own go through, and are findings."""
    if not data or len(data) > LIMIT:
        return
    choice, rest = data[0], data[1:]
    name = NAMES[choice % len(NAMES)]
    file = rest if choice < 64 else changed(SEEDS[name], rest)
    try:
        READERS[name](file)
    except REFUSALS as error:
        sentence = str(error)
        if not sentence.isprintable():
            raise AssertionError(f"{name}: {sentence!r} would reach a terminal") from error


def corpus(folder: Path) -> None:
    """The good files as first inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        (folder / f"{name.replace(' ', '-')}").write_bytes(bytes([number]) + SEEDS[name])
        (folder / f"{name.replace(' ', '-')}.changes").write_bytes(
            bytes([63 + number - (63 % len(NAMES)) + len(NAMES)]) + b"\x01" * 40
        )


def main() -> None:
    """Fuzz, from the good files on."""
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    folders = [word for word in sys.argv[1:] if not word.startswith("-")] or [str(FOLDER / "corpus")]
    corpus(Path(folders[0]))
    os.chdir(FOLDER)
    atheris.Setup([sys.argv[0], *folders, *options, f"-max_len={LIMIT}"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
