"""What a proof consists of: the bounds of every layer, and the reasons where they do not hold."""

from __future__ import annotations

import msgspec

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1


class LayerBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The largest integers that one layer can meet, for every input in the declared range and any number of steps.

    ``accumulate`` bounds every partial sum of W x + b in its own LSB, in any order of summation; ``decay`` and ``step``
    bound the decayed term and the whole sum at ``extra_bits`` extra bits. ``accumulator_bits`` is the width of a signed
    register that holds them, ``channel_accumulator_bits`` the width that the least and the most demanding channel (neuron)
    need. ``training_carrier`` is the float type in which the torch layer computes them; all are counted in units of
    2**-``finest_bits``. ``input_bound`` is what the layer receives, which torch passes in float32, ``output_bound`` what it
    emits.

    A state lies between ``mem_low`` and ``mem_high``, before and after its resets; ``overflows`` says that a sum may leave
    the state's format, so that it saturates or wraps. ``half_even_bound`` is the largest integer, at one more extra bit,
    where HALF_UP and FLOOR are made from a half-even rounding by an added constant; 0 where that cannot be done.
    ``synapse`` are the bounds of the synaptic current, as a layer of its own.
    """

    layer: str
    kind: str
    accumulate: int = 0
    decay: int = 0
    step: int = 0
    extra_bits: int = 0
    accumulator_bits: int = 32
    channel_accumulator_bits: tuple[int, int] = (32, 32)
    training_carrier: str = "float32"
    training_bound: int = 0
    training_limit: int = FLOAT32_EXACT
    finest_bits: int = 0
    input_bound: int = 0
    output_bound: int = 0
    half_even_bound: int = 0
    mem_low: int = 0
    mem_high: int = 0
    overflows: bool = False
    synapse: LayerBounds | None = None

    @property
    def largest(self) -> int:
        """The largest integer of all."""
        return max(self.accumulate, self.decay, self.step)

    @property
    def integer_exact(self) -> bool:
        """No 64-bit integer overflows."""
        return max(self.largest, self.output_bound) <= INT64_MAX

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
        return max(self.largest, self.output_bound) <= INT32_MAX

    @property
    def float32_exact(self) -> bool:
        """float32 may carry the layer's integers, whatever carried them in training.

        What it receives, computes (in the order decay, plus current, minus threshold) and emits are integers of at most
        2**24, or are larger only where the state saturates either way. A rounding operator of the same name is assumed;
        see :attr:`float32_half_even`.
        """
        return max(self.training_bound, self.input_bound, self.output_bound) <= FLOAT32_EXACT

    @property
    def float32_half_even(self) -> bool:
        """As :attr:`float32_exact`, with HALF_UP or FLOOR made from a half-even rounding (Round, QuantizeLinear).

        Half-even rounding of A + 2**-(k+1) is HALF_UP of A, of A - 1/2 + 2**-(k+1) it is FLOOR of A, so sums need k + 1 bits,
        as does the current to which the constant is added. HALF_EVEN needs none; TOWARD_ZERO has no such form.
        """
        return self.float32_exact and 0 < self.half_even_bound <= FLOAT32_EXACT


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
