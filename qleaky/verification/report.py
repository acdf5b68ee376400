"""What a check found: two verdicts, the runs behind them, and the theorem they rest on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import onnx

from qleaky._version import VERSION
from qleaky.export import twin
from qleaky.integer import IntegerNetwork, LayerBounds
from qleaky.integer.graph import samples as pick
from qleaky.verification.certificate import Certificate, CheckedFile, Run, StepDigests, VectorsRun, Verdict, weaker
from qleaky.verification.compare import Comparison
from qleaky.verification.coverage import Approach, LayerCoverage, coverage, recorded_coverage
from qleaky.verification.digests import step_digests, vectors_digest
from qleaky.verification.divergence import Divergence
from qleaky.verification.expected import Expected, Network, sample_count
from qleaky.verification.runners import versions
from qleaky.verification.sentences import lines


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`verify` found: two statements, never mixed.

    ``artefact_verdict``: the artefact computes the contract. ``torch_verdict``: so does the torch network (None where no
    module was given). Each is "proved" (a theorem, and no difference in this run), "measured" (no theorem, no difference in
    this run) or "differs"; ``verdict`` is the weaker of the two. ``runs`` are the artefact's, ``torch`` is the comparison of
    the torch network's own evaluation.

    ``vectors`` say which samples ran, ``coverage`` what they made each layer do, ``approached`` how close they came to the
    proof's ``bounds``; ``digests`` are of what the reference computed. ``reasons`` stand against a proof, ``notes`` do not.
    ``str()`` is what the command line prints.
    """

    verdict: Verdict
    artefact_verdict: Verdict
    torch_verdict: Verdict | None
    runs: tuple[Run, ...]
    torch: Comparison | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    contract_digest: str
    artefacts: tuple[CheckedFile, ...]
    samples: int
    num_steps: int
    vectors: tuple[VectorsRun, ...]
    bounds: tuple[LayerBounds, ...]
    approached: tuple[Approach, ...]
    coverage: tuple[LayerCoverage, ...]
    digests: tuple[StepDigests, ...]
    target: str | None = None

    def certificate(self) -> Certificate:
        """The report as a certificate, with the versions it was made by."""
        return Certificate(
            **{name: getattr(self, name) for name in self.__struct_fields__},
            versions={"qleaky": VERSION, "onnx": onnx.__version__, **versions()},
        )

    @property
    def artefact_sha256(self) -> str:
        """SHA-256 of the file."""
        return self.artefacts[0].sha256

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
        """Where the first differing run first differs: layer, step, sample, element, expected, got, and what led there."""
        return self.total.first_divergence

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def __repr__(self) -> str:
        counts = f"{self.compared:,} numbers compared, {self.mismatches:,} differ"
        return f"Report({self.verdict!r}, {counts}, {self.samples:,} samples, {len(self.runs)} runs)"


def verdict(comparison: Comparison, reasons: tuple[str, ...]) -> Verdict:
    """Where anything differs "differs", where nothing is said against a theorem "proved", else "measured"."""
    return "differs" if comparison.mismatches else "measured" if reasons else "proved"


def report_on(
    data: bytes, model: Any, network: Network, expected: Expected, runs: tuple[Run, ...], reasons: tuple[str, ...]
) -> Report:
    """Everything that is said of an artefact, once it has run."""
    codes, recording = expected.samples.codes, expected.recording
    artefact_verdict = verdict(sum((r.comparison for r in runs), Comparison()), reasons)
    torch_verdict = None if expected.torch is None else verdict(expected.torch, expected.torch_reasons)
    covered, approached = (
        coverage(network, codes) if isinstance(network, IntegerNetwork) else (recorded_coverage(network, recording), ())
    )
    digests = step_digests(recording).items()
    return Report(
        verdict=weaker(artefact_verdict, torch_verdict),
        artefact_verdict=artefact_verdict,
        torch_verdict=torch_verdict,
        runs=runs,
        torch=expected.torch,
        reasons=reasons + expected.torch_reasons,
        notes=expected.notes,
        contract_digest=network.digest,
        artefacts=(_file(data, model),),
        samples=sample_count(network, codes),
        num_steps=network.num_steps,
        vectors=tuple(_vectors(network, expected)),
        bounds=network.proof.layers,
        approached=approached,
        coverage=covered,
        digests=tuple(StepDigests(layer=layer, kind=kind, steps=tuple(steps)) for (layer, kind), steps in digests),
    )


def _file(data: bytes, model: Any) -> CheckedFile:
    said = twin.metadata(model)
    form, carrier = (said.get(f"qleaky.{key}", "") for key in ("form", "carrier"))
    return CheckedFile(form=form, carrier=carrier, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _vectors(network: Network, expected: Expected) -> Iterator[VectorsRun]:
    for group in expected.samples.groups:
        numbers = np.arange(group.first, group.first + group.count)
        digest = vectors_digest(pick(network.inputs, expected.samples.codes, numbers))
        yield VectorsRun(name=group.name, first=group.first, count=group.count, sha256=digest)
