"""``report.json``: what a device says that it computed. It is read as the claims of someone else."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import msgspec

from qleaky._files import read_file
from qleaky._strict_json import decode_strictly
from qleaky.export.bundle_manifest import MAX_ELEMENTS, MAX_SAMPLES, Code, Digest, Kind, Name

KIND, VERSION = "qleaky-report", 1
MAX_REPORT_BYTES = 256 << 20
MAX_CODES = 4096
MAX_STEPS = 1_000_000

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Nonce = Annotated[str, msgspec.Meta(pattern="^[ -~]{1,200}$(?!\\n)", min_length=1, max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLES)]
Provider = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the report: all of its fields are there, and no others."""


class Timing(_Entry, frozen=True, kw_only=True):
    """Milliseconds of so many runs of one sample."""

    median: Milliseconds
    p99: Milliseconds
    runs: Number


class Latency(_Entry, frozen=True, kw_only=True):
    """How long an inference takes, and of a step graph a step."""

    inference: Timing
    step: Timing | None


class StepDigests(_Entry, frozen=True, kw_only=True):
    """For each step the SHA-256 over the samples' digests of one layer and kind, in order."""

    layer: Name
    kind: Kind
    steps: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_STEPS)]


class Answers(_Entry, frozen=True, kw_only=True):
    """What came out of the vectors of a nonce."""

    samples: Count
    step_digests: tuple[StepDigests, ...]
    output_digests: dict[Name, Digest]


class Place(_Entry, frozen=True, kw_only=True):
    """The first tensor that differs, with the codes found in it: all of them, or where ``truncated`` the first ones.

    Of an output ("out") ``layer`` is its name, and ``step`` 0 where it has no time axis.
    """

    layer: Name
    kind: Literal["mem", "spk", "syn", "out"]
    step: Annotated[int, msgspec.Meta(ge=0, le=MAX_STEPS)]
    sample: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAMPLES)]
    got: Annotated[tuple[Code, ...], msgspec.Meta(max_length=MAX_CODES)]
    truncated: bool


class DeviceRun(_Entry, frozen=True, kw_only=True):
    """One graph on one execution provider; ``assigned`` are the nodes that really ran on each."""

    form: Literal["unrolled", "scan", "step"]
    carrier: Literal["integer", "float", "quantized"]
    model_sha256: Digest
    probe_sha256: Digest
    provider: Provider
    assigned: dict[Provider, Annotated[int, msgspec.Meta(ge=0, le=MAX_ELEMENTS)]]
    verdict: Literal["equal", "differs", "no verdict"]
    reason: Text
    samples: Count
    numbers_compared: Number
    tensors_differing: Number
    first_divergence: Place | None
    step_digests: tuple[StepDigests, ...]
    output_digests: dict[Name, Digest]
    nonce: Answers | None
    latency_ms: Latency | None


class DeviceFile(_Entry, frozen=True, kw_only=True):
    """The whole of ``report.json``."""

    kind: Literal["qleaky-report"]
    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    validator: Literal["validate.py", "validate.html", "node.mjs"]
    manifest_sha256: Digest
    contract_digest: Digest
    nonce: Nonce | None
    device: Annotated[dict[Name, Text], msgspec.Meta(max_length=100)]
    runs: Annotated[tuple[DeviceRun, ...], msgspec.Meta(min_length=1, max_length=1000)]
    peak_memory_bytes: Number | None

    @classmethod
    def decode(cls, data: bytes, where: str = "The report") -> DeviceFile:
        """Read the bytes of a report.

        Raises:
            ArtefactError: damaged, of a later version, or something else.
        """
        return decode_strictly(data, cls, where, kind=KIND, version=VERSION, limit=MAX_REPORT_BYTES)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DeviceFile:
        """Read a report.

        Raises:
            ArtefactError: it is missing, damaged, of a later version, or something else.
        """
        return cls.decode(read_file(path, "report"), str(path))
