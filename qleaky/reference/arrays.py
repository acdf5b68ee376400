"""The specification on NumPy int64, tested equal to the scalar one; it checks the bounds under which int64 cannot overflow."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_late
from qleaky.fixed import fit_array, round_shift_array
from qleaky.integer.lif import LIF, Synapse

Int64 = NDArray[np.int64]


class Charge(NamedTuple):
    """What one step makes of a state.

    ``product`` is m*u where a decay multiplies, before any rounding of its own, else the decayed state; ``decayed`` and
    ``total`` are at ``extra`` more bits than the state; ``rounded`` is the sum on the state's grid, ``kept`` that brought into
    its format: V, which is compared with the threshold.
    """

    product: Int64
    decayed: Int64
    total: Int64
    extra: int
    rounded: Int64
    kept: Int64


class Watch(Protocol):
    """Sees every sum of a run as it is made."""

    def charged(self, layer: str, part: LIF | Synapse, charge: Charge) -> None:
        """A step of the membranes, or of the synaptic currents, of ``layer``."""


def lif_step(layer: LIF, mem: Int64, current: Int64, current_shift: int, watch: Watch | None = None) -> tuple[Int64, Int64]:
    """One step of a layer: (U[t-1], I[t]) -> (U[t], n[t]); :func:`qleaky.reference.scalar.lif_step` states the equations."""
    theta = layer.theta.astype(np.int64)
    delayed = layer.reset_timing is not ResetTiming.SAME_STEP
    reset = _count(layer, mem, theta) if delayed else np.zeros_like(mem)
    kept = mem * (reset == 0) if layer.reset_mechanism is ResetMechanism.ZERO else mem
    subtracted = reset * theta if delayed and layer.reset_mechanism is ResetMechanism.SUBTRACT else None
    charge = _charge(layer, kept, current, current_shift, subtracted)
    charged = charge.kept
    if watch is not None:
        watch.charged(layer.name, layer, charge)

    spikes = _count(layer, charged, theta)
    if not resets_late(layer.reset_mechanism, layer.reset_timing):
        return charged, spikes
    step_down = theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else charged
    return charged - (spikes - reset) * step_down, spikes


def synapse_step(synapse: Synapse, synaptic: Int64, current: Int64, current_shift: int) -> Charge:
    """One step of synaptic currents: (J[t-1], I[t]) -> J[t], which is ``kept``."""
    return _charge(synapse, synaptic, current, current_shift, None)


def _charge(part: LIF | Synapse, kept: Int64, current: Int64, current_shift: int, subtracted: Int64 | None) -> Charge:
    product, decayed, bits = _decay(part, kept)
    extra = max(bits, current_shift, 0)
    decayed = decayed << (extra - bits)
    total = decayed + (current << (extra - current_shift))
    if subtracted is not None:
        total = total - (subtracted << extra)
    rounded = round_shift_array(total, extra, part.rounding)
    return Charge(product, decayed, total, extra, rounded, fit_array(rounded, part.state, part.overflow))


def _count(layer: LIF, mem: Int64, theta: Int64) -> Int64:
    strict = layer.compare is Compare.STRICT
    if layer.max_spikes == 1:
        return (mem > theta if strict else mem >= theta).astype(np.int64)
    count: Int64 = np.clip((mem - strict) // theta, 0, layer.max_spikes)
    return count


def _decay(part: LIF | Synapse, mem: Int64) -> tuple[Int64, Int64, int]:
    """The product that a decay computes, the decayed state, and at how many extra fractional bits that is."""
    if isinstance(part.decay, ShiftDecay):
        lost = mem >> part.decay.k
        decayed = mem - (np.where(lost == 0, np.sign(mem), lost) if part.decay.at_least_one else lost)
        return decayed, decayed, 0
    if isinstance(part.decay, MulShift) and part.multiplier is not None:
        product: Int64 = mem * part.multiplier.astype(np.int64)
        if part.rounding_site is RoundingSite.SUM:
            return product, product, part.decay.n
        return product, round_shift_array(product, part.decay.n, part.decay.rounding or part.rounding), 0
    return mem, mem, 0
