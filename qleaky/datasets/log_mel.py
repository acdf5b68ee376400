"""From the recordings of the Free Spoken Digit Dataset to the file that :func:`qleaky.datasets.fsdd` reads.

python -m qleaky.datasets.log_mel free-spoken-digit-dataset/recordings DATA_FOLDER
"""

from __future__ import annotations

import io
import re
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky._files import make_folder, read_file, write_atomically
from qleaky.errors import ArtefactError, InputError, QleakyError

RATE, WINDOW, HOP = 8000, 256, 160
STEPS, BANDS = 40, 32
LOWEST, HIGHEST = 80, 3900  # Hz
FLOOR = 1e-6
RANGE = (-4, 2)
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def log_mel(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes (frames, 32) of a recording of 8 kHz, at most 40 frames.

    ::

        x    = samples / max|samples|
        P    = |FFT(hann * x[160 t : 160 t + 256])|^2
        code = round(255 * (clip(log10(M P + 1e-6), -4, 2) + 4) / 6)

    with a symmetric Hann window and M of 32 triangles, evenly spaced from 80 to 3900 Hz on the mel scale
    2595 log10(1 + f / 700), each with weights that add up to 1.

    Raises:
        InputError: fewer than 256 samples, or silence.
    """
    if samples.ndim != 1 or len(samples) < WINDOW or not samples.any():
        raise InputError(
            f"A recording of shape {samples.shape}: one channel of at least {WINDOW} samples, not all 0, is needed."
        )
    x = samples.astype(np.float64) / np.abs(samples.astype(np.float64)).max()
    frames = np.stack([x[start : start + WINDOW] for start in range(0, len(x) - WINDOW + 1, HOP)][:STEPS])
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), WINDOW)) ** 2
    low, high = RANGE
    level = np.clip(np.log10(power @ _triangles().T + FLOOR), low, high)
    return np.rint((level - low) / (high - low) * 255).astype(np.uint8)


def _triangles() -> NDArray[np.float64]:
    """M, (32, 129)."""
    ends = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST]) / 700)
    points = 700 * (10 ** (np.linspace(ends[0], ends[1], BANDS + 2) / 2595) - 1)
    left, centre, right = points[:-2, None], points[1:-1, None], points[2:, None]
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    weights = np.maximum(0, np.minimum((frequencies - left) / (centre - left), (right - frequencies) / (right - centre)))
    normalised: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return normalised


def make(recordings: Path, folder: Path) -> Path:
    """Write ``fsdd/fsdd_logmel_u8.npz`` into a data folder from the .wav files of the data set.

    Raises:
        ArtefactError: no recordings, or one that cannot be read.
        OutputError: the file cannot be written.
    """
    found = sorted((m[2], int(m[1]), int(m[3]), path) for path in recordings.glob("*.wav") if (m := NAME.fullmatch(path.name)))
    if not found:
        raise ArtefactError(f"{recordings} holds no recordings: files such as 7_jackson_32.wav are expected there.")
    speakers = sorted({speaker for speaker, _, _, _ in found})
    codes, frames = np.zeros((len(found), STEPS, BANDS), np.uint8), np.zeros(len(found), np.uint8)
    for place, (_, _, _, path) in enumerate(found):
        mel = log_mel(_samples(path))
        codes[place, : len(mel)], frames[place] = mel, len(mel)
    arrays = {
        "x": codes,
        "digit": np.array([digit for _, digit, _, _ in found], np.uint8),
        "speaker": np.array([speakers.index(speaker) for speaker, _, _, _ in found], np.uint8),
        "index": np.array([index for _, _, index, _ in found], np.uint8),
        "frames": frames,
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    target = make_folder(folder / "fsdd") / "fsdd_logmel_u8.npz"
    write_atomically(target, stream.getvalue())
    return target


def _samples(path: Path) -> NDArray[np.int16]:
    try:
        with wave.open(io.BytesIO(read_file(path, "recording"))) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ArtefactError(f"{path} is no .wav file, or is damaged: {error}.") from error
    if kind != (1, 2, RATE):
        raise ArtefactError(
            f"{path} has {kind[0]} channels, {kind[1]} bytes a sample, {kind[2]} Hz; one, 2 and {RATE} are expected."
        )
    return np.frombuffer(data, "<i2")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m qleaky.datasets.log_mel RECORDINGS DATA_FOLDER")
    try:
        print(make(Path(sys.argv[1]), Path(sys.argv[2])))
    except QleakyError as error:
        sys.exit(f"qleaky.datasets.log_mel: {error}")
