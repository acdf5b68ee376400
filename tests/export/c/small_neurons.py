"""Random LIF layers of every setting, narrow enough that every state and current can be tried, and what feeds them."""

from typing import Any

import numpy as np

from qleaky import QFormat
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.errors import InputError
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Signal, Synapse
from qleaky.integer.bounds import LayerBounds, lif_bounds

Generator = np.random.Generator
NEURONS = 3


def pick(r: Generator, options: Any) -> Any:
    options = list(options)
    return options[r.integers(len(options))]


def decay(r: Generator, most: int = 10) -> dict[str, Any]:
    kind = r.integers(6)
    if kind == 0:
        return {"decay": None}
    if kind == 1:
        return {"decay": ShiftDecay(int(r.integers(1, 6)), bool(r.integers(2)))}
    n = int(r.integers(0, most + 1))
    size = (NEURONS,) if r.random() < 0.2 else ()
    return {
        "decay": MulShift(n=n, rounding=pick(r, [None, *Rounding])),
        "multiplier": r.integers(0, (1 << n) + 1, size) if r.random() < 0.2 else r.integers((3 << n) // 4, (1 << n) + 1, size),
    }


def state(r: Generator, bits: int) -> QFormat:
    kind = r.integers(4)
    return QFormat(bits, int(r.integers(-1, bits)), signed=kind != 0, narrow=bool(kind == 1))


def synapse(r: Generator, bits: int) -> Synapse:
    fmt = state(r, bits)
    overflow = Overflow.SATURATE if fmt.narrow else pick(r, [Overflow.SATURATE, Overflow.WRAP])
    return Synapse(state=fmt, rounding=pick(r, Rounding), rounding_site=pick(r, RoundingSite), overflow=overflow, **decay(r))


def settings(r: Generator, bits: int) -> dict[str, Any]:
    fmt = state(r, bits)
    mechanism, timing = pick(r, ResetMechanism), pick(r, ResetTiming)
    free = timing == "delayed" and r.random() < 0.2
    theta = r.integers(fmt.lowest if free else 1, max(fmt.highest * 2 // 3, 1) + 1, (NEURONS,) if r.random() < 0.3 else ())
    several = mechanism == "subtract" and timing != "undelayed" and theta.min() >= 1 and r.random() < 0.5
    return {
        "name": "lif",
        "input": "x",
        "state": fmt,
        "theta": theta,
        "reset_mechanism": mechanism,
        "reset_timing": timing,
        "compare": pick(r, Compare),
        "rounding": pick(r, Rounding),
        "rounding_site": pick(r, RoundingSite),
        "overflow": Overflow.SATURATE if fmt.narrow else pick(r, [*Overflow, Overflow.SATURATE]),
        "max_spikes": int(r.integers(2, 9)) if several else 1,
        "input_shift": int(r.integers(0, 3)),
        "graded": r.integers(-9, 10, (NEURONS,) if r.integers(2) else ()) if r.random() < 0.2 else None,
        "synapse": synapse(r, bits) if r.random() < 0.2 else None,
        **decay(r),
    }


def feed(r: Generator, fmt: QFormat) -> Signal:
    """Currents of a few hundred levels that reach past both ends of a state."""
    shift = int(r.integers(-4, 7))
    most = int(r.integers(3, 250))
    return Signal((NEURONS,), fmt.frac_bits + shift, np.array(-most), np.array(int(r.integers(0, most))))


def draw(seed: int, bits: int | None = None) -> tuple[LIF, Signal, LayerBounds]:
    """A layer of 2 to 8-bit states (or of ``bits``) whose proof holds in int32_t."""
    r = np.random.default_rng(seed)
    while True:
        try:
            layer = LIF(**settings(r, bits or int(pick(r, [8, 8, 8, 5, 2]))))
            x = feed(r, layer.state)
            bounds = lif_bounds(layer, x)
        except InputError:
            continue
        parts = [(layer, bounds)] + (
            [] if layer.synapse is None or bounds.synapse is None else [(layer.synapse, bounds.synapse)]
        )
        false_claim = any(part.overflow is Overflow.PROVED_NONE and own.overflows for part, own in parts)
        if not false_claim and all(own.fits_int32 for _, own in parts):
            return layer, x, bounds
