"""Small networks and single neurons, as C text that a proof reads."""

from typing import Any

import numpy as np
import provers  # noqa: F401
from neuron_programs import Case

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification.c_proofs.neurons import Neurons
from qleaky.verification.c_proofs.reading import Source
from qleaky.verification.c_proofs.results import CProofs

SPIKES = QFormat(1, 0, signed=False)
# Limits of weights that are packed in so many bits, for 40 outputs; multiples of 2 and more spread the fields of few bits.
WEIGHTS = {8: (-127, 127), 4: (-8, 7), 2: (-1, 2), 1: (0, 1)}


def packed(bits: int, inputs: int = 700, outputs: int = 40) -> IntegerNetwork:
    """Spikes -> weights of ``bits`` bits -> neurons; with so many inputs lanes must be emptied on the way."""
    r = np.random.default_rng(bits)
    low, high = WEIGHTS[bits]
    weight = r.integers(low, high + 1, (outputs, inputs)).astype(np.int8)
    weight[0], weight[:, 0] = high, low
    lif = LIF(name="lif", input="fc", state=QFormat(16, 4), theta=np.array(90), decay=MulShift(n=4), multiplier=np.array(14))
    return IntegerNetwork(
        inputs=(Input((inputs,), SPIKES),),
        num_steps=2,
        layers=(Linear(name="fc", input="input", weight=weight, weight_frac_bits=2), lif),
        readouts=(Readout("lif", "spike_count", False),),
    )


def source_of(case: Case, functions: str | None = None) -> Source:
    """The functions of a layer (or a mutant of theirs) and a call of its step."""
    syn = None if case.layer.synapse is None else "state->syn[o]"
    call = " ".join(case.code.update(mem="state->mem[o]", syn=syn, current="sums[i]", index="o", emitted="n"))
    return Source(f"{functions or case.code.functions}\nvoid run(void)\n{{\n    {call}\n}}\n")


def prove(case: Case, functions: str | None = None, seconds: float = 60.0) -> CProofs:
    """The statements about one layer."""
    constants: dict[str, Any] = {array.name: array for array in case.code.constants}
    neurons = Neurons(case.layer, case.x, case.prefix, source_of(case, functions), constants)
    return CProofs(tuple(neurons.prove(seconds)))
