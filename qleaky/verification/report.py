"""What a check found: two verdicts, the runs behind them, and the theorem they rest on."""

from __future__ import annotations

import msgspec
import onnx

from qleaky._version import VERSION
from qleaky.integer import LayerBounds
from qleaky.verification.certificate import Certificate, NotRun, Run, Verdict
from qleaky.verification.compare import Comparison, Divergence
from qleaky.verification.operation import Operation

VERDICTS: tuple[Verdict, ...] = ("proved", "measured", "differs")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`verify` found: two statements, never mixed.

    ``artefact_verdict``: the artefact computes the contract. ``torch_verdict``: so does the torch network (None where no
    module was given). Each is "proved" (a theorem, and no difference in this run), "measured" (no theorem, no difference in
    this run) or "differs"; ``verdict`` is the weaker of the two. ``runs`` are the artefact's, ``torch`` is the comparison of
    the torch network's own evaluation. ``not_run`` names runtimes that gave no verdict, ``operations`` what runtimes that
    differ compute otherwise than ONNX Runtime without optimisation, where it can be found.
    """

    verdict: Verdict
    artefact_verdict: Verdict
    torch_verdict: Verdict | None
    runs: tuple[Run, ...]
    not_run: tuple[NotRun, ...] = ()
    operations: tuple[Operation, ...] = ()
    torch: Comparison | None
    reasons: tuple[str, ...]
    contract_digest: str
    artefact_sha256: str
    samples: int
    bounds: tuple[LayerBounds, ...]
    runtime_versions: dict[str, str]

    def certificate(self) -> Certificate:
        """The report as a certificate, with the versions it was made by."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "runtime_versions"}
        return Certificate(**fields, versions={"qleaky": VERSION, "onnx": onnx.__version__, **self.runtime_versions})

    @property
    def by_runtime(self) -> dict[str, Comparison]:
        """All runs of each runtime together."""
        found: dict[str, Comparison] = {}
        for each in self.runs:
            found[each.runtime] = found.get(each.runtime, Comparison()) + each.comparison
        return found

    @property
    def total(self) -> Comparison:
        """All comparisons together."""
        return sum((r.comparison for r in self.runs), self.torch or Comparison())

    @property
    def exact(self) -> bool:
        """Bit-for-bit is a theorem for all that was compared, and no run contradicts it."""
        return self.verdict == "proved"

    @property
    def compared(self) -> int:
        """How many spikes, membranes and outputs were compared."""
        return self.total.compared

    @property
    def mismatches(self) -> int:
        """How many of them differ."""
        return self.total.mismatches

    @property
    def first_divergence(self) -> Divergence | None:
        """Where the first differing run first differs: layer, step, sample, element, expected, got."""
        return self.total.first_divergence


def verdict(comparison: Comparison, reasons: tuple[str, ...]) -> Verdict:
    """Where anything differs "differs", where nothing is said against a theorem "proved", else "measured"."""
    return "differs" if comparison.mismatches else "measured" if reasons else "proved"
