"""Events become the codes that counting them one by one gives."""

from typing import Any

import numpy as np
import pytest

from qleaky import QFormat
from qleaky.datasets._binning import Binning, channel_numbers
from qleaky.errors import ArtefactError, InputError


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize(("num_steps", "duration"), [(1, 10), (7, 100), (30, 300_001)])
def test_codes_are_events_counted_one_by_one(bits: int, num_steps: int, duration: int) -> None:
    rng = np.random.default_rng(bits)
    times, channels = rng.integers(-5, duration + 5, 3000), rng.integers(0, 6, 3000)
    expected = np.zeros((num_steps, 6), int)
    for t, channel in zip(times.tolist(), channels.tolist(), strict=True):
        step = next((s for s in range(num_steps) if s * duration <= t * num_steps < (s + 1) * duration), None)
        if step is not None:
            expected[step, channel] = min(expected[step, channel] + 1, 2**bits - 1)
    codes = Binning(num_steps, duration, bits).codes(times, channels, (2, 3))
    assert (codes.shape, codes.dtype) == ((num_steps, 2, 3), np.uint8)
    assert np.array_equal(codes.reshape(num_steps, 6), expected)


def test_one_bit_is_the_format_of_spikes() -> None:
    assert Binning(5, 10).format == QFormat(1, 0, signed=False)
    assert Binning(5, 10, 3).format.highest == 7


def test_a_sample_without_events_is_silent() -> None:
    assert not Binning(5, 10).codes(np.zeros(0, int), np.zeros(0, int), (3,)).any()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_steps": 0}, "num_steps=0; it is a whole number from 1"),
        ({"duration": 1.5}, r"duration=1\.5; it is a whole number from 1"),
        ({"bits": 9}, "bits=9; it is a whole number from 1 to 8"),
    ],
)
def test_numbers_outside_their_ranges(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Binning(**{"num_steps": 5, "duration": 10, "bits": 1} | numbers)


def test_an_event_outside_the_sensor_is_damage() -> None:
    y, x = np.array([0, 1]), np.array([2, 3])
    assert channel_numbers((y, x), (2, 4), "sample").tolist() == [2, 7]
    with pytest.raises(ArtefactError, match=r"sample has an event at 3, outside of the sensor of shape \(2, 3\)"):
        channel_numbers((y, x), (2, 3), "sample")
    with pytest.raises(ArtefactError, match="sample has an event at -1, outside"):
        channel_numbers((y, x - 3), (2, 3), "sample")
