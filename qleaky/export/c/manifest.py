"""``MANIFEST.json`` of a folder of C: of which contract it is, the numbers it rests on, and every file with its SHA-256."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec

from qleaky._strict_json import decode_strictly
from qleaky.errors import ArtefactError

KIND, VERSION, FILE = "qleaky-c", 1, "MANIFEST.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILES = 256
SAFE_NAME = "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}$(?!\\n)"

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
FileName = Annotated[str, msgspec.Meta(pattern=SAFE_NAME, max_length=120)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the manifest: all of its fields are there, and no others."""


class NetworkEntry(_Entry, frozen=True, kw_only=True):
    """The contract: its digest, T, and whether the proof holds in integers, for all inputs, or why not."""

    digest: Digest
    num_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    proved: bool
    reasons: tuple[str, ...]


class LayerEntry(_Entry, frozen=True, kw_only=True):
    """The proof's bounds of one layer: the largest sum of its inputs, the register's bits, the largest number of its step.

    ``flush_interval``: after how many additions packed lanes are emptied, where it has any; the source asserts it.
    """

    layer: Name
    kind: str
    accumulate: Size
    accumulator_bits: Annotated[int, msgspec.Meta(ge=1, le=32)]
    largest: Size
    flush_interval: Count | None


class SizesEntry(_Entry, frozen=True, kw_only=True):
    """Bytes: the constant arrays, exactly, and ``NAME_state`` on a 32-bit machine, exactly."""

    weights: Size
    state: Size


class VectorsEntry(_Entry, frozen=True, kw_only=True):
    """How ``qleaky_vectors.c`` was made: ``searched`` adversarial samples, drawn with ``seed``, then ``given`` ones."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
    searched: Size
    given: Size


class CoreEntry(_Entry, frozen=True, kw_only=True):
    """What is expected on one core: instructions of a step, the mean over the golden vectors; bytes of code and of stack."""

    instructions_per_step: Size
    code: Size
    stack: Size


class FileEntry(_Entry, frozen=True, kw_only=True):
    """A file: SHA-256 and size."""

    sha256: Digest
    bytes: Size


class Manifest(_Entry, frozen=True, kw_only=True):
    """The whole of ``MANIFEST.json``; every file of the folder that qleaky made but itself is in ``files``."""

    kind: Literal["qleaky-c"]
    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    created_by: str
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z][A-Za-z0-9_]*$(?!\\n)", max_length=64)]
    dsp: bool
    network: NetworkEntry
    layers: tuple[LayerEntry, ...]
    sizes: SizesEntry
    expected: dict[Name, CoreEntry]
    vectors: VectorsEntry
    files: Annotated[dict[FileName, FileEntry], msgspec.Meta(max_length=MAX_FILES)]

    def encode(self) -> bytes:
        """The bytes of the file: UTF-8, sorted keys, indented by one."""
        return (json.dumps(msgspec.to_builtins(self), ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str = FILE) -> Manifest:
        """Read the bytes of a manifest.

        Raises:
            ArtefactError: damaged, of a later version, with names that lead out of the folder, or at odds with itself.
        """
        manifest = decode_strictly(data, cls, where, kind=KIND, version=VERSION, limit=MAX_MANIFEST_BYTES)
        if len({name.casefold() for name in (*manifest.files, FILE)}) <= len(manifest.files):
            raise ArtefactError(f"{where} is damaged: it names a file twice, or itself. Export the folder again, elsewhere.")
        if manifest.vectors.searched + manifest.vectors.given < 1:
            raise ArtefactError(f"{where} is damaged: it has no golden vectors at all. Export the folder again, elsewhere.")
        return manifest
