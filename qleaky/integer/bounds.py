"""Worst-case bounds of every layer, and the proof that they rest on (numerics.md, "When we may say bit-for-bit").

All arithmetic here is on Python integers and fractions: nothing can overflow.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from qleaky.dynamics import MulShift, RoundingSite, float32_carries
from qleaky.fixed import Overflow, Rounding
from qleaky.integer.layers import LIF, Linear, Signal, split_signs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qleaky.integer.layers import Layer

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1


class LayerBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The largest integers that one layer can meet, for every input in the declared range.

    ``accumulate`` bounds every partial sum of W x + b in its own LSB, in any order of summation; ``decay`` and ``step``
    bound the decayed term and the whole sum at ``extra_bits`` extra bits. ``accumulator_bits`` is the width of a signed
    register that holds them, ``training_carrier`` the float type in which the torch layer computes them. All are counted
    in units of 2**-``finest_bits``. ``input_bound`` is what the layer receives, which torch passes in float32.
    """

    layer: str
    kind: str
    accumulate: int = 0
    decay: int = 0
    step: int = 0
    extra_bits: int = 0
    accumulator_bits: int = 32
    training_carrier: str = "float32"
    training_bound: int = 0
    training_limit: int = FLOAT32_EXACT
    finest_bits: int = 0
    input_bound: int = 0

    @property
    def largest(self) -> int:
        """The largest integer of all."""
        return max(self.accumulate, self.decay, self.step)

    @property
    def integer_exact(self) -> bool:
        """No 64-bit integer overflows."""
        return self.largest <= INT64_MAX

    @property
    def training_exact(self) -> bool:
        """The float carrier used in training holds every intermediate number exactly."""
        carried = self.training_bound <= self.training_limit and self.input_bound <= FLOAT32_EXACT
        return carried and self.exponents_fit

    @property
    def exponents_fit(self) -> bool:
        """Every number is a normal float32: at most 126 fractional bits, and below 2**127."""
        return self.finest_bits <= 126 and self.training_bound.bit_length() - self.finest_bits <= 127

    @property
    def fits_int32(self) -> bool:
        """32-bit integers suffice."""
        return self.largest <= INT32_MAX


class Proof(msgspec.Struct, frozen=True):
    """Whether bit-for-bit is a theorem, with the bounds it rests on and the reasons where it is not.

    ``artefact_exact``: any execution in integers computes the contract. ``training_exact``: so does the torch network,
    whatever its summation order. ``exact`` is both.
    """

    layers: tuple[LayerBounds, ...]
    artefact_reasons: tuple[str, ...]
    training_reasons: tuple[str, ...]

    @property
    def artefact_exact(self) -> bool:
        """The artefact computes the contract, for all inputs in the declared range."""
        return not self.artefact_reasons

    @property
    def training_exact(self) -> bool:
        """The torch network computes the contract, for all inputs in the declared range."""
        return not self.training_reasons

    @property
    def exact(self) -> bool:
        """Both hold."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not exact; empty when it is."""
        return self.artefact_reasons + self.training_reasons


def prove(layers: Iterable[Layer], signals: dict[str, Signal]) -> Proof:
    """Bound every layer and list what the bounds do not cover."""
    bounds = tuple(
        _linear_bounds(layer, signals[layer.input]) if isinstance(layer, Linear) else lif_bounds(layer, signals[layer.input])
        for layer in layers
    )
    return Proof(
        bounds,
        tuple(
            f"layer {b.layer!r}: an intermediate sum can reach {b.largest}, more than 64-bit integers hold ({INT64_MAX})."
            for b in bounds
            if not b.integer_exact
        ),
        tuple(_training_reason(b) for b in bounds if not b.training_exact),
    )


def _training_reason(b: LayerBounds) -> str:
    if b.input_bound > FLOAT32_EXACT:
        return (
            f"layer {b.layer!r}: its input can reach {b.input_bound}, more than the float32 in which torch passes it holds "
            f"exactly ({FLOAT32_EXACT}); use an input format of fewer bits."
        )
    if not b.exponents_fit:
        return (
            f"layer {b.layer!r}: its numbers have {b.finest_bits} fractional bits and reach {b.training_bound}, which leaves "
            f"the exponents of float32; rescale its weights."
        )
    return (
        f"layer {b.layer!r}: in training an intermediate sum can reach {b.training_bound}, more than {b.training_carrier} "
        f"holds exactly ({b.training_limit}); use fewer weight or state bits, or smaller fan-in."
    )


def _linear_bounds(layer: Linear, x: Signal) -> LayerBounds:
    """sum|w| * max|x| + |bias| of the worst output channel."""
    positive, negative = split_signs(layer.weight)
    bias = 0 if layer.bias is None else abs(layer.bias.astype(object))
    accumulate = int(max((positive + negative) * x.magnitude + bias))
    return LayerBounds(
        layer=layer.name,
        kind="linear",
        accumulate=accumulate,
        accumulator_bits=accumulate.bit_length() + 1,
        training_bound=accumulate,
        input_bound=x.magnitude,
        finest_bits=max(x.frac_bits + layer.weight_frac_bits, layer.weight_frac_bits, x.frac_bits),
    )


def lif_bounds(layer: LIF, x: Signal) -> LayerBounds:
    """The decay and step bounds, with the saturation relief for a float32 carrier where it applies."""
    k = layer.extra_bits(x)
    state = max(-layer.state.lowest, layer.state.highest)
    theta = max(abs(int(layer.theta.min())), abs(int(layer.theta.max())))
    current = x.magnitude * Fraction(2) ** -layer.input_shift(x)
    decay, decayed = _decay_bounds(layer, state, k)
    step = math.ceil((1 << k) * (decayed + current + theta)) + _half(k, layer.rounding)
    saturates = layer.overflow is Overflow.SATURATE and layer.theta.min() >= 0
    relieved = max(decay, (1 << k) * (max(-layer.state.lowest, layer.state.highest + 1) + theta + 1))
    in_float32 = float32_carries(layer.state, layer.overflow)
    return LayerBounds(
        layer=layer.name,
        kind="lif",
        decay=decay,
        step=step,
        extra_bits=k,
        accumulator_bits=max(decay, step).bit_length() + 1,
        training_carrier="float32" if in_float32 else "float64",
        training_bound=min(relieved, max(decay, step)) if saturates else max(decay, step),
        training_limit=FLOAT32_EXACT if in_float32 else FLOAT64_EXACT,
        input_bound=x.magnitude,
        finest_bits=layer.state.frac_bits + k,
    )


def _decay_bounds(layer: LIF, state: int, k: int) -> tuple[int, Fraction]:
    """The largest integer that the decay computes, and the largest decayed membrane in the state's LSB."""
    if not isinstance(layer.decay, MulShift) or layer.multiplier is None:
        return state << k, Fraction(state)
    n, product = layer.decay.n, int(layer.multiplier.max()) * state
    if layer.rounding_site is RoundingSite.SUM:
        return product << (k - n), Fraction(product, 1 << n)
    rounded = Fraction(-(-product >> n))
    return max(product + _half(n, layer.decay.rounding or layer.rounding), int(rounded) << k), rounded


def _half(bits: int, rounding: Rounding) -> int:
    """What rounding adds before it drops ``bits`` bits."""
    return (1 << bits) // 2 if rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0
