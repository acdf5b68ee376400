"""``certificate.json``: what was proved, what was run, and what came of it; the same bytes for the same check."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import msgspec

from qleaky._files import read_file, write_atomically
from qleaky._strict_json import printable
from qleaky.errors import ArtefactError, InputError
from qleaky.integer import LayerBounds
from qleaky.verification.activity import Activity
from qleaky.verification.compare import Comparison
from qleaky.verification.coverage import Approach, Count, LayerCoverage
from qleaky.verification.operation import Operation

VERSION = 2
MAX_BYTES = 256 << 20
Verdict = Literal["proved", "measured", "differs"]
VERDICTS: tuple[Verdict, ...] = ("proved", "measured", "differs")
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
DAMAGE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError, TypeError)


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of running the artefact, and what came of it; ``assigned`` are nodes by provider, where they are known."""

    runtime: str
    optimized: bool
    threads: Count
    batch: Count
    comparison: Comparison
    assigned: dict[str, Count] | None = None


class NotRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime that was asked for and has no verdict, or none for some of its settings, and why."""

    runtime: str
    reason: str


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that was checked: the form and carrier that it names itself, and its bytes."""

    form: str
    carrier: str
    sha256: Digest
    bytes: Count


class VectorsRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples ``first`` to ``first + count - 1`` of the check, what they are for, and a digest of their codes.

    ``sha256`` is that of :func:`~qleaky.verification.digests.vectors_digest`: for each input in the network's order the line
    ``qleaky-vectors-1 <input> <shape, comma separated>`` with a line feed, then the codes (T, count, ...), or (count, ...), as
    little-endian int32 in C order (of float32 inputs the bit patterns).
    """

    name: str
    first: Count
    count: Count
    sha256: Digest


class StepDigests(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the reference says of one layer and kind: a digest of each step over all samples, in order (``step_digests``)."""

    layer: str
    kind: Literal["mem", "spk", "syn"]
    steps: tuple[Digest, ...]


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a check, bound to the contract and the artefacts by their digests.

    ``bounds`` are those of the proof, ``approached`` how closely these samples came to them, ``coverage`` what they made each
    layer do, ``digests`` what the reference computed of them, ``activity`` how busy it was. ``reasons`` say why a verdict is no
    theorem, ``notes`` what else to know. ``target`` is the device profile asked for. ``not_run`` are runtimes without a
    verdict, ``operations`` those by which a runtime differs from ONNX Runtime without optimisation, where they were found.
    """

    verdict: Verdict
    artefact_verdict: Verdict
    torch_verdict: Verdict | None
    contract_digest: Digest
    artefacts: tuple[CheckedFile, ...]
    target: str | None
    samples: Count
    num_steps: Count
    vectors: tuple[VectorsRun, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    bounds: tuple[LayerBounds, ...]
    approached: tuple[Approach, ...]
    coverage: tuple[LayerCoverage, ...]
    digests: tuple[StepDigests, ...]
    activity: Activity
    runs: tuple[Run, ...]
    not_run: tuple[NotRun, ...] = ()
    operations: tuple[Operation, ...] = ()
    torch: Comparison | None
    versions: dict[str, str]
    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)] = VERSION

    def __post_init__(self) -> None:
        for problem in self._contradictions():
            raise InputError(f"Certificate: {problem}.")

    @property
    def artefact_sha256(self) -> str:
        """SHA-256 of the first file that was checked."""
        return self.artefacts[0].sha256

    def encode(self) -> bytes:
        """The bytes of the file."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2) + b"\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(path, self.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a certificate.

        Raises:
            ArtefactError: it is missing, damaged, contradicts itself, or is of another version.
        """
        return cls.decode(read_file(path, "certificate"), str(path))

    @classmethod
    def decode(cls, data: bytes, where: str = "the certificate") -> Certificate:
        """Read the bytes of a certificate; as :meth:`load`."""
        if len(data) > MAX_BYTES:
            raise ArtefactError(f"{where} has {len(data):,} bytes, more than the {MAX_BYTES:,} a certificate may have.")
        try:
            _check_version(msgspec.json.decode(data, type=_Version).version, where)
            certificate = msgspec.json.decode(data, type=cls)
            same = msgspec.json.decode(msgspec.json.encode(certificate)) == msgspec.json.decode(data)
        except DAMAGE as error:
            raise ArtefactError(f"{where} is not a certificate, or is damaged: {printable(str(error), 200)}.") from error
        if not same:
            raise ArtefactError(f"{where} is not a certificate, or is damaged: it lacks a field, or holds one too many.")
        return certificate

    def _contradictions(self) -> list[str]:
        """What of it cannot be: a certificate is a statement, which its own figures must bear out."""
        found = []
        comparisons = [run.comparison for run in self.runs]
        if any(each.compared == 0 for each in (*comparisons, *([] if self.torch is None else [self.torch]))) or not self.runs:
            found.append("it has no run, or one in which nothing was compared")
        if any(each.first_divergence is not None and each.mismatches == 0 for each in comparisons):
            found.append("it has a first divergence where nothing differs")
        ran = "differs" if any(run.comparison.mismatches for run in self.runs) else None
        if (self.artefact_verdict == "differs") != (ran == "differs"):
            found.append(f"its runs do not bear out the artefact's verdict {self.artefact_verdict!r}")
        if (self.torch is None) != (self.torch_verdict is None):
            found.append("a verdict on torch goes with a comparison, and only with one")
        if self.torch is not None and (self.torch_verdict == "differs") != (self.torch.mismatches > 0):
            found.append(f"its comparison does not bear out torch's verdict {self.torch_verdict!r}")
        if self.verdict != weaker(self.artefact_verdict, self.torch_verdict):
            found.append(f"its verdict {self.verdict!r} is not the weaker of its two")
        differing = {run.runtime for run in self.runs if run.comparison.mismatches}
        if any(operation.runtime not in differing for operation in self.operations):
            found.append("it names an operation of a runtime that does not differ")
        if self.verdict == "proved" and self.reasons:
            found.append("it is proved, but gives reasons why it is not")
        if not self.artefacts:
            found.append("it names no artefact")
        if [group.first for group in self.vectors] != _starts(self.vectors) or sum(
            g.count for g in self.vectors
        ) != self.samples:
            found.append(f"its vectors do not add up to {self.samples} samples")
        if any(len(digests.steps) != self.num_steps for digests in self.digests):
            found.append(f"its digests are not those of {self.num_steps} steps")
        return found


class _Version(msgspec.Struct):
    version: int


def weaker(artefact: Verdict, torch: Verdict | None) -> Verdict:
    """The weaker of two verdicts; the artefact's where torch was not compared."""
    return max(artefact, torch or "proved", key=VERDICTS.index)


def _check_version(version: int, where: str) -> None:
    if version > VERSION:
        raise ArtefactError(f"{where} has version {version}; this qleaky reads version {VERSION}. Update qleaky.")
    if version < VERSION:
        raise ArtefactError(
            f"{where} has version {version}; this qleaky reads version {VERSION}. Check the artefact again, or read the file "
            f"with the qleaky that wrote it."
        )


def _starts(groups: tuple[VectorsRun, ...]) -> list[int]:
    starts, total = [], 0
    for group in groups:
        starts.append(total)
        total += group.count
    return starts
