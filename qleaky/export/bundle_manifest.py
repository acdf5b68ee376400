"""``manifest.json`` of a bundle: what its files are, what a device must compute, and where to find it in each graph."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

import msgspec

from qleaky._strict_json import decode_strictly
from qleaky.errors import ArtefactError

KIND, VERSION = "qleaky-bundle", 1
MAX_MANIFEST_BYTES = 32 << 20
MAX_FILES = 4096
MAX_BUNDLE_BYTES = 2 << 30
MAX_SAMPLES = 4096
MAX_ELEMENTS = 1 << 25
MAX_NUMBERS = 1 << 31
DIGEST_BYTES = 32
SAFE_NAME = "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}$(?!\\n)"

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
FileName = Annotated[str, msgspec.Meta(pattern=SAFE_NAME, max_length=200)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Shape = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=MAX_ELEMENTS)], ...], msgspec.Meta(max_length=16)]
Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLES)]
Code = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
DType = Literal["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
Kind = Literal["mem", "spk", "syn"]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the manifest: all of its fields are there, and no others."""


class NetworkEntry(_Entry, frozen=True, kw_only=True):
    """The contract: its digest, whether its numbers are integers, T, and whether bit-for-bit is a theorem or why not."""

    digest: Digest
    numbers: Literal["integer", "float32"]
    num_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    proved: bool
    reasons: tuple[str, ...]


class FileEntry(_Entry, frozen=True, kw_only=True):
    """A file: SHA-256 and size."""

    sha256: Digest
    bytes: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]


class InputEntry(_Entry, frozen=True, kw_only=True):
    """An input: type and per-sample shape of its codes, whether it changes with time, and its range (None for floats).

    ``golden`` is an array (T, B, *shape), or (B, *shape) of a static input.
    """

    name: Name
    dtype: DType
    shape: Shape
    time: Literal["sequence", "static"]
    low: Code | None
    high: Code | None
    zero: Code | None
    golden: FileName


class OutputEntry(_Entry, frozen=True, kw_only=True):
    """An output: ``golden`` is (T, B, *shape) where it is over time, else (B, *shape); ``dtype`` is that of the file alone."""

    name: Name
    dtype: DType
    over_time: bool
    shape: Shape
    golden: FileName


class StateEntry(_Entry, frozen=True, kw_only=True):
    """Spikes or a state of one layer: ``digests`` is uint8 (T, B, 32), one digest for each step and sample."""

    layer: Name
    kind: Kind
    shape: Shape
    digests: FileName


class GroupEntry(_Entry, frozen=True, kw_only=True):
    """Samples of one kind: ``count`` of them from ``first`` on."""

    name: Name
    first: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAMPLES)]
    count: Count


class ProbeEntry(_Entry, frozen=True, kw_only=True):
    """The twin's outputs that hold one layer's spikes or states: one of all steps, or one a step; code = value + offset."""

    layer: Name
    kind: Kind
    outputs: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    offset: Code


class FinalEntry(_Entry, frozen=True, kw_only=True):
    """An output of the shipped graph that is a state after the last step."""

    output: Name
    layer: Name
    kind: Kind


class StepEntry(_Entry, frozen=True, kw_only=True):
    """A state of a step graph: ``output`` goes back in as ``input``; zero before the first step."""

    input: Name
    output: Name
    dtype: DType
    shape: Shape


class ArtefactEntry(_Entry, frozen=True, kw_only=True):
    """A graph: the shipped file, its probe twin, and what their outputs are. ``steps``: of the form "step" alone."""

    form: Literal["unrolled", "scan", "step"]
    carrier: Literal["integer", "float", "quantized"]
    model: FileName
    probe: FileName
    probes: tuple[ProbeEntry, ...]
    final_states: tuple[FinalEntry, ...]
    steps: tuple[StepEntry, ...] | None


class Manifest(_Entry, frozen=True, kw_only=True):
    """The whole of ``manifest.json``; every file of the bundle but itself is in ``files``."""

    kind: Literal["qleaky-bundle"]
    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    created_by: str
    network: NetworkEntry
    files: Annotated[dict[FileName, FileEntry], msgspec.Meta(max_length=MAX_FILES)]
    inputs: Annotated[tuple[InputEntry, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[OutputEntry, ...], msgspec.Meta(min_length=1)]
    states: Annotated[tuple[StateEntry, ...], msgspec.Meta(min_length=1)]
    vectors: Annotated[tuple[GroupEntry, ...], msgspec.Meta(min_length=1)]
    samples: Count
    artefacts: Annotated[tuple[ArtefactEntry, ...], msgspec.Meta(min_length=1, max_length=16)]

    def encode(self) -> bytes:
        """The bytes of the file: UTF-8, sorted keys, indented by one."""
        return (json.dumps(msgspec.to_builtins(self), ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read the bytes of a manifest.

        Raises:
            ArtefactError: damaged, of a later version, or at odds with itself.
        """
        manifest = decode_strictly(
            data, cls, "The bundle's manifest.json", kind=KIND, version=VERSION, limit=MAX_MANIFEST_BYTES
        )
        _check(manifest)
        return manifest

    def shape_of(self, entry: InputEntry | OutputEntry | StateEntry) -> tuple[int, ...]:
        """The shape of an entry's file."""
        if isinstance(entry, StateEntry):
            return (self.network.num_steps, self.samples, DIGEST_BYTES)
        over_time = entry.over_time if isinstance(entry, OutputEntry) else entry.time == "sequence"
        return (*((self.network.num_steps,) if over_time else ()), self.samples, *entry.shape)


def _check(manifest: Manifest) -> None:
    """What types alone do not say."""
    for problem in _problems(manifest):
        raise ArtefactError(f"The bundle's manifest.json {problem}. Get the bundle again.")


def _problems(manifest: Manifest) -> Any:
    states = {(s.layer, s.kind) for s in manifest.states}
    if len({name.casefold() for name in manifest.files}) < len(manifest.files) or "manifest.json" in manifest.files:
        yield "names a file twice, or itself"
    for name in _named_files(manifest):
        if name not in manifest.files:
            yield f"uses {name}, which it does not list"
    for what, names in _names(manifest, states):
        if len(set(names)) < len(names):
            yield f"names {what} twice"
    entries: list[InputEntry | OutputEntry | StateEntry] = [*manifest.inputs, *manifest.outputs, *manifest.states]
    for entry in entries:
        if math.prod(entry.shape) > MAX_ELEMENTS or math.prod(manifest.shape_of(entry)) > MAX_NUMBERS:
            yield f"declares more numbers than the {MAX_ELEMENTS:,} a sample, or the {MAX_NUMBERS:,} a file, may have"
    for source in manifest.inputs:
        bounds = (source.low, source.zero, source.high)
        if (manifest.network.numbers == "integer") != (None not in bounds):
            yield "gives integer inputs no range, or others one"
        elif None not in bounds and not source.low <= source.zero <= source.high:  # type: ignore[operator]
            yield "has an input whose zero lies outside its range"
    covered = 0
    for group in manifest.vectors:
        if group.first != covered:
            yield "has groups of vectors that do not follow one another"
        covered += group.count
    if covered != manifest.samples:
        yield f"has groups of {covered} vectors, but {manifest.samples} samples"
    for artefact in manifest.artefacts:
        yield from _artefact_problems(manifest, artefact, states)


def _named_files(manifest: Manifest) -> list[str]:
    named = [entry.golden for entry in manifest.inputs] + [entry.golden for entry in manifest.outputs]
    named += [state.digests for state in manifest.states]
    return named + [name for artefact in manifest.artefacts for name in (artefact.model, artefact.probe)]


def _names(manifest: Manifest, states: set[tuple[str, Kind]]) -> list[tuple[str, list[Any]]]:
    return [
        ("a golden file or a graph", _named_files(manifest)),
        ("an input", [entry.name for entry in manifest.inputs]),
        ("an output", [entry.name for entry in manifest.outputs]),
        ("a state", [(entry.layer, entry.kind) for entry in manifest.states]),
    ]


def _artefact_problems(manifest: Manifest, artefact: ArtefactEntry, states: set[tuple[str, Kind]]) -> Any:
    if {(p.layer, p.kind) for p in artefact.probes} != states or len(artefact.probes) != len(states):
        yield f"does not say where {artefact.model} has every spike and state"
    if any((final.layer, final.kind) not in states for final in artefact.final_states):
        yield f"names a final state of {artefact.model} that no layer has"
    if (artefact.steps is None) == (artefact.form == "step"):
        yield f"gives {artefact.model}, of form {artefact.form}, the states of another form"
    if any(math.prod(state.shape) > MAX_ELEMENTS for state in artefact.steps or ()):
        yield f"declares more numbers than the {MAX_ELEMENTS:,} a state may have"
    steps = 1 if artefact.form == "step" else manifest.network.num_steps
    if any(len(probe.outputs) not in (1, steps) for probe in artefact.probes):
        yield f"names outputs of {artefact.model} that are neither of all steps nor of each"
