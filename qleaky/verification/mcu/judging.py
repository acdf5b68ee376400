"""Judging what a harness printed: by digests which the reference computes here, not by its word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError
from qleaky.export.c.interface import CModel, Kind
from qleaky.export.c.vectors import GoldenRuns
from qleaky.verification.mcu.fnv import fnv1a_rows
from qleaky.verification.mcu.output import Difference, Output
from qleaky.verification.mcu.report import McuDivergence

Place = tuple[str, Kind]


@dataclass(frozen=True)
class Judgement:
    """Whether every digest is the reference's, and if not, how many differ, where first, and what else is wrong."""

    equal: bool
    compared: int
    mismatches: int
    first: McuDivergence | None
    reasons: tuple[str, ...]


def judge(output: Output, code: int, golden: GoldenRuns, model: CModel) -> Judgement:
    """What an output is worth.

    Args:
        output: what the program printed.
        code: its exit code.
        golden: what the reference computes of the samples that it ran.
        model: the model that it ran, as this qleaky writes it.

    Raises:
        ArtefactError: an output of another model, contract or number of samples, or a stack that met the model's memory.
    """
    _check_subject(output, golden, model)
    digests = _of_samples(golden, model)
    samples = [int(found) for found in fnv1a_rows(digests)]
    wrong = [s for s, (got, due) in enumerate(zip(output.digests, samples, strict=True)) if got != due]
    reasons = list(_contradictions(output, code, wrong, digests))
    first = _first(output, wrong, golden)
    mismatches = max(output.differing, len(wrong))
    return Judgement(not wrong and not reasons, digests.size, mismatches, first, tuple(reasons))


def _check_subject(output: Output, golden: GoldenRuns, model: CModel) -> None:
    if (output.name, output.contract) != (model.name, model.digest):
        raise ArtefactError(
            f"The program checked model {output.name!r} of contract {output.contract[:12]}; this network is {model.name!r} of "
            f"contract {model.digest[:12]}. Pass the contract that the folder was exported from."
        )
    if len(output.digests) != golden.samples:
        raise ArtefactError(
            f"The program printed digests of {len(output.digests)} samples; qleaky_vectors.c has {golden.samples}."
        )
    if output.overflow:
        raise ArtefactError(
            "The stack used all the RAM that was left and met the model's memory: what it printed means nothing."
        )


def _rows(model: CModel) -> list[Place]:
    """What is digested in a step, in the harness's order."""
    emitted: list[Place] = [(port.layer, "spk") for port in model.spikes]
    return [*((tensor.layer, tensor.kind) for tensor in model.tensors), *emitted]


def _of_samples(golden: GoldenRuns, model: CModel) -> NDArray[np.uint32]:
    """All digests of each sample in the harness's order, (samples, digests)."""
    states = np.stack([golden.digests[place] for place in _rows(model)], axis=-1)
    outputs = [golden.outputs[readout.output][:, np.newaxis] for readout in model.readouts]
    return np.concatenate([states.swapaxes(0, 1).reshape(golden.samples, -1), *outputs], axis=1)


def _contradictions(output: Output, code: int, wrong: list[int], digests: NDArray[np.uint32]) -> list[str]:
    """What the program says against its own digests, or against how many there are."""
    found = []
    if output.compared != digests.size or output.samples not in (None, len(digests)):
        found.append(
            f"It says that it compared {output.compared:,} digests; there are {digests.size:,} of {len(digests)} samples."
        )
    if wrong and not output.differing:
        found.append(f"It says 'equal', but its digest of sample {wrong[0]} is not the reference's.")
    if not wrong and output.differing:
        found.append("Its digests are the reference's, but it says 'differs': its golden digests are wrong.")
    if code != (1 if output.differing else 0):
        found.append(f"Its exit code is {code}, which contradicts what it printed.")
    return found


def _first(output: Output, wrong: list[int], golden: GoldenRuns) -> McuDivergence | None:
    """The first difference that was printed, where it is in a sample whose digest is wrong, and names what there is."""
    return next((found for d in output.differences if d.sample in wrong and (found := _known(d, golden)) is not None), None)


def _known(difference: Difference, golden: GoldenRuns) -> McuDivergence | None:
    """The difference with the layer's own name and the reference's digest."""
    sample, step, kind = difference.sample, difference.step, difference.kind
    for name, digests in golden.outputs.items():
        if kind == "out" and as_printed(name) == difference.layer:
            return McuDivergence(sample, name, kind, step, int(digests[sample]), difference.got)
    for (layer, found), states in golden.digests.items():
        if found == kind and as_printed(layer) == difference.layer and step < len(states):
            return McuDivergence(sample, layer, kind, step, int(states[step, sample]), difference.got)
    return None


def as_printed(name: str) -> str:
    """A name as ports/check.c prints it: bytes that are no printable ASCII are question marks."""
    return "".join(chr(b) if 32 <= b < 127 else "?" for b in name.encode("utf-8", "backslashreplace"))
