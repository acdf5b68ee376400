"""``certificate.json``: what was proved, what was run, and what came of it; the same bytes for the same check."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from qleaky._files import read_file, write_atomically
from qleaky.errors import ArtefactError
from qleaky.integer import LayerBounds
from qleaky.verification.compare import Comparison
from qleaky.verification.operation import Operation

VERSION = 1
Verdict = Literal["proved", "measured", "differs"]


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of running the artefact, and what came of it; ``assigned`` are nodes by provider, where they are known."""

    runtime: str
    optimized: bool
    threads: int
    batch: int
    comparison: Comparison
    assigned: dict[str, int] | None = None


class NotRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime that was asked for and has no verdict, or none for all its settings, and why."""

    runtime: str
    reason: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a check, bound to the contract and the artefact by their digests."""

    verdict: Verdict
    artefact_verdict: Verdict
    torch_verdict: Verdict | None
    contract_digest: str
    artefact_sha256: str
    samples: int
    reasons: tuple[str, ...]
    bounds: tuple[LayerBounds, ...]
    runs: tuple[Run, ...]
    not_run: tuple[NotRun, ...] = ()
    operations: tuple[Operation, ...] = ()
    torch: Comparison | None
    versions: dict[str, str]
    version: int = VERSION

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(path, msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2) + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a certificate.

        Raises:
            ArtefactError: it is missing, damaged, or of a later version.
        """
        try:
            certificate = msgspec.json.decode(read_file(path, "certificate"), type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ArtefactError(f"{path} is not a certificate, or is damaged: {error}.") from error
        if certificate.version > VERSION:
            raise ArtefactError(f"{path} has version {certificate.version}; this qleaky reads up to {VERSION}. Update qleaky.")
        return certificate
