"""The example of a spoken digit: on an emulated Cortex-M4 it hears what the reference does, in its recordings or yours."""

import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "microcontroller" / "spoken_digit.py"


def tools() -> None:
    for name in ("clang", "ld.lld", "qemu-system-arm"):
        if shutil.which(name) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing")
            pytest.skip(f"{name} is missing")


def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    given = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=given)


def tones(path: Path, seed: int, channels: int = 1) -> None:
    """Half a second of a few tones at 8 kHz."""
    t, r = np.arange(4000) / 8000, np.random.default_rng(seed)
    sound = sum(np.sin(2 * np.pi * f * t) for f in r.uniform(100, 3000, 5)) * 4000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.asarray(sound).astype("<i2").tobytes())


def test_it_hears_the_recordings_of_the_data_set(shared: Path) -> None:
    if not (shared / "data" / "fsdd").is_dir():
        pytest.skip(f"{shared} has no recordings")
    tools()
    ran = call(QLEAKY_DATA=str(shared / "data"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert re.fullmatch(r"(9|10) of 10 right; all are what the reference hears\.", lines[-1])
    assert len(lines) == 11


def test_it_hears_recordings_of_yours(tmp_path: Path) -> None:
    tools()
    tones(tmp_path / "7_me_1.wav", 1)
    tones(tmp_path / "noise.wav", 2)
    ran = call("--wav", tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.fullmatch(r"7_me_1\.wav: cortex-m4 heard a \d, and a 7 was said", ran.stdout.splitlines()[0])
    assert re.fullmatch(r"[01] of 1 right; all are what the reference hears\.", ran.stdout.splitlines()[-1])


@pytest.mark.nightly
def test_it_runs_on_this_computer_too(tmp_path: Path) -> None:
    tones(tmp_path / "noise.wav", 2)
    ran = call("--wav", tmp_path / "noise.wav", "--core", "host")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.fullmatch(r"noise\.wav: host heard a \d\nall are what the reference hears\.\n", ran.stdout)


@pytest.mark.parametrize(("name", "message"), [("none.wav", "cannot be read"), ("stereo.wav", "it must have 1, 2 and 8000")])
def test_what_it_cannot_hear_is_said_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    tones(tmp_path / "stereo.wav", 1, channels=2)
    ran = call("--wav", tmp_path / name)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert message in ran.stderr
