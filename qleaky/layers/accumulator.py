"""Weights that keep every sum of a layer within a register of P bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from qleaky.errors import InputError
from qleaky.fixed import QFormat
from qleaky.layers.codes import Codes

InputFormat = QFormat | Literal["spikes"]
MAX_ACCUMULATOR_BITS = 32


@dataclass(frozen=True)
class Accumulator:
    """A signed register of ``bits`` bits that adds up weight codes times inputs of at most ``reach``, and a bias."""

    bits: int
    reach: int

    @property
    def limit(self) -> int:
        """2**(P-1) - 1."""
        return (1 << (self.bits - 1)) - 1


def largest_input(input_format: InputFormat) -> int:
    """The largest absolute integer that a layer with this input receives."""
    if input_format == "spikes":
        return 1
    return max(input_format.zero_point - input_format.lowest, input_format.highest - input_format.zero_point)


def input_frac_bits(input_format: InputFormat) -> int:
    """The fractional bits of the layer's input."""
    return 0 if input_format == "spikes" else input_format.frac_bits


def check_input_format(input_format: object, where: str) -> None:
    """Refuse what is no input format.

    Raises:
        InputError: it is none.
    """
    if input_format != "spikes" and not isinstance(input_format, QFormat):
        raise InputError(
            f"{where}: input_format={input_format!r}; pass 'spikes' or a qleaky.QFormat(bits, frac_bits, signed, zero_point)."
        )


def accumulator_of(
    accumulator_bits: int | None, input_format: InputFormat, codes: Codes, fan_in: int, where: str
) -> Accumulator | None:
    """The register of a layer, None where it may be as wide as it needs to be.

    Raises:
        InputError: no integer of at most 32 bits, or too few for a single weight (for all of them where none can be 0).
    """
    if accumulator_bits is None:
        return None
    if isinstance(accumulator_bits, bool) or not isinstance(accumulator_bits, int):
        raise InputError(f"{where}: accumulator_bits={accumulator_bits!r} is no integer; pass None for no bound.")
    if not 2 <= accumulator_bits <= MAX_ACCUMULATOR_BITS:
        raise InputError(f"{where}: accumulator_bits={accumulator_bits}; choose 2 to {MAX_ACCUMULATOR_BITS}.")
    reach = largest_input(input_format)
    needed = (codes.largest if codes.has_zero else fan_in) * reach
    accumulator = Accumulator(accumulator_bits, reach)
    if needed <= accumulator.limit:
        return accumulator
    what = f"one weight code of {codes.largest}" if codes.has_zero else f"{fan_in} binary weights, none of which can be 0,"
    advice = "fewer weight bits" if codes.has_zero else "'ternary' weights"
    raise InputError(
        f"{where}: accumulator_bits={accumulator_bits} holds at most {accumulator.limit}, but {what} with inputs of up to "
        f"{reach} reaches {needed}; use at least {needed.bit_length() + 1} bits, {advice} or an input of fewer bits."
    )


def within(rows: Tensor, codes: Tensor, room: Tensor) -> Tensor:
    """Codes of every row (out, n) with sum|code| <= room: those there are, or the grid points next to the L1 ball's.

    ``codes`` are ``rows`` rounded, both in units of the step and in the range of the codes. Where they break the bound, the
    row is projected onto the L1 ball of that radius (Duchi et al., "Efficient Projections onto the l1-Ball", ICML 2008) and
    rounded toward zero; what that leaves of the room goes to the largest remainders. The guarantee by rounding toward zero is
    that of Colbert, Pappalardo and Petri-Koenig, "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance",
    ICCV 2023 (arXiv 2308.13504), the Euclidean projection that of "A2Q+" (arXiv 2401.10432).
    """
    broken = codes.abs().sum(1, dtype=torch.float64) > room
    if torch.compiler.is_compiling():  # which knows no rows that are there in some steps only
        return torch.where(broken.unsqueeze(1), _projected(rows.double(), room.double()).to(codes.dtype), codes)
    if not bool(broken.any()):
        return codes
    bounded = codes.clone()
    bounded[broken] = _projected(rows[broken].double(), room[broken].double()).to(codes.dtype)
    return bounded


def _projected(rows: Tensor, room: Tensor) -> Tensor:
    magnitude = (rows.abs() - _threshold(rows.abs(), room)).clamp_(min=0)
    whole = magnitude.floor()
    remainder = magnitude - whole
    rank = remainder.argsort(stable=True, dim=1, descending=True).argsort(1)
    left = room.unsqueeze(1) - whole.sum(1, keepdim=True)
    rounded: Tensor = whole + ((rank < left) & (remainder > 0))
    return rounded * rows.sign()


def _threshold(magnitude: Tensor, room: Tensor) -> Tensor:
    """What to subtract from every magnitude of a row so that their positive rests add up to ``room``, (out, 1)."""
    ordered = magnitude.sort(1, descending=True).values
    counts = torch.arange(1, magnitude.shape[1] + 1, device=magnitude.device)
    means = (ordered.cumsum(1) - room.unsqueeze(1)) / counts
    support = (ordered > means).sum(1, keepdim=True)
    return means.gather(1, support.clamp(min=1) - 1).clamp(min=0)
