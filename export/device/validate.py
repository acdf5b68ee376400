"""Checks that this device computes a spiking network bit for bit; needs Python 3.8, numpy and onnxruntime alone.

Usage: python validate.py [--nonce WORD] [--provider NAME] [--all-providers] [--threads N] [--report FILE] [--samples N]
       [--quick]

Runs the graphs of the folder it lies in (an unpacked bundle from `qleaky-export bundle`): the shipped bytes, whose outputs and
final states are compared, and of each a twin with every spike and membrane as an output, compared by digest for every layer,
time step and sample. Prints a verdict and writes report.json for the host. Nothing of the bundle is executed but this file.

Exit codes: 0 equal; 1 something differs; 2 misuse, or a damaged bundle; 3 no verdict.
"""

import os
import sys

# A bundle of others may hold a numpy.py: nothing is imported from its folder.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.realpath(p or os.curdir) != os.path.realpath(HERE)]

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import stat  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple  # noqa: E402

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as error:
    sys.exit(print(f"validate.py needs numpy and onnxruntime ({error}): pip install numpy onnxruntime", file=sys.stderr) or 2)

EQUAL, DIFFERS, BAD_INPUT, NO_VERDICT, INTERRUPTED = 0, 1, 2, 3, 130
KIND, VERSION = "qleaky-bundle", 1
CPU = "CPUExecutionProvider"
MAX_MANIFEST_BYTES, MAX_FILE_BYTES, MAX_TOTAL_BYTES = 32 << 20, (1 << 31) - 1, 1 << 32
MAX_FILES, MAX_SAMPLES, MAX_STEPS, MAX_ELEMENTS, MAX_NUMBERS = 4096, 4096, 1000000, 1 << 25, 1 << 31
MAX_DIGITS, MAX_DEPTH, MAX_CODES = 20, 16, 4096
BATCH_BYTES = 256 << 20  # of recorded codes; larger batches run in pieces
MANY_NODES = 1000  # the buffer-reuse planner of ONNX Runtime is quadratic in the number of nodes
NONCE_SAMPLES = 8
NOT_A_CODE = -(1 << 63)
NOT_A_NUMBER = 0x7FC00000
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
KINDS = ("mem", "spk", "syn")

Json = Dict[str, Any]
Array = np.ndarray
Arrays = Dict[str, Array]
Place = Tuple[str, str]
States = Dict[Place, Array]
Golden = Tuple[Arrays, Arrays, States]
Rule = Callable[[Any], Optional[str]]


class BadInput(Exception):
    """What makes a check impossible: one sentence."""


class NoVerdict(Exception):
    """Why a provider cannot say anything about a graph."""


def shown(text: Any, most: int = 120) -> str:
    """Text of others for a terminal: control characters escaped, cut after ``most``."""
    text = str(text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: Any) -> str:
    """What an error of ONNX Runtime says first."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0], 200).rstrip(".")


# The manifest: rules are functions that say what is wrong with a value, or nothing.


def whole(low: int, high: int) -> Rule:
    return lambda v: None if type(v) is int and low <= v <= high else f"is no whole number from {low} to {high}"


def text(least: int = 0, most: int = 4096, pattern: Optional[str] = None) -> Rule:
    def rule(v: Any) -> Optional[str]:
        fits = isinstance(v, str) and least <= len(v) <= most and (pattern is None or re.match(pattern, v))
        return None if fits else "is no text that fits"

    return rule


def one_of(*known: str) -> Rule:
    return lambda v: None if isinstance(v, str) and v in known else f"is none of {', '.join(known)}"


def flag(v: Any) -> Optional[str]:
    return None if isinstance(v, bool) else "is not true or false"


def maybe(rule: Rule) -> Rule:
    return lambda v: None if v is None else rule(v)


def many(rule: Rule, least: int = 0, most: int = 1 << 22) -> Rule:
    def check(v: Any) -> Optional[str]:
        if not isinstance(v, list) or not least <= len(v) <= most:
            return f"is no list of {least} to {most}"
        return next((f"[{i}] {p}" for i, p in enumerate(map(rule, v)) if p), None)

    return check


def table(key: Rule, rule: Rule) -> Rule:
    def check(v: Any) -> Optional[str]:
        if not isinstance(v, dict) or len(v) > MAX_FILES:
            return f"is no object of at most {MAX_FILES} entries"
        return next((f"['{shown(k)}'] {p}" for k, x in v.items() for p in (key(k) or rule(x),) if p), None)

    return check


def entry(**rules: Rule) -> Rule:
    def check(v: Any) -> Optional[str]:
        if not isinstance(v, dict) or set(v) != set(rules):
            return f"has not exactly the fields {', '.join(sorted(rules))}"
        return next((f"{k}: {p}" for k, rule in rules.items() for p in (rule(v[k]),) if p), None)

    return check


NAME, HEX, KIND_OF = text(1), text(64, 64, r"[0-9a-f]{64}\Z"), one_of(*KINDS)
FILE = text(1, 200, r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}\Z")
SHAPE, CODE = many(whole(1, MAX_ELEMENTS), 0, 16), whole(-(1 << 63), (1 << 63) - 1)
MANIFEST = entry(
    kind=one_of(KIND),
    version=whole(VERSION, VERSION),
    created_by=text(),
    network=entry(
        digest=HEX,
        numbers=one_of("integer", "float32"),
        num_steps=whole(1, MAX_STEPS),
        proved=flag,
        reasons=many(text(0, 1 << 16)),
    ),
    files=table(FILE, entry(sha256=HEX, bytes=whole(0, MAX_FILE_BYTES))),
    inputs=many(
        entry(
            name=NAME,
            dtype=one_of(*DTYPES),
            shape=SHAPE,
            time=one_of("sequence", "static"),
            low=maybe(CODE),
            high=maybe(CODE),
            zero=maybe(CODE),
            golden=FILE,
        ),
        1,
    ),
    outputs=many(entry(name=NAME, dtype=one_of(*DTYPES), over_time=flag, shape=SHAPE, golden=FILE), 1),
    states=many(entry(layer=NAME, kind=KIND_OF, shape=SHAPE, digests=FILE), 1),
    vectors=many(entry(name=NAME, first=whole(0, MAX_SAMPLES), count=whole(1, MAX_SAMPLES)), 1),
    samples=whole(1, MAX_SAMPLES),
    artefacts=many(
        entry(
            form=one_of("unrolled", "scan", "step"),
            carrier=one_of("integer", "float", "quantized"),
            model=FILE,
            probe=FILE,
            probes=many(entry(layer=NAME, kind=KIND_OF, outputs=many(NAME, 1), offset=whole(-(1 << 40), 1 << 40))),
            final_states=many(entry(output=NAME, layer=NAME, kind=KIND_OF)),
            steps=maybe(many(entry(input=NAME, output=NAME, dtype=one_of(*DTYPES), shape=SHAPE))),
        ),
        1,
        16,
    ),
)


def once(pairs: List[Tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(digits)


def refused(what: str) -> None:
    raise ValueError(f"it holds {what[:20]}, which is no whole number")


def product(shape: Iterable[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


class Bundle:
    """The unpacked folder: its manifest, and files that are what the manifest says."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        data = self._read("manifest.json", MAX_MANIFEST_BYTES)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.manifest = self._parsed(data)
        self._check()
        self.network, self.samples = self.manifest["network"], self.manifest["samples"]
        self.steps, self.floats = self.network["num_steps"], self.network["numbers"] == "float32"

    def _parsed(self, data: bytes) -> Json:
        try:
            value = json.loads(
                data.decode("utf-8"),
                object_pairs_hook=once,
                parse_int=integer,
                parse_float=refused,
                parse_constant=refused,
            )
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses halves of characters
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else error
            raise BadInput(f"manifest.json is damaged: {first_line(why)}.") from None
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise BadInput("manifest.json is not that of a qleaky bundle.")
        version = value.get("version")
        if type(version) is int and version > VERSION:
            raise BadInput(
                f"manifest.json has version {version}, this validate.py reads {VERSION}: take the one of that bundle."
            )
        problem = MANIFEST(value)
        if problem:
            raise BadInput(f"manifest.json is damaged: {shown(problem, 300)}.")
        return value

    def _check(self) -> None:
        problem = next(self._problems(self.manifest), None)
        if problem:
            raise BadInput(f"manifest.json {shown(problem, 300)}.")

    def _problems(self, m: Json) -> Iterator[str]:
        """What is wrong with the manifest beyond types."""
        files, states = m["files"], [(s["layer"], s["kind"]) for s in m["states"]]
        used = [e["golden"] for e in m["inputs"] + m["outputs"]] + [s["digests"] for s in m["states"]]
        used += [name for a in m["artefacts"] for name in (a["model"], a["probe"])]
        if len({name.lower() for name in files}) < len(files) or "manifest.json" in files:
            yield "names a file twice, or itself"
        if sum(f["bytes"] for f in files.values()) > MAX_TOTAL_BYTES:
            yield f"declares files of more than {MAX_TOTAL_BYTES} bytes"
        for missing in (name for name in used if name not in files):
            yield f"uses {missing}, which it does not list"
        names = [[e["name"] for e in m["inputs"]], [e["name"] for e in m["outputs"]], states, used]
        if any(len(set(each)) < len(each) for each in names):
            yield "names an input, output, state or file twice"
        for e in m["inputs"] + m["outputs"] + m["states"]:
            size = product(e["shape"])
            if size > MAX_ELEMENTS or size * m["samples"] * m["network"]["num_steps"] > MAX_NUMBERS:
                yield "declares more numbers than a bundle may have"
        for e in m["inputs"]:
            bounds = [e["low"], e["zero"], e["high"]]
            if (m["network"]["numbers"] == "integer") != (None not in bounds):
                yield "gives integer inputs no range, or others one"
            elif None not in bounds and not (bounds == sorted(bounds) and e["high"] - e["low"] < 1 << 32):
                yield "has an input with an impossible range"
        yield from self._other_problems(m, states)

    def _other_problems(self, m: Json, states: List[Place]) -> Iterator[str]:
        """What is wrong with groups of vectors and descriptions of graphs."""
        ends = [0]
        for group in m["vectors"]:
            ends.append(ends[-1] + group["count"] if group["first"] == ends[-1] else -1)
        if -1 in ends or ends[-1] != m["samples"]:
            yield "has groups of vectors that are not its samples"
        for a in m["artefacts"]:
            steps = 1 if a["form"] == "step" else m["network"]["num_steps"]
            if any(product(s["shape"]) > MAX_ELEMENTS for s in a["steps"] or []):
                yield "declares more numbers than a bundle may have"
            if sorted((p["layer"], p["kind"]) for p in a["probes"]) != sorted(states):
                yield f"does not say where {a['model']} has every spike and state"
            if any((f["layer"], f["kind"]) not in states for f in a["final_states"]):
                yield f"names a final state of {a['model']} that no layer has"
            if (a["steps"] is None) == (a["form"] == "step") or any(len(p["outputs"]) not in (1, steps) for p in a["probes"]):
                yield f"describes {a['model']} as of another form than it says"

    def _read(self, name: str, most: int) -> bytes:
        """A plain file of the folder; never through a link, never more than ``most`` bytes."""
        path = self.folder
        try:
            for part in name.split("/"):
                path = os.path.join(path, part)
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    raise BadInput(f"{shown(name)} is a link, or lies behind one; a bundle has none. Unpack it again.")
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise BadInput(f"{shown(name)} is no file. Unpack the bundle again.")
            with open(path, "rb") as file:
                data = file.read(most + 1)
        except OSError as error:
            hint = " Unpack the zip, and run the validate.py in it." if name == "manifest.json" else " Unpack the bundle again."
            raise BadInput(f"{shown(name)} cannot be read: {error.strerror or error}.{hint}") from None
        if len(data) > most:
            raise BadInput(f"{shown(name)} has more than the {most} bytes it may have. Get the bundle again.")
        return data

    def read(self, name: str) -> bytes:
        """The bytes of a file, checked against the manifest."""
        said = self.manifest["files"][name]
        data = self._read(name, said["bytes"])
        if len(data) != said["bytes"] or hashlib.sha256(data).hexdigest() != said["sha256"]:
            raise BadInput(
                f"{shown(name)} is not the file that the manifest describes: its SHA-256 is another. Get the bundle again."
            )
        return data

    def array(self, name: str, dtype: str, shape: Sequence[int]) -> Array:
        """The numbers of a .npy file of this type and shape; its text is compared, not evaluated."""
        data, wanted = self.read(name), np.dtype(dtype).newbyteorder("<")
        start = 10 + int.from_bytes(data[8:10], "little")
        header = f"{{'descr': '{wanted.str}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}".encode("ascii")
        if data[:8] != b"\x93NUMPY\x01\x00" or data[10:start].rstrip(b" \n") != header:
            raise BadInput(f"{shown(name)} is no .npy file of {dtype} and shape {tuple(shape)}. Get the bundle again.")
        if len(data) - start != product(shape) * wanted.itemsize:
            raise BadInput(f"{shown(name)} is cut short, or too long. Get the bundle again.")
        return np.frombuffer(data, wanted, offset=start).reshape(shape).astype(np.dtype(dtype))

    def golden(self, count: int) -> Golden:
        """Inputs, outputs (codes) and digests of the first ``count`` samples."""
        m, lead = self.manifest, [self.steps, self.samples]
        inputs, outputs, digests = {}, {}, {}
        for e in m["inputs"]:
            over_time = e["time"] == "sequence"
            array = self.array(e["golden"], e["dtype"], (lead if over_time else lead[1:]) + e["shape"])
            inputs[e["name"]] = array[:, :count] if over_time else array[:count]
        for e in m["outputs"]:
            array = self.array(e["golden"], e["dtype"], (lead if e["over_time"] else lead[1:]) + e["shape"])
            outputs[e["name"]] = codes_of(array[:, :count] if e["over_time"] else array[:count], e["dtype"] == "float32")
        for e in m["states"]:
            digests[e["layer"], e["kind"]] = self.array(e["digests"], "uint8", [*lead, 32])[:, :count]
        return inputs, outputs, digests


# Graphs: what a file may hold is read without the onnx package.

ALLOWED_IN_MODEL = {1, 2, 3, 4, 5, 6, 7, 8, 14}
INSIDE = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def fields(data: bytes, start: int, end: int) -> Iterator[Tuple[int, Any]]:
    """Number, wire type and value (a number, or where the bytes begin and end) of every field of a protobuf message."""
    while start < end:
        key, start = varint(data, start, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, start = varint(data, start, end)
        elif wire in (1, 5):
            value, start = None, start + (8 if wire == 1 else 4)
        elif wire == 2:
            size, start = varint(data, start, end)
            value, start = (start, start + size), start + size
        else:
            raise ValueError("it is no protobuf")
        if start > end:
            raise ValueError("it is cut short")
        yield number, value


def varint(data: bytes, start: int, end: int) -> Tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        value, start, shift = value | (byte & 127) << shift, start + 1, shift + 7
        if byte < 128:
            return value, start
    raise ValueError("it is cut short")


def check_model(data: bytes, name: str) -> int:
    """Refuse a graph with numbers in other files, operators outside the standard, or loops without end; its number of nodes.

    ONNX Runtime would read other files by the paths that a model names.
    """
    nodes = 0
    stack = [("model", 0, len(data), 0)]
    try:
        while stack:
            kind, start, end, depth = stack.pop()
            nodes += kind == "node"
            if depth > MAX_DEPTH:
                raise ValueError("it is nested too deeply")
            for number, value in fields(data, start, end):
                problem = model_problem(kind, number, value, data)
                if problem:
                    raise ValueError(problem)
                inner = INSIDE[kind].get(number)
                if inner:
                    if not isinstance(value, tuple):
                        raise ValueError("it is no ONNX model")
                    stack.append((inner, value[0], value[1], depth + 1))
    except ValueError as error:
        raise BadInput(f"{shown(name)} is no graph that a bundle holds: {error}. Get the bundle again.") from None
    if not nodes:
        raise BadInput(f"{shown(name)} is no graph that a bundle holds: it has no nodes. Get the bundle again.")
    return nodes


def model_problem(kind: str, number: int, value: Any, data: bytes) -> Optional[str]:
    here = bytes(data[value[0] : value[1]]) if isinstance(value, tuple) and kind == "node" and number in (4, 7) else b""
    if kind == "model" and number not in ALLOWED_IN_MODEL:
        return "it holds more than a graph"
    if kind == "tensor" and (number == 13 or (number == 14 and value != 0)):
        return "it keeps numbers in another file"
    if kind == "node" and number == 7 and here not in (b"", b"ai.onnx"):
        return "it uses operators that are not standard ONNX"
    if kind == "node" and number == 4 and here == b"Loop":
        return "it has a loop of unknown length"
    return None


class Session:
    """A graph in ONNX Runtime on one execution provider."""

    def __init__(self, data: bytes, nodes: int, provider: str, threads: int, profile: Optional[str] = None) -> None:
        if provider not in ort.get_available_providers():
            found = ", ".join(ort.get_available_providers())
            raise NoVerdict(f"this onnxruntime has no {shown(provider)}; it has {found}")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.enable_mem_reuse = nodes < MANY_NODES
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.note = ""
        try:
            self._open(data, options, provider)
        except NoVerdict as failure:
            # Fusions of older versions fail on graphs that run: 1.19 gives two nodes of a long unrolled graph one name.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                self._open(data, options, provider)
            except NoVerdict:
                raise failure from None
            self.note = f"without graph optimisation, with which {failure}"
        if provider not in self._session.get_providers():
            raise NoVerdict(f"{provider} could not be started")
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def _open(self, data: bytes, options: Any, provider: str) -> None:
        try:
            self._session = ort.InferenceSession(data, options, providers=[provider])
            self._session.disable_fallback()
        except Exception as error:  # onnxruntime raises its own unrelated types
            raise NoVerdict(f"ONNX Runtime cannot load the graph: {first_line(error)}") from None

    def run(self, feeds: Arrays) -> Arrays:
        try:
            return dict(zip(self.outputs, self._session.run(None, feeds)))
        except Exception as error:
            raise NoVerdict(f"ONNX Runtime cannot run the graph: {first_line(error)}") from None

    def end_profiling(self) -> str:
        return str(self._session.end_profiling())


class Graph:
    """One artefact of the bundle: how it is fed, and what its outputs mean."""

    def __init__(self, bundle: Bundle, artefact: Json) -> None:
        self.bundle, self.artefact = bundle, artefact
        self.data, self.probe = bundle.read(artefact["model"]), bundle.read(artefact["probe"])
        self.nodes = check_model(self.data, artefact["model"])
        self.probe_nodes = check_model(self.probe, artefact["probe"])
        self.shapes = {(s["layer"], s["kind"]): s["shape"] for s in bundle.manifest["states"]}

    @property
    def name(self) -> str:
        return f"{self.artefact['form']} ({self.artefact['carrier']})"

    def session(self, provider: str, threads: int, twin: bool = False, profile: Optional[str] = None) -> Session:
        """The shipped graph, or its twin, with the inputs and outputs that the manifest says."""
        data, nodes = (self.probe, self.probe_nodes) if twin else (self.data, self.nodes)
        session = Session(data, nodes, provider, threads, profile)
        wanted = {e["name"] for e in self.bundle.manifest["inputs"]} | {s["input"] for s in self.artefact["steps"] or []}
        made = {e["name"] for e in self.bundle.manifest["outputs"]} | {f["output"] for f in self.artefact["final_states"]}
        made |= {s["output"] for s in self.artefact["steps"] or []}
        made |= {name for p in self.artefact["probes"] for name in p["outputs"]} if twin else set()
        if set(session.inputs) != wanted or not made <= set(session.outputs):
            raise BadInput(
                f"{shown(self.artefact['model'])} has other inputs or outputs than the manifest says. Get the bundle again."
            )
        return session

    def run(self, session: Session, inputs: Arrays, tell: Callable[[int], None] = lambda done: None) -> Arrays:
        """What the graph makes of whole sequences: by name, of a step graph all steps of what has a value for each."""
        steps, states = self.artefact["steps"], {}
        if steps is None:
            return session.run(inputs)
        moving = {e["name"] for e in self.bundle.manifest["inputs"] if e["time"] == "sequence"}
        over_time = {e["name"] for e in self.bundle.manifest["outputs"] if e["over_time"]}
        over_time |= {name for p in self.artefact["probes"] for name in p["outputs"]}
        batch = batch_of(self.bundle.manifest, inputs)
        for s in steps:
            states[s["input"]] = np.zeros([batch, *s["shape"]], s["dtype"])
        kept: Dict[str, List[Array]] = {name: [] for name in session.outputs if name in over_time}
        for t in range(self.bundle.steps):
            feeds = {name: np.ascontiguousarray(a[t]) if name in moving else a for name, a in inputs.items()}
            found = session.run({**feeds, **states})
            states = {s["input"]: found[s["output"]] for s in steps}
            for name, values in kept.items():
                values.append(found[name])
            tell(t + 1)
        return {**found, **{name: np.stack(values) for name, values in kept.items()}}

    def states(self, found: Arrays, batch: int) -> States:
        """Codes (T, B, ...) of every layer and kind, from the outputs of the twin."""
        return {(p["layer"], p["kind"]): self._state(found, p, batch) for p in self.artefact["probes"]}

    def _state(self, found: Arrays, probe: Json, batch: int) -> Array:
        pieces = [np.asarray(found[name]) for name in probe["outputs"]]
        place = probe["layer"], probe["kind"]
        if any(piece.shape != pieces[0].shape for piece in pieces):
            raise NoVerdict(f"the graph gives layer '{shown(place[0])}' another shape in some steps than in others")
        whole = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return codes_of(self._shaped(whole, place, [self.bundle.steps, batch]), self.bundle.floats, probe["offset"])

    def _shaped(self, values: Array, place: Place, lead: List[int]) -> Array:
        shape = [*lead, *self.shapes[place]]
        if values.size != product(shape) or list(values.shape[values.ndim - len(shape) + len(lead) :]) != shape[len(lead) :]:
            raise NoVerdict(f"the graph gives layer '{shown(place[0])}' the shape {values.shape}, not {tuple(shape)}")
        return values.reshape(shape)

    def outputs(self, found: Arrays) -> Arrays:
        """Codes of the network's outputs."""
        entries = self.bundle.manifest["outputs"]
        return {e["name"]: codes_of(np.asarray(found[e["name"]]), e["dtype"] == "float32") for e in entries}

    def finals(self, found: Arrays, batch: int) -> States:
        """Codes (B, ...) of the states after the last step, as the shipped graph gives them."""
        places = {f["output"]: (f["layer"], f["kind"]) for f in self.artefact["final_states"]}
        return {
            place: codes_of(self._shaped(np.asarray(found[name]), place, [batch]), self.bundle.floats)
            for name, place in places.items()
        }

    def batch(self, count: int) -> int:
        """How many samples run together, so that what is recorded of them fits."""
        size = 8 * self.bundle.steps * sum(product(shape) for shape in self.shapes.values())
        return max(1, min(count, BATCH_BYTES // size))


def batch_of(manifest: Json, inputs: Arrays) -> int:
    first = manifest["inputs"][0]
    return int(inputs[first["name"]].shape[1 if first["time"] == "sequence" else 0])


def pick(manifest: Json, inputs: Arrays, start: int, stop: int) -> Arrays:
    """Some of the samples of every input."""
    static = {e["name"] for e in manifest["inputs"] if e["time"] == "static"}
    return {n: np.ascontiguousarray(a[start:stop] if n in static else a[:, start:stop]) for n, a in inputs.items()}


# Codes and digests.


def codes_of(values: Array, floats: bool, offset: int = 0) -> Array:
    """Numbers as int64 codes, plus an offset: integers as they are, what is no integer of 64 bits as a code that none is.

    With ``floats`` the codes are the bit patterns of float32: -0.0 is 0.0, every NaN the same one, and what is no float32 none.
    """
    if values.dtype.kind not in "biuf":
        return np.full(values.shape, NOT_A_CODE)
    if floats:
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(values, np.float32) + np.float32(0)
        codes = np.where(np.isnan(single), np.int64(NOT_A_NUMBER), single.view(np.int32))
        return np.where((single == values) | (np.isnan(single) & np.isnan(values)), codes, NOT_A_CODE)
    if values.dtype == np.uint64:
        return np.where(values < np.uint64(1 << 63), values.astype(np.int64) + offset, NOT_A_CODE)
    if values.dtype.kind != "f":
        return values.astype(np.int64) + offset
    exact = (np.abs(values) < 1 << 53) & (values == np.rint(values))
    return np.where(exact, np.where(exact, values, 0).astype(np.int64) + offset, NOT_A_CODE)


def payload(codes: Array) -> bytes:
    """What is digested of codes: int32, little-endian; codes that no int32 holds in a way that equals none."""
    inside = codes.size == 0 or (codes.min() >= -(1 << 31) and codes.max() < 1 << 31)
    return codes.astype("<i4" if inside else "<i8").tobytes()


def digests_of(layer: str, kind: str, codes: Array, first_step: int = 0) -> Array:
    """One SHA-256 for each step and sample: uint8 (T, B, 32)."""
    shape = ",".join(str(size) for size in codes.shape[2:])
    found = np.empty((*codes.shape[:2], 32), np.uint8)
    for t in range(codes.shape[0]):
        line = f"qleaky-digest-1 {layer} {kind} {first_step + t} {shape}\n".encode("utf-8", "backslashreplace")
        for b in range(codes.shape[1]):
            found[t, b] = np.frombuffer(hashlib.sha256(line + payload(codes[t, b])).digest(), np.uint8)
    return found


def step_digests(digests: States) -> List[Json]:
    """For each layer, kind and step the SHA-256 of the samples' digests, in order."""
    return [
        {
            "layer": layer,
            "kind": kind,
            "steps": [hashlib.sha256(np.ascontiguousarray(step).tobytes()).hexdigest() for step in found],
        }
        for (layer, kind), found in digests.items()
    ]


def output_digests(entries: List[Json], outputs: Arrays) -> Dict[str, str]:
    """SHA-256 of every output's codes: little-endian int64, or of float32 its bits as int32."""
    kinds = {e["name"]: "<i4" if e["dtype"] == "float32" else "<i8" for e in entries}
    return {
        n: hashlib.sha256(np.ascontiguousarray(codes).astype(kinds[n]).tobytes()).hexdigest() for n, codes in outputs.items()
    }


def nonce_inputs(manifest: Json, nonce: str) -> Arrays:
    """Eight samples of every input that follow from the nonce alone."""
    steps, inputs = manifest["network"]["num_steps"], {}
    for i, e in enumerate(manifest["inputs"]):
        shape = ([steps] if e["time"] == "sequence" else []) + e["shape"]
        samples = [nonce_sample(nonce, i, s, product(shape), e).reshape(shape) for s in range(NONCE_SAMPLES)]
        inputs[e["name"]] = np.stack(samples, 1 if e["time"] == "sequence" else 0).astype(e["dtype"])
    return inputs


def nonce_sample(nonce: str, i: int, s: int, size: int, e: Json) -> Array:
    blocks = range(-(-2 * size // 8))
    stream = b"".join(hashlib.sha256(f"qleaky-nonce-1 {nonce} {i} {s} {block}\n".encode("ascii")).digest() for block in blocks)
    numbers = np.frombuffer(stream, "<u4")[: 2 * size].astype(np.uint64)
    a, b = numbers[0::2], numbers[1::2]
    codes = ((a * np.uint64(e["high"] - e["low"] + 1)) >> np.uint64(32)).astype(np.int64) + e["low"]
    return np.where(b < np.uint64((s + 1) << 29), codes, e["zero"])


# The check of one graph on one provider.


class Differences:
    """Counts what was compared and what differs, and keeps the first tensor that does."""

    def __init__(self) -> None:
        self.numbers = self.tensors = 0
        self._first: Optional[Json] = None
        self._place: Optional[Tuple[int, int, int]] = None

    def state(
        self,
        order: int,
        place: Place,
        codes: Array,
        digests: Array,
        expected: Array,
        first_sample: int,
        step: Optional[int] = None,
    ) -> None:
        """Digests (T, B, 32) of codes (T, B, ...) of one layer and kind, against those expected."""
        layer, kind = place
        self.numbers += codes.size
        wrong = np.argwhere((digests != expected).any(-1))
        self.tensors += len(wrong)
        if len(wrong):
            t, b = (int(n) for n in wrong[0])
            rank = (t if step is None else step, order, ("syn", "mem", "spk").index(kind))
            self._keep(rank, layer, kind, first_sample + b, codes[t, b])

    def output(self, name: str, codes: Array, expected: Array, over_time: bool, first_sample: int) -> None:
        self.numbers += expected.size
        if codes.shape != expected.shape:
            raise NoVerdict(f"output '{shown(name)}' has shape {codes.shape}, not {expected.shape}")
        lead = codes.shape[: 2 if over_time else 1]
        flat, wanted = codes.reshape(*lead, -1), expected.reshape(*lead, -1)
        wrong = np.argwhere((flat != wanted).any(-1))
        self.tensors += len(wrong)
        if len(wrong):
            t, b = (int(n) for n in wrong[0]) if over_time else (0, int(wrong[0][0]))
            self._keep((MAX_STEPS + 1, 0, 0), name, "out", first_sample + b, flat[t, b] if over_time else flat[b], t)

    def _keep(
        self, rank: Tuple[int, int, int], layer: str, kind: str, sample: int, codes: Array, step: Optional[int] = None
    ) -> None:
        if self._place is None or rank < self._place:
            flat = [int(c) for c in codes.reshape(-1)[:MAX_CODES]]
            self._place = rank
            self._first = {
                "layer": layer,
                "kind": kind,
                "step": rank[0] if step is None else step,
                "sample": sample,
                "got": flat,
                "truncated": codes.size > MAX_CODES,
            }

    @property
    def first(self) -> Optional[Json]:
        return self._first


class Check:
    """Runs one graph on one provider and compares it with the golden vectors."""

    def __init__(self, graph: Graph, provider: str, options: argparse.Namespace, tell: Callable[[str], None]) -> None:
        self.graph, self.provider, self.options, self.tell = graph, provider, options, tell
        self.bundle, self.manifest = graph.bundle, graph.bundle.manifest
        self.differences = Differences()
        self.order = {s["layer"]: i for i, s in reversed(list(enumerate(self.manifest["states"])))}

    def run(self, golden: Golden) -> Json:
        """The entry of the report."""
        artefact = self.graph.artefact
        files = self.manifest["files"]
        entry = {
            "form": artefact["form"],
            "carrier": artefact["carrier"],
            "model_sha256": files[artefact["model"]]["sha256"],
            "probe_sha256": files[artefact["probe"]]["sha256"],
            "provider": self.provider,
            "assigned": {},
            "verdict": "no verdict",
            "reason": "",
            "samples": batch_of(self.manifest, golden[0]),
            "numbers_compared": 0,
            "tensors_differing": 0,
            "first_divergence": None,
            "step_digests": [],
            "output_digests": {},
            "nonce": None,
            "latency_ms": None,
        }
        try:
            self._fill(entry, golden)
        except NoVerdict as error:
            entry["reason"] = str(error)
        except MemoryError:
            entry["reason"] = "there is not enough memory; take fewer samples with --samples N"
        found = self.differences
        entry["numbers_compared"], entry["tensors_differing"] = found.numbers, found.tensors
        entry["first_divergence"] = found.first
        if found.tensors:
            entry["verdict"] = "differs"
            entry["reason"] = entry["reason"] or f"{found.tensors} tensors differ"
        return entry

    def _fill(self, entry: Json, golden: Golden) -> None:
        inputs, outputs, digests = golden
        entry["assigned"] = self._assigned(inputs)
        if not entry["assigned"].get(self.provider):
            ran = ", ".join(sorted(entry["assigned"])) or "none"
            raise NoVerdict(f"ONNX Runtime ran no node of the graph on {self.provider} (it ran them on {ran})")
        shipped = self.graph.session(self.provider, self.options.threads)
        probed = self.graph.session(self.provider, self.options.threads, twin=True)
        count = entry["samples"]
        batch, singles = self.graph.batch(count), min(count, 1 if self.options.quick else 4)
        found: Dict[Place, List[Array]] = {place: [] for place in digests}
        made: Dict[str, List[Array]] = {name: [] for name in outputs}
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            self.tell(f"samples {start} to {stop - 1} of {count}")
            got, results = self._compare(shipped, probed, golden, start, stop)
            for place, each in got.items():
                found[place].append(each)
            for name, each in results.items():
                made[name].append(each)
        for single in range(singles if count > 1 else 0):
            self.tell(f"sample {single} alone")
            self._compare(shipped, probed, golden, single, single + 1)
        over_time = {e["name"] for e in self.manifest["outputs"] if e["over_time"]}
        entry["step_digests"] = step_digests({place: np.concatenate(each, 1) for place, each in found.items()})
        whole_outputs = {name: np.concatenate(each, 1 if name in over_time else 0) for name, each in made.items()}
        entry["output_digests"] = output_digests(self.manifest["outputs"], whole_outputs)
        same = self._nonce(entry, shipped, probed)
        entry["latency_ms"] = self._latency(shipped, pick(self.manifest, inputs, 0, 1))
        entry["verdict"] = "equal" if same else "differs"
        notes = [session.note for session in (shipped, probed) if session.note]
        entry["reason"] = (
            notes[0] if notes and same else "" if same else "the graph and its twin part on the vectors of the nonce"
        )

    def _compare(self, shipped: Session, probed: Session, golden: Golden, start: int, stop: int) -> Tuple[States, Arrays]:
        inputs, outputs, digests = golden
        feeds, batch = pick(self.manifest, inputs, start, stop), stop - start
        over_time = {e["name"]: e["over_time"] for e in self.manifest["outputs"]}
        probes, ships = self.graph.run(probed, feeds), self.graph.run(shipped, feeds)
        found = {}
        for place, codes in self.graph.states(probes, batch).items():
            found[place] = digests_of(*place, codes)
            self.differences.state(self.order[place[0]], place, codes, found[place], digests[place][:, start:stop], start)
        for place, codes in self.graph.finals(ships, batch).items():
            last = self.bundle.steps - 1
            got = digests_of(*place, codes[None], first_step=last)
            self.differences.state(self.order[place[0]], place, codes[None], got, digests[place][-1:, start:stop], start, last)
        results = self.graph.outputs(ships)
        for given in (results, self.graph.outputs(probes)):
            for name, codes in given.items():
                expected = outputs[name][:, start:stop] if over_time[name] else outputs[name][start:stop]
                self.differences.output(name, codes, expected, over_time[name], start)
        return found, results

    def _nonce(self, entry: Json, shipped: Session, probed: Session) -> bool:
        """Runs the vectors of the nonce, whose results the host alone can judge; whether graph and twin agree on them."""
        if self.options.nonce is None:
            return True
        self.tell("vectors of the nonce")
        feeds = nonce_inputs(self.manifest, self.options.nonce)
        probes, ships = self.graph.run(probed, feeds), self.graph.run(shipped, feeds)
        states, results = self.graph.states(probes, NONCE_SAMPLES), self.graph.outputs(ships)
        entry["nonce"] = {
            "samples": NONCE_SAMPLES,
            "step_digests": step_digests({place: digests_of(*place, codes) for place, codes in states.items()}),
            "output_digests": output_digests(self.manifest["outputs"], results),
        }
        others, finals = self.graph.outputs(probes), self.graph.finals(ships, NONCE_SAMPLES)
        same = all(np.array_equal(results[name], others[name]) for name in results)
        return same and all(np.array_equal(codes, states[place][-1]) for place, codes in finals.items())

    def _assigned(self, inputs: Arrays) -> Dict[str, int]:
        """How many nodes ran on which provider, from ONNX Runtime's own profile of one run of the shipped graph."""
        folder = tempfile.mkdtemp(prefix="qleaky-")
        try:
            session = self.graph.session(self.provider, self.options.threads, profile=os.path.join(folder, "profile"))
            self.graph.run(session, pick(self.manifest, inputs, 0, 1))
            with open(session.end_profiling(), encoding="utf-8") as file:
                events = json.load(file)
        except (OSError, ValueError) as error:
            raise NoVerdict(f"ONNX Runtime's profile cannot be read: {first_line(error)}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        nodes = {
            (e["args"]["provider"], e["name"]) for e in events if e.get("cat") == "Node" and e.get("args", {}).get("provider")
        }
        return {p: sum(provider == p for provider, _ in nodes) for p in sorted({provider for provider, _ in nodes})}

    def _latency(self, session: Session, feeds: Arrays) -> Json:
        """Milliseconds of an inference, and of a step of a step graph: the shipped bytes, one sample at a time."""
        self.tell("latency")
        budget, least, most = (0.5, 5, 50) if self.options.quick else (3.0, 20, 1000)
        took, steps, begun = [], [], time.perf_counter()
        for number in range(most + 2):
            marks = [time.perf_counter()]
            self.graph.run(session, feeds, lambda _, marks=marks: marks.append(time.perf_counter()))
            end = time.perf_counter()
            if number >= 2:  # the first two warm up
                took.append(end - marks[0])
                steps += [marks[i + 1] - marks[i] for i in range(len(marks) - 1)]
            if end - begun > budget and (len(took) >= least or end - begun > 10 * budget) and took:
                break
        return {"inference": timing(took), "step": timing(steps) if steps else None}


def timing(seconds: List[float]) -> Json:
    """Median and 99th percentile in milliseconds: of values that were measured, none in between."""
    ordered = sorted(seconds)
    place = [ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 99)]
    return {"median": round(place[0] * 1e3, 6), "p99": round(place[1] * 1e3, 6), "runs": len(ordered)}


# The device.


def peak_memory() -> Optional[int]:
    """The most bytes of memory this process held; None where the system does not say."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(used) * (1 if sys.platform == "darwin" else 1024)
    except ImportError:
        return windows_peak_memory() if sys.platform == "win32" else None


def windows_peak_memory() -> Optional[int]:
    try:
        import ctypes
        from ctypes import wintypes

        names = "PageFaultCount PeakWorkingSetSize WorkingSetSize QuotaPeakPagedPoolUsage QuotaPagedPoolUsage"
        names += " QuotaPeakNonPagedPoolUsage QuotaNonPagedPoolUsage PagefileUsage PeakPagefileUsage"

        class Counters(ctypes.Structure):
            _fields_ = [("cb", wintypes.DWORD)] + [
                (name, wintypes.DWORD if name == "PageFaultCount" else ctypes.c_size_t) for name in names.split()
            ]

        counters = Counters()
        counters.cb = ctypes.sizeof(counters)
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        ask = kernel.K32GetProcessMemoryInfo
        ask.argtypes = [wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD]
        good = ask(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
        return int(counters.PeakWorkingSetSize) if good else None
    except (OSError, AttributeError, ImportError):
        return None


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("model name", "hardware", "cpu model")):
                    return line.partition(":")[2].strip()[:200]
    except OSError:
        pass
    return platform.processor()[:200]


def device() -> Dict[str, str]:
    return {
        "machine": platform.machine(),
        "system": platform.platform()[:200],
        "processor": processor(),
        "python": platform.python_version(),
        "runtime": f"onnxruntime {ort.__version__}",
        "numpy": np.__version__,
    }


def write_atomically(path: str, data: bytes) -> None:
    """The whole file or none of it."""
    folder, temporary = os.path.dirname(os.path.abspath(path)), None
    try:
        handle, temporary = tempfile.mkstemp(prefix=".report.", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise BadInput(
            f"{shown(path)} cannot be written: {error.strerror or error}. Choose another with --report FILE."
        ) from None
    finally:
        if temporary is not None:
            os.unlink(temporary)


class Progress:
    """What is being done: one line that changes on a terminal, else a line for each graph."""

    def __init__(self) -> None:
        self._alive = sys.stderr.isatty()
        self._stage = ""

    def stage(self, name: str) -> None:
        self._stage = name
        self._show(name)

    def detail(self, words: str) -> None:
        if self._alive:
            self._show(f"{self._stage}: {words}")

    def _show(self, words: str) -> None:
        words = shown(words, 78)
        print(f"\r{words:<79}" if self._alive else words, end="" if self._alive else "\n", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self._alive:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)


def arguments(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check that this device computes the bundle's network bit for bit.",
        epilog="Exit codes: 0 equal; 1 something differs; 2 misuse, or a damaged bundle; 3 no verdict.",
    )
    parser.add_argument("--nonce", metavar="WORD", help="also run vectors that follow from this word, which the host gave you")
    parser.add_argument("--provider", action="append", metavar="NAME", help=f"execution provider, may be repeated ({CPU})")
    parser.add_argument("--all-providers", action="store_true", help="try every execution provider that onnxruntime has here")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads within an operator; 0: onnxruntime chooses (1)"
    )
    parser.add_argument(
        "--report", default=None, metavar="FILE", help="where to write the report (report.json, in this folder)"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="only the first N samples")
    parser.add_argument("--quick", action="store_true", help="fewer single samples, and a short measurement of latency")
    parser.add_argument("--bundle", default=HERE, metavar="DIR", help="the unpacked bundle (the folder of this file)")
    options = parser.parse_args(argv)
    if options.nonce is not None and not re.match(r"[\x20-\x7e]{1,200}\Z", options.nonce):
        raise BadInput("--nonce is 1 to 200 printable ASCII characters; pass it exactly as you were given it.")
    if options.threads < 0 or (options.samples is not None and options.samples < 1):
        raise BadInput("--threads is at least 0, and --samples at least 1.")
    return options


def held(bundle: Bundle) -> List[str]:
    """All files of a bundle."""
    return ["manifest.json", *bundle.manifest["files"]]


def validate(options: argparse.Namespace, progress: Progress) -> int:
    """Check the files, run everything, print the verdicts, and write the report; the exit code."""
    bundle = Bundle(options.bundle)
    if options.nonce is not None and bundle.floats:
        raise BadInput(
            "--nonce is for networks of integers; this one has float32 numbers, whose results the host cannot recompute."
        )
    path = options.report or os.path.join(options.bundle, "report.json")
    if os.path.realpath(path) in {os.path.realpath(os.path.join(options.bundle, n)) for n in held(bundle)}:
        raise BadInput(
            f"{shown(path)} is a file of the bundle, which a report would replace: choose another with --report FILE."
        )
    for i, name in enumerate(sorted(bundle.manifest["files"])):
        progress.detail(f"checking file {i + 1} of {len(bundle.manifest['files'])}")
        bundle.read(name)
    graphs = [Graph(bundle, artefact) for artefact in bundle.manifest["artefacts"]]
    golden = bundle.golden(min(options.samples or bundle.samples, bundle.samples))
    asked = list(dict.fromkeys(options.provider or [CPU]))
    providers = list(dict.fromkeys(asked + (ort.get_available_providers() if options.all_providers else [])))
    runs = []
    for graph in graphs:
        for provider in providers:
            progress.stage(f"{graph.name} on {provider}")
            runs.append(Check(graph, provider, options, progress.detail).run(golden))
    progress.done()
    report = {
        "kind": "qleaky-report",
        "version": 1,
        "validator": "validate.py",
        "manifest_sha256": bundle.sha256,
        "contract_digest": bundle.network["digest"],
        "nonce": options.nonce,
        "device": device(),
        "runs": runs,
        "peak_memory_bytes": peak_memory(),
    }
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
    print_verdicts(report, path)
    verdicts = {run["verdict"] for run in runs}
    if "differs" in verdicts:
        return DIFFERS
    complete = all(run["verdict"] == "equal" for run in runs if run["provider"] in asked)
    return EQUAL if complete and "equal" in verdicts else NO_VERDICT


def print_verdicts(report: Json, path: str) -> None:
    for run in report["runs"]:
        where = f"{run['form']} ({run['carrier']}) on {run['provider']}"
        nodes = ", ".join(f"{count} nodes on {provider}" for provider, count in run["assigned"].items())
        if run["verdict"] == "no verdict":
            print(f"no verdict: {where}: {run['reason']}.")
            continue
        counts = f"{run['numbers_compared']:,} numbers on {run['samples']} samples"
        print(f"{run['verdict']}: {where}: {counts}, {nodes}{because(run)}.")
        for what, t in (run["latency_ms"] or {}).items():
            if t:
                print(f"  {what}: median {t['median']:.3f} ms, p99 {t['p99']:.3f} ms, {t['runs']} runs of one sample")
        if run["first_divergence"]:
            at = run["first_divergence"]
            print(f"  first: '{shown(at['layer'])}' {at['kind']}, step {at['step']}, sample {at['sample']}")
    peak = report["peak_memory_bytes"]
    if peak:
        print(f"peak memory of this process: {peak / (1 << 20):.0f} MiB")
    print(f"Written: {shown(path, 300)}. It is for whoever made the bundle: they say what it proves.")


def because(run: Json) -> str:
    return f"; {run['reason']}" if run["reason"] else ""


def main(argv: Optional[List[str]] = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    progress = Progress()
    try:
        return validate(arguments(argv), progress)
    except BadInput as error:
        progress.done()
        print(f"validate.py: {error}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError:
        print("validate.py: there is not enough memory; take fewer samples with --samples N.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("validate.py: interrupted; no report was written.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
