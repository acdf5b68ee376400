"""Would these inputs catch a fault? Mutants run on them, and are compared with the reference in all that can be seen."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

from qleaky.errors import ArtefactError, InputError
from qleaky.export import twin
from qleaky.export.artefact import sequences
from qleaky.integer import IntegerNetwork
from qleaky.reference import Recording, run
from qleaky.verification.compare import Comparison, compare_outputs, compare_recordings
from qleaky.verification.mutants.catalogue import Mutant, mutants
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.runners import Runner


@dataclass(frozen=True)
class Survey:
    """Of so many mutants, which the inputs did not catch."""

    made: int
    survivors: tuple[Mutant, ...]

    @property
    def caught(self) -> int:
        """How many they caught."""
        return self.made - len(self.survivors)


class Examination:
    """Inputs, and what the reference says of them, for any number of mutants of a network's artefacts.

    Args:
        network: the contract.
        inputs: as :func:`qleaky.run` takes them.

    Raises:
        InputError: ``network`` is no IntegerNetwork, and else as :func:`qleaky.run`.
        LoweringError: as :func:`qleaky.run`.
    """

    def __init__(self, network: IntegerNetwork, inputs: Any) -> None:
        if not isinstance(network, IntegerNetwork):
            raise InputError(f"mutants are compared with an IntegerNetwork's reference; a {type(network).__name__} has none.")
        self.network = network
        self.codes = network.encode_all(inputs)
        self.recording = run(network, self.codes)
        self._outputs = self.recording.outputs | _finals(self.recording)

    def finding(self, data: bytes) -> str | None:
        """What gives a mutant away: the first number that differs, or that it does not run; None where nothing does.

        The twin runs: it computes the outputs that ship, and shows every spike and membrane besides.
        """
        try:
            compared = self._compared(data)
        except (ArtefactError, InputError, ValueError, TypeError) as error:
            return f"it does not run: {error}"
        return str(compared.first_divergence) if compared.mismatches else None

    def _compared(self, data: bytes) -> Comparison:
        probed = ProbedRunner(twin.parse(data, "the mutant"), self.network, functools.partial(Runner, optimize=False))
        states, found = probed.record(self.codes)
        compared = compare_recordings(self.recording, states)
        return compared + compare_outputs(self._outputs, found, 0, sequences(self.network))


def _finals(recording: Recording) -> dict[str, Any]:
    found = {f"{name}.final_mem": array[-1] for name, array in recording.membranes.items()}
    return found | {f"{name}.final_syn": array[-1] for name, array in recording.synapses.items()}


def survey(
    artefact: str | os.PathLike[str] | bytes, network: IntegerNetwork, inputs: Any, count: int = 100, seed: int = 0
) -> Survey:
    """How many mutants of an artefact some inputs catch.

    A survivor is a fault that these inputs do not show, or one that changes nothing on any input.

    Args:
        artefact: the ONNX file, or its bytes.
        network: the contract it was exported from.
        inputs: as :func:`qleaky.run` takes them.
        count: how many mutants; fewer where the artefact has not so many.
        seed: of the choice.

    Raises:
        ArtefactError, InputError, LoweringError: as :func:`mutants` and :func:`qleaky.run`.
    """
    made = list(mutants(artefact, count, seed))
    examination = Examination(network, inputs)
    return Survey(len(made), tuple(mutant for mutant in made if examination.finding(mutant.data) is None))
