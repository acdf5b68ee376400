"""The specification on NumPy int64, tested equal to the scalar one; it checks the bounds under which int64 cannot overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_late
from qleaky.errors import InputError, LoweringError
from qleaky.fixed import fit_array, round_shift_array
from qleaky.integer import LIF, IntegerNetwork, Linear
from qleaky.integer.bounds import FLOAT64_EXACT
from qleaky.integer.layers import split_signs
from qleaky.reference.recording import Recording, read_out

Int64 = NDArray[np.int64]


def run(network: IntegerNetwork, inputs: Any) -> Recording:
    """Run the reference on a batch and record every spike and membrane.

    Args:
        network: the contract.
        inputs: (T, B, ...), or (B, ...) for a static input; codes, or floats on the input's grid.

    Raises:
        InputError: inputs that the network cannot take (:meth:`IntegerNetwork.encode` says which).
        LoweringError: sums that 64-bit integers cannot hold.
    """
    if not isinstance(network, IntegerNetwork):
        raise InputError(f"qleaky.run computes integers; a {type(network).__name__} has none. Its reference is torch.")
    if not network.proof.artefact_exact:
        raise LoweringError("The reference runs in 64-bit integers: " + " ".join(network.proof.artefact_reasons))
    codes = network.encode(inputs)
    x = codes.astype(np.int64) - network.input.format.zero_point
    batch = codes.shape[1 if network.input.time == "sequence" else 0]
    mems = {lif.name: np.zeros((batch, *network.signals[lif.name].shape), np.int64) for lif in network.lif_layers}
    steps: list[tuple[dict[str, Int64], dict[str, Int64]]] = []
    for t in range(network.num_steps):
        mems, values = _network_step(network, mems, x[t] if network.input.time == "sequence" else x)
        steps.append((mems, values))
    membranes = {name: np.stack([m[name] for m, _ in steps]) for name in mems}
    spikes = {name: np.stack([v[name] for _, v in steps]) for name in mems}
    last = network.readout.layer
    return Recording(spikes, membranes, read_out(network.readout, spikes[last], membranes[last]))


def _network_step(network: IntegerNetwork, mems: dict[str, Int64], x: Int64) -> tuple[dict[str, Int64], dict[str, Int64]]:
    """One time step of every layer: (membranes before, input) -> (membranes after, what every layer emits)."""
    values, after = {"input": x}, dict(mems)
    for layer in network.layers:
        if isinstance(layer, Linear):
            values[layer.name] = linear(layer, values[layer.input], network.signals[layer.input].magnitude)
        else:
            shift = layer.input_shift(network.signals[layer.input])
            after[layer.name], values[layer.name] = lif_step(layer, mems[layer.name], values[layer.input], shift)
    return after, values


def linear(layer: Linear, x: Int64, magnitude: int) -> Int64:
    """W x + b, exactly: through float64 (BLAS) while every partial sum of integers up to ``magnitude`` stays below 2**53."""
    weight = layer.weight.astype(np.int64)
    positive, negative = split_signs(layer.weight)
    if int(max(positive + negative)) * magnitude < FLOAT64_EXACT:
        product = (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
    else:
        product = x @ weight.T
    return product if layer.bias is None else product + layer.bias.astype(np.int64)


def lif_step(layer: LIF, mem: Int64, current: Int64, current_shift: int) -> tuple[Int64, Int64]:
    """One step of a layer; :func:`qleaky.reference.scalar.lif_step` states the equations."""
    theta = layer.theta.astype(np.int64)
    delayed = layer.reset_timing is not ResetTiming.SAME_STEP
    reset = _fires(layer, mem, theta) if delayed else np.zeros_like(mem)
    kept = mem * (1 - reset) if layer.reset_mechanism is ResetMechanism.ZERO else mem

    decayed, bits = _decay(layer, kept)
    extra = max(bits, current_shift, 0)
    total = (decayed << (extra - bits)) + (current << (extra - current_shift))
    if layer.reset_mechanism is ResetMechanism.SUBTRACT:
        total = total - ((reset * theta) << extra)
    charged = fit_array(round_shift_array(total, extra, layer.rounding), layer.state, layer.overflow)

    spikes = _fires(layer, charged, theta)
    if not resets_late(layer.reset_mechanism, layer.reset_timing):
        return charged, spikes
    step_down = theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else charged
    return charged - (spikes - reset) * step_down, spikes


def _fires(layer: LIF, mem: Int64, theta: Int64) -> Int64:
    return (mem > theta if layer.compare is Compare.STRICT else mem >= theta).astype(np.int64)


def _decay(layer: LIF, mem: Int64) -> tuple[Int64, int]:
    if isinstance(layer.decay, ShiftDecay):
        lost = mem >> layer.decay.k
        return mem - (np.where(lost == 0, np.sign(mem), lost) if layer.decay.at_least_one else lost), 0
    if isinstance(layer.decay, MulShift) and layer.multiplier is not None:
        product = mem * layer.multiplier.astype(np.int64)
        if layer.rounding_site is RoundingSite.SUM:
            return product, layer.decay.n
        return round_shift_array(product, layer.decay.n, layer.decay.rounding or layer.rounding), 0
    return mem, 0
