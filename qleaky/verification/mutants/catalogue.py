"""All operators by name, and the mutants that they make of an artefact."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qleaky._files import read_file
from qleaky.errors import InputError
from qleaky.export import twin
from qleaky.verification.mutants import neurons, readouts, resets, states, weights
from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault, Operator
from qleaky.verification.mutants.reading import Reading

OPERATORS: dict[str, Operator] = {
    "weight bit": weights.weight_bits,
    "bias": weights.biases,
    "threshold": neurons.thresholds,
    "comparison": neurons.comparisons,
    "reset": resets.resets,
    "reset to zero": resets.zero_resets,
    "saturation": neurons.saturations,
    "rounding": neurons.roundings,
    "decay": neurons.decays,
    "swapped weights": weights.swapped_rows,
    "swapped spikes": states.swapped_spikes,
    "swapped outputs": readouts.swapped_outputs,
    "late state": states.late_states,
    "late input": states.late_inputs,
    "truncated state": states.truncated_states,
    "readout": readouts.wrong_readouts,
    "operands": neurons.operands,
    "transposed weights": weights.transposed,
    "shared state": states.shared_states,
    "lost neuron": states.lost_neurons,
}


@dataclass(frozen=True)
class Mutant:
    """An artefact with one fault: the operator that made it, the layer or output it is in, what was changed, and its bytes."""

    operator: str
    layer: str
    what: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.operator} in {self.layer!r}: {self.what}"


def mutants(artefact: str | os.PathLike[str] | bytes, count: int | None = None, seed: int = 0) -> Iterator[Mutant]:
    """Artefacts with one fault each, of the kinds that exporters, runtimes and people make.

    Every mutant is a valid ONNX model with the names and the metadata of the original. Whether it computes something else is
    for a check to find out: some faults change nothing that can be reached.

    Args:
        artefact: an ONNX file of an IntegerNetwork from :func:`qleaky.export_onnx`, or its bytes.
        count: how many, spread over operators, and of an operator over its places; None makes all.
        seed: of what is drawn: bits, channels and places. The same mutants for the same file, count and seed.

    Raises:
        ArtefactError: a file that is damaged, or was not exported by qleaky from an IntegerNetwork.
        InputError: a count below 1.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise InputError(f"count={count!r}; it is the number of mutants, at least 1, or None for all.")
    data = artefact if isinstance(artefact, bytes) else read_file(artefact, "ONNX file")
    model = twin.parse(data, "the model" if isinstance(artefact, bytes) else str(artefact))
    reading = Reading(model)
    made = (_mutant(reading, name, fault) for name, fault in _spread(reading, seed))
    changed = (mutant for mutant in made if mutant.data != model.SerializeToString(deterministic=True))
    yield from itertools.islice(changed, count)


def _spread(reading: Reading, seed: int) -> Iterator[tuple[str, Fault]]:
    """Faults in an order that takes one of each operator in turn; operators, and the faults of each, come as they are drawn."""
    drawn: list[list[tuple[str, Fault]]] = []
    for number, (name, operator) in enumerate(OPERATORS.items()):
        rng = np.random.default_rng([seed, number])
        faults = list(operator(reading, rng))
        drawn.append([(name, faults[i]) for i in rng.permutation(len(faults))])
    order = np.random.default_rng([seed, len(drawn)]).permutation(len(drawn))
    for round_ in itertools.zip_longest(*(drawn[number] for number in order)):
        yield from (found for found in round_ if found is not None)


def _mutant(reading: Reading, operator: str, fault: Fault) -> Mutant:
    editor = Editor(reading.model)
    fault.edit(editor)
    return Mutant(operator, fault.layer, fault.what, editor.data())
