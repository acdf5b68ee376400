"""What the C kernel covers, and how it is told: ``lif.c``'s structures, filled from a :class:`~qleaky._lif.LIFRule`."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_early, resets_late
from qleaky.fixed import Overflow, Rounding
from qleaky.quantizers import FixedPointSpec
from qleaky.surrogate import (
    ATan,
    FastSigmoid,
    Heaviside,
    LeakySpikeOperator,
    SparseFastSigmoid,
    StraightThroughEstimator,
    Triangular,
)

MECHANISMS = (ResetMechanism.NONE, ResetMechanism.SUBTRACT, ResetMechanism.ZERO)
SURROGATES = (ATan, FastSigmoid, StraightThroughEstimator, Triangular, SparseFastSigmoid, LeakySpikeOperator, Heaviside)
TERMS = ("theta_due", "theta_fired", "theta_reset", "beta", "graded_due", "graded_fired")
PRODUCT, ROUNDED, SHIFTED, SHIFTED_AT_LEAST_ONE = range(4)
CODE_BITS = 8


class Rule(ctypes.Structure):
    """``Rule`` of lif.c."""

    _fields_ = (
        *((name, c_int32) for name in ("early", "late", "same_step", "inclusive")),
        *((name, c_int32) for name in ("decay", "decay_rounding", "quantized", "rounding", "clipped", "surrogate")),
        *((name, c_float) for name in ("scale", "step", "lowest", "highest", "shift", "a", "b")),
    )


class Setting(ctypes.Structure):
    """``Setting`` of lif.c: one number, or one per neuron."""

    _fields_ = (("values", c_void_p), ("per_neuron", c_int32))


class Terms(ctypes.Structure):
    """``Terms`` of lif.c: where the parameters' gradients go, element by element; null where not wanted."""

    _fields_ = tuple((name, c_void_p) for name in TERMS)


@dataclass(frozen=True)
class Plan:
    """A rule as the kernel takes it, and what of its forward pass the backward pass needs."""

    rule: Rule
    spec: FixedPointSpec | None
    late: bool
    same_step: bool
    subtracts_late: bool
    subtracts_early: bool
    has_gradient: bool

    @property
    def clipped(self) -> bool:
        """The quantizer's gradient is zero where it saturates."""
        return self.spec is not None and self.spec.gradient == "clipped"

    @property
    def keeps_membranes(self) -> bool:
        """Membranes after the step are needed again: codes alone do not give them."""
        return self.spec is None or (self.late and not self.same_step)

    @property
    def keeps_charged(self) -> bool:
        """Membranes when they fire are kept as floats beside those after the step."""
        return self.spec is None and self.late


def covers(rule: LIFRule) -> bool:
    """Whether the kernel computes ``rule`` in float32: torch.compile traces this, so it builds nothing."""
    spec = rule.spec
    if spec is None:
        return rule.quantizer is None and not rule.decays_on_grid and _covers_surrogate(rule)
    exact = spec.format.bits <= CODE_BITS and spec.format.frac_bits >= 0  # codes fit a byte, and scaling loses nothing
    return exact and spec.overflow is Overflow.SATURATE and _covers_surrogate(rule)


def _covers_surrogate(rule: LIFRule) -> bool:
    return rule.surrogate is None or type(rule.surrogate) in SURROGATES


def plan_of(rule: LIFRule) -> Plan | None:
    """How the kernel computes ``rule`` in float32; None where it does not."""
    if not covers(rule):
        return None
    timing, decay = rule.reset_timing, rule.decay if rule.spec is not None else None
    return _plan(rule.reset_mechanism, timing, rule.compare, decay, rule.rounding_site, rule.spec, rule.surrogate)


@lru_cache(maxsize=256)
def _plan(
    mechanism: ResetMechanism,
    timing: ResetTiming,
    compare: Compare,
    decay: Any,
    site: RoundingSite,
    spec: FixedPointSpec | None,
    surrogate: Any,
) -> Plan:
    index = MECHANISMS.index(mechanism)
    early, late = resets_early(mechanism, timing), resets_late(mechanism, timing)
    rule = Rule(early=index * early, late=index * late, same_step=timing is ResetTiming.SAME_STEP)
    rule.inclusive = compare is Compare.INCLUSIVE
    _set_surrogate(rule, surrogate)
    if spec is not None:
        _set_format(rule, spec)
        _set_decay(rule, decay, site, spec)
    subtracts = mechanism is ResetMechanism.SUBTRACT
    return Plan(rule, spec, late, bool(rule.same_step), subtracts and late, subtracts and early, surrogate is not None)


def _set_format(rule: Rule, spec: FixedPointSpec) -> None:
    fmt = spec.format
    rule.quantized, rule.clipped = True, spec.gradient == "clipped"
    rule.rounding = list(Rounding).index(spec.rounding)
    rule.scale, rule.step, rule.lowest, rule.highest = 2.0**fmt.frac_bits, fmt.step, fmt.lowest, fmt.highest


def _set_decay(rule: Rule, decay: Any, site: RoundingSite, spec: FixedPointSpec) -> None:
    if isinstance(decay, ShiftDecay):
        rule.decay = SHIFTED_AT_LEAST_ONE if decay.at_least_one else SHIFTED
        rule.shift = 2.0**-decay.k
    elif site is RoundingSite.DECAY:
        own = decay.rounding if isinstance(decay, MulShift) else None
        rule.decay, rule.decay_rounding = ROUNDED, list(Rounding).index(own or spec.rounding)


def _set_surrogate(rule: Rule, surrogate: Any) -> None:
    """Its number in lif.c (0: none) and its constants, as torch turns them into float32."""
    rule.surrogate = 0 if surrogate is None else SURROGATES.index(type(surrogate)) + 1
    match surrogate:
        case ATan(alpha):
            rule.a, rule.b = torch.pi / 2 * alpha, alpha / 2
        case FastSigmoid(slope) | LeakySpikeOperator(slope):
            rule.a = slope
        case SparseFastSigmoid(slope, bound):
            rule.a, rule.b = slope, bound
        case Triangular(threshold):
            rule.a = threshold
