"""The log-mel codes of the recordings are those of the file that networks are trained with."""

import wave
from pathlib import Path

import numpy as np
import pytest

from qleaky.datasets._sources import array_content, arrays
from qleaky.datasets.log_mel import log_mel, make
from qleaky.errors import ArtefactError, InputError


def write(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> None:  # type: ignore[type-arg]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def test_every_fifth_recording_gives_its_published_codes(shared: Path) -> None:
    with np.load(shared / "data" / "fsdd" / "fsdd_wave_i16.npz") as recordings:
        samples = np.split(recordings["wave"], np.cumsum(recordings["length"])[:-1])
    with np.load(shared / "data" / "fsdd" / "fsdd_logmel_u8.npz") as published:
        codes, frames = published["x"], published["frames"]
    for number in range(0, 3000, 5):
        found = log_mel(samples[number])
        assert len(found) == frames[number]
        assert np.array_equal(found, codes[number, : len(found)])
        assert not codes[number, len(found) :].any()


def test_the_file_made_of_the_recordings_has_the_content_of_the_published_one(shared: Path, tmp_path: Path) -> None:
    """Of one recording in ten; the sources' digests are of the content, so other compression does not matter."""
    with np.load(shared / "data" / "fsdd" / "fsdd_wave_i16.npz") as recordings:
        samples = np.split(recordings["wave"], np.cumsum(recordings["length"])[:-1])
        names, labels = recordings["speakers"], {key: recordings[key] for key in ("speaker", "digit", "index")}
    chosen = np.flatnonzero(labels["index"] % 10 == 3)
    for number in chosen:
        digit, speaker, index = (int(labels[key][number]) for key in ("digit", "speaker", "index"))
        write(tmp_path / f"{digit}_{names[speaker]}_{index}.wav", samples[number])
    made = arrays(make(tmp_path, tmp_path / "data").read_bytes(), "made")
    with np.load(shared / "data" / "fsdd" / "fsdd_logmel_u8.npz") as published:
        expected = {name: published[name][chosen] for name in published.files}
    assert array_content(made) == array_content(expected)


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    centres = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([80, 3900]) / 700)), 34)[1:-1] / 2595) - 1)
    for band in (3, 10, 20, 30):
        tone = 1000 * np.sin(2 * np.pi * centres[band] * np.arange(1000) / 8000)
        codes = log_mel(np.rint(tone).astype(np.int16))
        assert codes.shape == (5, 32)
        assert (np.abs(codes.argmax(1) - band) <= 1).all()


@pytest.mark.parametrize("samples", [np.zeros(1000, np.int16), np.ones(255, np.int16), np.ones((300, 2), np.int16)])
def test_what_is_no_recording(samples: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=r"A recording of shape .*: one channel of at least 256 samples, not all 0, is needed"):
        log_mel(samples)


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"holds no recordings: files such as 7_jackson_32\.wav"):
        make(tmp_path, tmp_path)
    path = tmp_path / "0_theo_1.wav"
    path.write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match=r"0_theo_1\.wav is no \.wav file, or is damaged"):
        make(tmp_path, tmp_path)
    write(path, np.ones(600), rate=16000, channels=2)
    with pytest.raises(ArtefactError, match="has 2 channels, 2 bytes a sample, 16000 Hz; one, 2 and 8000 are expected"):
        make(tmp_path, tmp_path)
