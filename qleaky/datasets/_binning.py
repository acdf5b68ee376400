"""Events become codes: counted per time step and channel, up to what the format holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError, InputError
from qleaky.fixed import QFormat


@dataclass(frozen=True)
class Binning:
    """code[step, channel] = min(events of the channel in the step, 2**bits - 1), step = floor(t * num_steps / duration).

    Events before 0 and from ``duration`` on are left out; the rule is exact, on integers. With one bit the codes are spikes.

    Attributes:
        num_steps: T.
        duration: of a sample, in microseconds.
        bits: of a code, 1 to 8.

    Raises:
        InputError: a number outside its range.

    >>> Binning(num_steps=2, duration=10).codes(np.array([0, 4, 5, 9, 10]), np.array([0, 0, 1, 0, 1]), (2,)).tolist()
    [[1, 0], [1, 1]]
    """

    num_steps: int
    duration: int
    bits: int = 1

    def __post_init__(self) -> None:
        for name, highest in (("num_steps", 1 << 20), ("duration", 1 << 40), ("bits", 8)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= highest:
                raise InputError(f"Events: {name}={value!r}; it is a whole number from 1 to {highest:,}.")

    @property
    def format(self) -> QFormat:
        """Counts: unsigned, without a fraction."""
        return QFormat(self.bits, 0, signed=False)

    def codes(self, times: NDArray[Any], channels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Codes (T, *shape) of events at ``times``, in microseconds, in ``channels``: numbers of elements of ``shape``."""
        inside = (times >= 0) & (times < self.duration)
        size = int(np.prod(shape))
        steps = times[inside].astype(np.int64) * self.num_steps // self.duration
        counts = np.bincount(steps * size + channels[inside].astype(np.int64), minlength=self.num_steps * size)
        return np.minimum(counts, self.format.highest).astype(np.uint8).reshape(self.num_steps, *shape)


def channel_numbers(places: tuple[NDArray[Any], ...], shape: tuple[int, ...], where: str) -> NDArray[np.int64]:
    """The number of the element of ``shape`` that each event belongs to, in C order.

    Raises:
        ArtefactError: an event outside of the sensor.
    """
    for place, size in zip(places, shape, strict=True):
        if place.size and (place.min() < 0 or place.max() >= size):
            wrong = place.min() if place.min() < 0 else place.max()
            raise ArtefactError(f"{where} has an event at {wrong}, outside of the sensor of shape {shape}. Get the file again.")
    return np.ravel_multi_index(tuple(place.astype(np.int64) for place in places), shape).astype(np.int64)
