"""The specification in scalar Python integers, which are unbounded: what every other implementation must equal."""

from __future__ import annotations

from typing import Any

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.fixed import fit, round_shift
from qleaky.integer import LIF, IntegerNetwork, Linear


def lif_step(layer: LIF, mem: int, current: int, theta: int, multiplier: int, current_shift: int) -> tuple[int, int]:
    """One step of one neuron: (U[t-1], I[t]) -> (U[t], S[t]), all integer codes.

    ::

        R = fires(U[t-1])                      delayed and undelayed reset
        D = decay(U[t-1])                      zero reset: decay((1-R) * U[t-1])
        A = D + I[t] - R*theta                 zero/none reset and SAME_STEP: without the last term
        V = overflow(round(A))
        S = fires(V)
        U = V                                  DELAYED
        U = V - S*theta        | V*(1-S)       SAME_STEP, subtract | zero
        U = V - (S-R)*theta    | V - (S-R)*V   UNDELAYED, subtract | zero

    Args:
        layer: the dynamics; its arrays are not read.
        mem: U[t-1], a code of ``layer.state``.
        current: I[t], at ``current_shift`` more fractional bits than the state.
        theta: the threshold's code.
        multiplier: the decay's m, where it is a MulShift.
        current_shift: frac_bits of the current minus those of the state; may be negative.
    """
    reset = int(_fires(layer, mem, theta)) if layer.reset_timing is not ResetTiming.SAME_STEP else 0
    kept = 0 if reset and layer.reset_mechanism is ResetMechanism.ZERO else mem
    subtracted = reset * theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else 0

    decayed, bits = _decay(layer, kept, multiplier)
    extra = max(bits, current_shift, 0)
    total = (decayed << (extra - bits)) + (current << (extra - current_shift)) - (subtracted << extra)
    charged = fit(round_shift(total, extra, layer.rounding), layer.state, layer.overflow)

    spike = int(_fires(layer, charged, theta))
    return charged - _late_reset(layer, spike, reset, charged, theta), spike


def _fires(layer: LIF, mem: int, theta: int) -> bool:
    return mem > theta if layer.compare is Compare.STRICT else mem >= theta


def _decay(layer: LIF, mem: int, multiplier: int) -> tuple[int, int]:
    """The decayed membrane, and at how many extra fractional bits."""
    match layer.decay:
        case None:
            return mem, 0
        case ShiftDecay(k=k, at_least_one=at_least_one):
            lost = mem >> k
            if at_least_one and lost == 0:
                lost = (mem > 0) - (mem < 0)
            return mem - lost, 0
        case MulShift(n=n) if layer.rounding_site is RoundingSite.SUM:
            return multiplier * mem, n
        case MulShift(n=n, rounding=rounding):
            return round_shift(multiplier * mem, n, rounding or layer.rounding), 0


def _late_reset(layer: LIF, spike: int, reset: int, charged: int, theta: int) -> int:
    """What is taken off the membrane after it fired; nothing for a delayed reset."""
    if layer.reset_timing is ResetTiming.DELAYED:
        return 0
    match layer.reset_mechanism:
        case ResetMechanism.SUBTRACT:
            return (spike - reset) * theta
        case ResetMechanism.ZERO:
            return (spike - reset) * charged
        case ResetMechanism.NONE:
            return 0


def run_scalar(network: IntegerNetwork, codes: list[list[int]]) -> dict[str, list[list[int]]]:
    """A whole network on one sample: every membrane and spike of every step, in unbounded integers.

    Args:
        network: its samples are one-dimensional.
        codes: T lists of input codes (for a static input, T times the same).

    Returns:
        ``"<layer>.mem"`` and ``"<layer>.spk"``, each T lists of integers.
    """
    mems: dict[str, list[int]] = {lif.name: [0] * network.signals[lif.name].shape[-1] for lif in network.lif_layers}
    record: dict[str, list[list[int]]] = {f"{name}.{kind}": [] for name in mems for kind in ("mem", "spk")}
    for x in codes:
        values = {"input": [code - network.input.format.zero_point for code in x]}
        for layer in network.layers:
            source = values[layer.input]
            if isinstance(layer, Linear):
                values[layer.name] = _linear(layer, source)
                continue
            steps = [lif_step(layer, *arguments) for arguments in _neurons(network, layer, mems[layer.name], source)]
            mems[layer.name] = [mem for mem, _ in steps]
            values[layer.name] = [spike for _, spike in steps]
            record[f"{layer.name}.mem"].append(mems[layer.name])
            record[f"{layer.name}.spk"].append(values[layer.name])
    return record


def _linear(layer: Linear, x: list[int]) -> list[int]:
    weight: list[list[int]] = layer.weight.tolist()
    bias: list[int] = [0] * len(weight) if layer.bias is None else layer.bias.tolist()
    return [sum(w * value for w, value in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def _neurons(network: IntegerNetwork, layer: LIF, mems: list[int], current: list[int]) -> Any:
    """Per neuron the arguments of :func:`lif_step` after the layer."""
    theta = _per_neuron(layer.theta, len(mems))
    multiplier = _per_neuron(layer.multiplier, len(mems))
    shift = layer.input_shift(network.signals[layer.input])
    return zip(mems, current, theta, multiplier, [shift] * len(mems), strict=True)


def _per_neuron(codes: Any, size: int) -> list[int]:
    if codes is None:
        return [0] * size
    flat: list[int] = codes.reshape(-1).tolist()
    return flat * size if len(flat) == 1 else flat
