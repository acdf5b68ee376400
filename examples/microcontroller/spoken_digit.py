"""Spoken digits on an emulated microcontroller: python spoken_digit.py [--wav FILE_OR_FOLDER] [--data FOLDER] [--core CORE].

Exports the trained network fsdd as C, builds it with main.c for a Cortex-M4 (or another core, or this computer: --core host),
runs it in QEMU, and prints what the device heard in each recording. These are of the Free Spoken Digit Dataset, one of each
digit, from the folder that --data or the environment variable QLEAKY_DATA names; or your own, 8 kHz, 16 bits, one channel.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import qleaky
from qleaky.datasets.log_mel import NAME, RATE, STEPS, log_mel
from qleaky.errors import ArtefactError, InputError, QleakyError
from qleaky.export.c.targets import TARGETS
from qleaky.model_reference import HowToLower, load_model

HERE = Path(__file__).resolve().parent
CORES = {target.name: target for target in TARGETS}


@dataclass(frozen=True, eq=False)
class Recording:
    """Its name, the digit where that is known, and 40 frames of 32 codes."""

    name: str
    digit: int | None
    codes: Any


def of_the_data_set(folder: str | None) -> list[Recording]:
    """The first test recording of each digit."""
    data = qleaky.datasets.load("fsdd", folder)
    places = [int(np.flatnonzero(data.test_labels == digit)[0]) for digit in range(10)]
    return [Recording(f"test recording {i}", int(data.test_labels[i]), data.test_codes[:, i]) for i in places]


def of_files(path: Path) -> list[Recording]:
    """A .wav file, or all of a folder; a name such as 7_jackson_32.wav tells the digit."""
    files = sorted(path.glob("*.wav")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no .wav files; name a file or a folder of recordings.")
    return [_of_file(file) for file in files]


def _of_file(path: Path) -> Recording:
    try:
        with wave.open(str(path), "rb") as file:
            kind, data = file.getparams()[:3], file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise ArtefactError(f"{path} cannot be read as a .wav file: {error}.") from error
    if kind != (1, 2, RATE):
        raise InputError(
            f"{path} has {kind[0]} channels, {kind[1]} bytes a sample, {kind[2]} Hz; it must have 1, 2 and {RATE}."
        )
    heard = log_mel(np.frombuffer(data, "<i2"))
    codes = np.zeros((STEPS, heard.shape[1]), np.uint8)
    codes[: len(heard)] = heard
    named = NAME.fullmatch(path.name)
    return Recording(path.name, None if named is None else int(named[1]), codes)


def header(recordings: list[Recording]) -> str:
    """recordings.h."""
    rows = ",\n".join("{" + ",\n".join("{" + ",".join(map(str, frame)) + "}" for frame in r.codes) + "}" for r in recordings)
    return (
        f'#include "spoken.h"\n#define RECORDINGS {len(recordings)}u\n'
        f"static const spoken_code recordings[RECORDINGS][spoken_STEPS][32] = {{\n{rows}\n}};\n"
    )


def build(folder: Path, core: str) -> Path:
    """The program: main.c, the model, and what the machine needs."""
    target = CORES.get(core)
    port = "host" if target is None else target.port
    sources = [HERE / "main.c", folder / "qleaky_model.c", folder / "qleaky_weights.c", folder / f"ports/{port}/port.c"]
    sources += [] if target is None else [folder / "ports/start.c", folder / "ports/memory.c"]
    compiler = ["cc"] if target is None else ["clang", *target.compile.replace("'", "").split()]
    objects = []
    for source in sources:
        objects.append(f"{source.parent.name}_{source.stem}.o")
        options = ["-std=c99", "-O2", "-I.", "-Iports", "-c", str(source), "-o", objects[-1]]
        run([*compiler, *options], folder)
    linker = ["cc"] if target is None else ["ld.lld", *target.link.split()]
    run([*linker, *objects, "-o", "spoken_digit"], folder)
    return folder / "spoken_digit"


def run(command: list[str], folder: Path) -> str:
    """What a command prints.

    Raises:
        InputError: it is not installed, or fails.
    """
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} is not installed: apt-get install clang lld qemu-system-arm qemu-system-misc."
        ) from error
    except subprocess.CalledProcessError as error:
        raise InputError(f"{' '.join(command)} failed:\n{error.stderr}") from error


def hear(recordings: list[Recording], core: str, folder: Path) -> tuple[list[int], list[int]]:
    """The classes that the device finds, and those that the reference does."""
    codes = np.stack([recording.codes for recording in recordings], axis=1)
    network = load_model("fsdd", HowToLower())
    assert isinstance(network, qleaky.IntegerNetwork)
    qleaky.export_c(network, folder, "spoken")
    (folder / "recordings.h").write_text(header(recordings))
    program = build(folder, core)
    emulator = CORES[core].emulate.split() if core in CORES else []
    found = run([*emulator, str(program)], folder).split()
    return [int(digit) for digit in found], qleaky.run(network, codes).outputs["class"].tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wav", type=Path, help="a .wav file, or a folder of them")
    parser.add_argument("--data", help="the folder with fsdd/fsdd_logmel_u8.npz")
    parser.add_argument("--core", default="cortex-m4", choices=["host", *CORES])
    options = parser.parse_args()
    try:
        recordings = of_the_data_set(options.data) if options.wav is None else of_files(options.wav)
        with tempfile.TemporaryDirectory(prefix="spoken-digit-") as folder:
            heard, expected = hear(recordings, options.core, Path(folder))
    except QleakyError as error:
        print(f"spoken_digit.py: {error}", file=sys.stderr)
        return 2
    for recording, digit in zip(recordings, heard, strict=True):
        said = "" if recording.digit is None else f", and a {recording.digit} was said"
        print(f"{recording.name}: {options.core} heard a {digit}{said}")
    known = [
        (recording.digit, digit) for recording, digit in zip(recordings, heard, strict=True) if recording.digit is not None
    ]
    right = f"{sum(said == digit for said, digit in known)} of {len(known)} right; " if known else ""
    print(f"{right}{'all are' if heard == expected else 'NOT all are'} what the reference hears.")
    return 0 if heard == expected else 1


if __name__ == "__main__":
    sys.exit(main())
