"""The step of one LIF neuron as C functions on int32_t, exactly :func:`qleaky.reference.lif_step`."""

from __future__ import annotations

from dataclasses import dataclass

from qleaky.dynamics import ResetTiming, resets_late
from qleaky.errors import InputError
from qleaky.export.c.equations import define_charged, define_count, define_kept, define_synapse
from qleaky.export.c.functions import Functions
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.fixed import Overflow
from qleaky.integer.lif import LIF, Synapse
from qleaky.integer.proof import INT32_MAX, LayerBounds
from qleaky.integer.signals import Signal, printed


@dataclass(frozen=True, eq=False)
class NeuronCode:
    """C of one layer's neurons: ``functions`` is text, ``constants`` what differs between its neurons.

    ``step`` names the function of a whole step, which reads and writes the states of one neuron and returns what it emits:
    ``int32_t step(mem_type *mem, [syn_type *syn,] int32_t current[, theta][, multiplier][, ...])``. Its last arguments are
    elements of ``arguments``, in this order.
    """

    functions: str
    constants: tuple[ConstArray, ...]
    step: str
    arguments: tuple[ConstArray, ...]

    def update(self, *, mem: str, syn: str | None, current: str, index: str, emitted: str) -> list[str]:
        """Statements that step one neuron: ``mem`` and ``syn`` are lvalues, ``current`` an int32_t expression.

        They declare ``const int32_t emitted``: 0 or 1, a count, or a graded number. ``index`` numbers the neuron in C order.
        """
        states = [f"&{mem}"] + ([] if syn is None else [f"&{syn}"])
        own = [f"{array.name}[{index}]" for array in self.arguments]
        return [f"const int32_t {emitted} = {self.step}({', '.join([*states, current, *own])});"]


def mem_type(layer: LIF) -> str:
    """The C type that stores a membrane.

    Raises:
        InputError: the format has codes that int32_t does not hold.
    """
    return _state_type(layer.name, "membrane", layer)


def syn_type(layer: LIF) -> str:
    """The C type that stores a synaptic current; :func:`mem_type` says when there is none."""
    if layer.synapse is None:
        raise InputError(f"layer {layer.name!r} has no synaptic current; its current goes into the membrane as it is.")
    return _state_type(layer.name, "synaptic current", layer.synapse)


def neuron_code(layer: LIF, x: Signal, bounds: LayerBounds, *, prefix: str) -> NeuronCode:
    """The C of one layer's neurons, where ``x`` feeds them.

    ::

        V = overflow(round(decay(U) + I - R*theta))     prefix_charged
        n = count(V)                                    prefix_count
        U = V less what a late reset takes off it       prefix_kept

    Every intermediate number is at most ``bounds.decay`` or ``bounds.step``: partial sums run over terms whose magnitudes
    these bounds add up, with the half that a rounding adds.

    Raises:
        InputError: a bound or a code is more than int32_t holds.
    """
    _check(layer, bounds)
    functions = Functions(prefix, x.shape)
    theta = functions.constant("theta", layer.theta)
    if bounds.synapse is not None:
        define_synapse(layer, x, bounds.synapse, functions)
    define_count(layer, bounds, functions, theta)
    define_charged(layer, x, bounds, functions, theta)
    if late := resets_late(layer.reset_mechanism, layer.reset_timing):
        define_kept(layer, functions, theta)
    _define_step(layer, functions, late)
    return NeuronCode(functions.text, tuple(functions.arrays.values()), f"{prefix}_step", functions.taken("step"))


def _define_step(layer: LIF, functions: Functions, late: bool) -> None:
    """The whole step of one neuron: states in place, the emission returned."""
    mem, parameters = mem_type(layer), f"{mem_type(layer)} *mem"
    lines, current = ["const int32_t u = *mem;"], "current"
    if layer.synapse is not None:
        syn, current = syn_type(layer), "j"
        parameters += f", {syn} *syn"
        lines += [f"const int32_t j = {functions.call('synapse', '*syn', 'current')};"]
        lines += [f"*syn = {_narrowed(syn, 'j')};"]
    lines.append(f"const int32_t v = {functions.call('charged', 'u', current)};")
    lines.append(f"const int32_t n = {functions.call('count', 'v')};")
    states = ["v", "n"] if layer.reset_timing is ResetTiming.SAME_STEP else ["u", "v", "n"]
    lines.append(f"*mem = {_narrowed(mem, functions.call('kept', *states) if late else 'v')};")
    graded = None if layer.graded is None else functions.constant("graded", layer.graded)
    lines.append("return n;" if graded is None else f"return n * {graded};")
    comment = "One step of one neuron: its states in place; what it emits is returned."
    functions.define("step", f"{parameters}, int32_t current", *lines, comment=comment)


def _narrowed(ctype: str, number: str) -> str:
    return number if ctype == "int32_t" else f"({ctype}){number}"


def _check(layer: LIF, bounds: LayerBounds) -> None:
    """All numbers of a step are int32_t."""
    mem_type(layer)
    for owner, part in ((layer, bounds), (layer.synapse, bounds.synapse)):
        if owner is not None and part is not None and part.overflows and owner.overflow is Overflow.PROVED_NONE:
            raise InputError(
                f"layer {layer.name!r}: its {part.kind} can leave {owner.state.describe()}, and overflow='proved_none' says "
                f"that it never does. Use a wider state, or overflow='saturate'."
            )
    for part in [bounds] if bounds.synapse is None else [bounds, bounds.synapse]:
        numbers = {"decay": part.decay, "sum": part.step, "input": part.input_bound, "emission": part.output_bound}
        for what, bound in numbers.items():
            if bound > INT32_MAX:
                raise InputError(
                    f"layer {layer.name!r}: the {what} of its {part.kind} reaches {printed(bound)}, more than int32_t holds "
                    f"({INT32_MAX}). Use a decay with fewer fraction bits, a narrower state, or smaller weights and currents."
                )


def _state_type(name: str, what: str, part: LIF | Synapse) -> str:
    fmt = part.state
    if fmt.highest > INT32_MAX:
        raise InputError(
            f"layer {name!r}: the {what} {fmt.describe()} has codes above {INT32_MAX}; use at most 31 unsigned bits."
        )
    return c_type(fmt.lowest, fmt.highest)
