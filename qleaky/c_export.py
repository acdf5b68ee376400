"""``export_c``: a network, torch's or the contract, as a folder of C99 for microcontrollers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from qleaky.export.c.boards import Board, board_named, check_fit
from qleaky.export.c.counting import uniform
from qleaky.export.c.describe import describe
from qleaky.export.c.estimate import Estimate, estimate
from qleaky.export.c.folder import write_folder
from qleaky.export.c.interface import CModel
from qleaky.export.c.manifest import VectorsEntry
from qleaky.export.c.model import c_model
from qleaky.export.c.project import Files, project_files
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.exporting import contract_of
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.mcu.golden_runs import golden_runs
from qleaky.verification.rates import spike_rates

if TYPE_CHECKING:
    from torch import nn

SEED = 0


def export_c(
    network: IntegerNetwork | nn.Module,
    directory: str | os.PathLike[str],
    name: str = "model",
    *,
    inputs: Any = None,
    samples: int | None = None,
    dsp: bool = False,
    board: str | None = None,
    **lowering: Any,
) -> IntegerNetwork:
    """Write a network as C99 that computes its contract bit for bit, and return the contract, which is not in the folder.

    The folder holds the code, golden vectors with what checks them on a computer, in an emulator or on a board, and builds by
    make, CMake, Zephyr, Arduino and PlatformIO. It may be new, empty, or one that this wrote before: then what is no longer
    made goes, unless it was changed since, and files of your own stay. The same arguments give the same bytes.
    docs/microcontrollers.md has the rest.

    Args:
        network: a contract from :func:`qleaky.lower`, or a torch network together with lower's arguments.
        directory: the folder.
        name: prefix of every symbol: up to 24 letters, digits and underscores, a letter first.
        inputs: recordings to put among the golden vectors, (T, B, ...) or (B, ...), as codes or floats on the grid.
        samples: how many adversarial vectors go in; None takes as many as keep inputs and digests within 24 KB, 2 to 16.
        dsp: take a core's DSP instructions where the compiler says it has them; the bits stay the same.
        board: refuse a network that this board (of export/c/boards.toml) cannot hold.
        lowering: ``sample_input`` and the other arguments of :func:`qleaky.lower`, for a torch network.

    Raises:
        UsageError: lowering arguments with a contract, or a torch network without ``sample_input``.
        InputError: a name that is no C identifier, an unknown board or one that is too small, inputs that the network cannot
            take, a folder that holds files of others under the names that are written.
        LoweringError: a network that has no C form; all reasons, with their numbers.
        ArtefactError: a folder with a damaged manifest.
        OutputError: the folder cannot be written; nothing was changed.
    """
    known = None if board is None else board_named(board)
    contract = contract_of(network, lowering, "export_c")
    export = CExport.of(contract, name, inputs, samples=samples, dsp=dsp)
    if known is not None:
        export.check_fit(known)
    write_folder(directory, export.files())
    return export.network


class CExport:
    """One network on its way to a folder: its C, its golden vectors, and what it is expected to take."""

    def __init__(self, network: IntegerNetwork, model: CModel, golden: GoldenRuns, given: int, *, dsp: bool) -> None:
        self.network, self.model, self.golden, self.given, self.dsp = network, model, golden, given, dsp
        self.estimate: Estimate = estimate(network, model, spike_rates(network, golden.codes))

    @classmethod
    def of(
        cls,
        network: IntegerNetwork | FloatNetwork,
        name: str = "model",
        inputs: Any = None,
        *,
        samples: int | None = None,
        dsp: bool = False,
    ) -> CExport:
        """Generate and run everything in memory; the arguments and errors are those of :func:`export_c`."""
        model = c_model(network, name, dsp=dsp)
        assert isinstance(network, IntegerNetwork)  # c_model refuses others
        golden = golden_runs(network, inputs, samples=samples, seed=SEED)
        return cls(network, model, golden, 0 if inputs is None else _batch(network, inputs), dsp=dsp)

    def estimate_at(self, density: float) -> Estimate:
        """The estimate where so large a share of all spikes that feed weights is 1."""
        return estimate(self.network, self.model, uniform(self.network, density))

    def check_fit(self, board: Board) -> None:
        """Refuse a board that cannot hold the network; :func:`qleaky.export.c.boards.check_fit` has the error."""
        check_fit(board, self.estimate, dsp=self.dsp)

    def files(self) -> Files:
        """Every file of the folder."""
        vectors = VectorsEntry(seed=SEED, searched=self.golden.samples - self.given, given=self.given)
        described = describe(self.network, self.model, self.estimate, vectors, dsp=self.dsp)
        return project_files(self.model, vectors_source(self.model, self.golden), described)


def _batch(network: IntegerNetwork, inputs: Any) -> int:
    """How many samples were given."""
    first = network.inputs[0]
    return int(network.encode_all(inputs)[first.name].shape[1 if first.time == "sequence" else 0])
