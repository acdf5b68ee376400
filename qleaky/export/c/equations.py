"""The equations of a LIF step as C functions: V = overflow(round(A)), n = count(V), and what late resets leave."""

from __future__ import annotations

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_early
from qleaky.export.c.expressions import fitted, rounded, scaled
from qleaky.export.c.functions import Functions
from qleaky.fixed import Overflow
from qleaky.integer.lif import LIF, Synapse, decay_bits
from qleaky.integer.proof import LayerBounds
from qleaky.integer.signals import Signal


def define_synapse(layer: LIF, x: Signal, bounds: LayerBounds, functions: Functions) -> None:
    """J = overflow(round(decay(J[t-1]) + I))."""
    if layer.synapse is not None:
        shift = layer.current_shift(x)
        lines = _charge(layer.synapse, "j", shift, bounds, functions)
        comment = f"J = {_equation(layer.synapse, 'J', shift, bounds)}"
        functions.define("synapse", "int32_t j, int32_t current", *lines, comment=comment)


def define_charged(layer: LIF, x: Signal, bounds: LayerBounds, functions: Functions, theta: str) -> None:
    """V = overflow(round(decay(U) + I - R*theta)), R = count(U): what the early reset of a delayed or undelayed layer takes."""
    subtracted, state, lines = "", "u", []
    shift, held = layer.membrane_shift(x), "U"
    early = resets_early(layer.reset_mechanism, layer.reset_timing)
    if early and layer.reset_mechanism is ResetMechanism.ZERO:
        lines, state = [f"const int32_t kept = {_fires(layer, 'u', theta)} ? 0 : u;"], "kept"
        held = "((1 - R)*U)"
    elif early and layer.max_spikes == 1:
        subtracted = f" - ({_fires(layer, 'u', theta)} ? {scaled(theta, bounds.extra_bits)} : 0)"
    elif early:
        lines = [f"const int32_t taken = {functions.call('count', 'u')} * {theta};"]
        subtracted = f" - {scaled('taken', bounds.extra_bits)}"
    charge = _charge(layer, state, shift, bounds, functions, subtracted)
    comment = f"V = {_equation(layer, held, shift, bounds, ' - R*theta' if subtracted else '')}"
    functions.define("charged", "int32_t u, int32_t current", *lines, *charge, comment=comment)


def define_count(layer: LIF, bounds: LayerBounds, functions: Functions, theta: str) -> None:
    """n = count(V): whether it fires, or how often theta can be taken off it, by a division bit by bit.

    Bit b of the quotient is set where what is left, shifted down by b, still holds theta: no product can overflow.
    """
    if layer.max_spikes == 1:
        sign = ">" if layer.compare is Compare.STRICT else ">="
        functions.define(
            "count", "int32_t v", f"return {_fires(layer, 'v', theta)} ? 1 : 0;", comment=f"n = 1 where V {sign} theta"
        )
        return
    strict = layer.compare is Compare.STRICT
    most = max((bounds.mem_high - strict) // int(layer.theta.min()), 1)
    bits = min(most, layer.max_spikes).bit_length()
    lines, left = [f"const int32_t r{bits} = v{' - 1' if strict else ''};"], f"r{bits}"
    for bit in reversed(range(bits)):
        held = f"({left} >> {bit})" if bit else left
        lines.append(f"const int32_t q{bit} = {held} >= {theta} ? 1 : 0;")
        if bit:
            lines.append(f"const int32_t r{bit} = q{bit} ? {left} - {scaled(theta, bit)} : {left};")
            left = f"r{bit}"
    count = " + ".join(scaled(f"q{bit}", bit) for bit in reversed(range(bits)))
    if min(most, (1 << bits) - 1) > layer.max_spikes:
        lines.append(f"const int32_t n = {count};")
        count = f"n > {layer.max_spikes} ? {layer.max_spikes} : n"
    equation = f"n = min(max(floor(({'V - 1' if strict else 'V'}) / theta), 0), {layer.max_spikes})"
    functions.define("count", "int32_t v", *lines, f"return {count};", comment=equation)


def define_kept(layer: LIF, functions: Functions, theta: str) -> None:
    """U: what the late reset of a same-step or undelayed layer leaves of V."""
    subtract = layer.reset_mechanism is ResetMechanism.SUBTRACT
    if layer.reset_timing is ResetTiming.UNDELAYED:
        taken, name = (theta, "theta") if subtract else ("v", "V")
        line = f"return v - (n - {functions.call('count', 'u')}) * {taken};"
        functions.define("kept", "int32_t u, int32_t v, int32_t n", line, comment=f"U = V - (n - R)*{name}, R = count(U[t-1])")
        return
    if not subtract:
        functions.define("kept", "int32_t v, int32_t n", "return n ? 0 : v;", comment="U = V*(1 - n)")
        return
    taken = f"(n ? {theta} : 0)" if layer.max_spikes == 1 else f"n * {theta}"
    functions.define("kept", "int32_t v, int32_t n", f"return v - {taken};", comment="U = V - n*theta")


def _fires(layer: LIF, state: str, theta: str) -> str:
    return f"{state} {'>' if layer.compare is Compare.STRICT else '>='} {theta}"


def _charge(
    part: LIF | Synapse, state: str, shift: int, bounds: LayerBounds, functions: Functions, subtracted: str = ""
) -> list[str]:
    """Statements that return overflow(round(A)): A has k extra bits, and is summed up from the left."""
    k = bounds.extra_bits
    lines, decayed = _decay(part, state, functions)
    total = f"{scaled(decayed, k - decay_bits(part))} + {scaled('current', k - shift)}{subtracted}"
    lines.append(f"const int32_t sum = {total};")
    result = "sum"
    if k:
        lines.append(f"const int32_t v = {rounded('sum', k, part.rounding)};")
        result = "v"
    if bounds.overflows:
        result = fitted(result, part.state, part.overflow, low=bounds.mem_low, high=bounds.mem_high)
    return [*lines, f"return {result};"]


def _decay(part: LIF | Synapse, state: str, functions: Functions) -> tuple[list[str], str]:
    """Statements before, and an expression of, the decayed state at :func:`decay_bits` extra bits."""
    decay = part.decay
    if isinstance(decay, ShiftDecay):
        if not decay.at_least_one:
            return [], f"({state} - ({state} >> {decay.k}))"
        lost = f"const int32_t lost = {state} >> {decay.k};"
        step = f"const int32_t step = lost != 0 ? lost : ({state} > 0 ? 1 : 0) - ({state} < 0 ? 1 : 0);"
        return [lost, step], f"({state} - step)"
    if not isinstance(decay, MulShift) or part.multiplier is None:
        return [], state
    name = "multiplier" if isinstance(part, LIF) else "syn_multiplier"
    product = f"{functions.constant(name, part.multiplier)} * {state}"
    if part.rounding_site is RoundingSite.SUM:
        return [], product
    lines = [f"const int32_t product = {product};"]
    return [*lines, f"const int32_t decayed = {rounded('product', decay.n, decay.rounding or part.rounding)};"], "decayed"


_OVERFLOWS = {Overflow.SATURATE: "saturated", Overflow.WRAP: "wrapped"}


def _equation(part: LIF | Synapse, state: str, shift: int, bounds: LayerBounds, reset: str = "") -> str:
    """The sum as one reads it, for the comment above a function."""
    decayed = state
    match part.decay:
        case ShiftDecay(k=k, at_least_one=at_least_one):
            decayed = f"{state} - ({state} >> {k}{', at least one step to zero' if at_least_one else ''})"
        case MulShift(n=n, rounding=own):
            decayed = f"m*{state}/2^{n}"
            if part.rounding_site is RoundingSite.DECAY:
                decayed = f"{own or part.rounding}({decayed})"
    total = f"{decayed} + I{f'/2^{shift}' if shift > 0 else f'*2^{-shift}' if shift else ''}{reset}"
    total = f"{part.rounding}({total})" if bounds.extra_bits else total
    return f"{_OVERFLOWS[part.overflow]}({total})" if bounds.overflows else total
