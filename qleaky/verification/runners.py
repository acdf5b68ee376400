"""ONNX Runtime behind a small face."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec
import onnxruntime as ort
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError, UsageError
from qleaky.export.graph import TIME
from qleaky.export.twin import count_nodes
from qleaky.fixed import as_array
from qleaky.integer.graph import MAX_STEPS
from qleaky.verification.runtimes.profile import Profile
from qleaky.verification.stepping import StepLoop

MANY_NODES = 1_000
CPU = "CPUExecutionProvider"
# Sums in full float32, which the bounds presuppose: CUDA's products are in TF32 unless told so.
PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
Arrays = dict[str, NDArray[Any]]
Decoded = TypeVar("Decoded")


def session_options(optimize: bool, threads: int) -> Any:
    """Options of a session with graph optimisation, all or none, and a number of intra-op threads."""
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return options


def open_session(data: bytes, where: str, options: Any, provider: str = CPU) -> Any:
    """A session of one provider, and the CPU's for what it does not take.

    Raises:
        ArtefactError: ONNX Runtime cannot load it.
    """
    providers = [(provider, PROVIDER_OPTIONS.get(provider, {}))] if provider != CPU else []
    try:
        # The buffer-reuse planner of ONNX Runtime is quadratic in the number of nodes.
        options.enable_mem_reuse = count_nodes(data, where) < MANY_NODES
        return ort.InferenceSession(data, options, providers=[*providers, CPU])
    except ArtefactError:
        raise
    except Exception as error:  # onnxruntime raises its own unrelated types
        raise ArtefactError(f"ONNX Runtime cannot load {where}: {str(error).splitlines()[0][:200]}.") from error


class Runner:
    """Runs an ONNX file from :func:`qleaky.export_onnx`, or its bytes: whole sequences, and single steps of a step graph.

    Args:
        artefact: path or bytes.
        optimize: graph optimisation, all or none.
        threads: intra-op threads.
        provider: the execution provider; what it does not take, ONNX Runtime gives to its CPU provider. After the first run
            :attr:`assigned` says how many nodes each of them really computed.

    Raises:
        ArtefactError: ONNX Runtime cannot load it.
    """

    def __init__(
        self,
        artefact: str | os.PathLike[str] | bytes,
        *,
        optimize: bool = True,
        threads: int = 1,
        provider: str = CPU,
    ) -> None:
        data = artefact if isinstance(artefact, bytes) else read_file(artefact, "ONNX file")
        where = "the model" if isinstance(artefact, bytes) else str(artefact)
        self.assigned: dict[str, int] | None = None
        options = session_options(optimize, threads)
        self._profile = None if provider == CPU else Profile(options)
        self._session = open_session(data, where, options, provider)
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.form = metadata.get("qleaky.form", "")
        self._times = {name: time for name, (_, time) in decoded(metadata, "inputs", dict[str, tuple[str, str]]).items()}
        self._num_steps = max(decoded(metadata, "num_steps", int), 1)
        self._sequences = decoded(metadata, "sequences", list[str])
        self._loop = self._step_loop()
        names = [output.name for output in self._session.get_outputs()]
        self.outputs = names if self._loop is None else self._loop.whole_names

    def _step_loop(self) -> StepLoop | None:
        if self.form != "step":
            return None
        return StepLoop(self._session, ort.OrtValue.ortvalue_from_numpy, self._sequences)

    def run(self, inputs: Any) -> Arrays:
        """All outputs for a batch of whole sequences; see :func:`qleaky.export_onnx` for names, types and shapes.

        ``inputs`` is an array in the graph's own type, or a dict of arrays by name. A step graph runs step by step from states
        of zero, and gives what the whole sequence's graph would; the states of :meth:`step` stay as they are.

        Raises:
            InputError: inputs of other names, types or shapes.
        """
        arrays = self._by_name(inputs)
        if (loop := self._step_loop()) is not None:
            return self._run_steps(loop, arrays)
        self._check_axes(arrays)
        return dict(zip(self.outputs, self._checked(arrays, lambda: self._session.run(None, arrays)), strict=True))

    def step(self, inputs: Any) -> Arrays:
        """One step of a step graph, on (batch, ...) inputs; its states stay in the runtime until :meth:`reset`.

        Raises:
            UsageError: the file is no step graph.
            InputError: inputs of other names, types or shapes, or another batch size than in the steps before.
        """
        loop = self._steps("step")
        arrays = self._by_name(inputs)
        found: Arrays = self._checked(arrays, lambda: loop.step(arrays))
        return found

    def reset(self) -> None:
        """States of zero before the next step, which may have another batch size.

        Raises:
            UsageError: the file is no step graph.
        """
        self._steps("reset").reset()

    def _steps(self, what: str) -> StepLoop:
        if self._loop is None:
            raise UsageError(
                f"Runner.{what}: this file runs whole sequences (form {self.form or 'unknown'!r}); export it with form='step' "
                f"to run single steps, or call run()."
            )
        return self._loop

    def _by_name(self, inputs: Any) -> Arrays:
        wanted = [i.name for i in self._session.get_inputs()] if self._loop is None else self._loop.inputs
        given = inputs if isinstance(inputs, dict) else {wanted[0]: inputs} if len(wanted) == 1 else inputs
        if isinstance(given, tuple | list) and len(given) == len(wanted):
            given = dict(zip(wanted, given, strict=True))
        if not isinstance(given, dict) or set(given) != set(wanted):
            found = ", ".join(map(str, given)) if isinstance(given, dict) else f"a {type(given).__name__}"
            raise InputError(f"inputs are {found}; the graph takes {', '.join(wanted)}. Pass a dict of arrays by name.")
        arrays = {name: as_array(given[name], name) for name in wanted}
        arrays = {name: a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}
        for name, array in arrays.items():
            if array.size == 0:
                raise InputError(f"{name} has shape {array.shape}: there is nothing in it. Pass at least one sample and step.")
        return arrays

    def _run_steps(self, loop: StepLoop, arrays: Arrays) -> Arrays:
        moving = [name for name in arrays if self._times.get(name, "sequence") == "sequence"]
        lengths = {name: arrays[name].shape[0] if arrays[name].ndim else 0 for name in moving}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise InputError(f"inputs have {lengths} steps; pass (T, batch, ...) with the same T >= 1 for all.")
        _check_steps(lengths)
        steps = next(iter(lengths.values()), self._num_steps)
        found = [
            self._checked(arrays, lambda t=t: loop.step({n: a[t] if n in moving else a for n, a in arrays.items()}))
            for t in range(steps)
        ]
        return loop.whole(found)

    def _check_axes(self, arrays: Arrays) -> None:
        """Axes of one name have one length: ONNX Runtime would broadcast a batch of 1, or cut steps anew."""
        lengths: dict[str, dict[str, int]] = {}
        for value in self._session.get_inputs():
            for axis, length in zip(value.shape, arrays[value.name].shape, strict=False):
                if isinstance(axis, str):
                    lengths.setdefault(axis, {})[value.name] = length
        for axis, found in lengths.items():
            if len(set(found.values())) > 1:
                raise InputError(f"inputs have {found} along the axis {axis!r}; it must have the same length in all of them.")
        _check_steps(lengths.get(TIME, {}))

    def _checked(self, arrays: Arrays, action: Any) -> Any:
        try:
            found = action()
            if self._profile is not None:
                self.assigned, self._profile = self._profile.end(self._session), None
            return found
        except InputError:
            raise
        except Exception as error:  # onnxruntime raises its own unrelated types
            wanted = {i.name: i for i in self._session.get_inputs()}
            given = ", ".join(f"{n} of shape {a.shape}, dtype {a.dtype}" for n, a in arrays.items())
            takes = ", ".join(f"{n} {wanted[n].type} {wanted[n].shape}" for n in arrays)
            raise InputError(
                f"ONNX Runtime refused inputs: {given}; the graph takes {takes}: {str(error).splitlines()[0][:200]}"
            ) from error


def _check_steps(lengths: dict[str, int]) -> None:
    """Sums over time hold what MAX_STEPS can add up to."""
    for name, length in lengths.items():
        if length > MAX_STEPS:
            raise InputError(f"{name} has {length:,} time steps; a graph of qleaky's runs for 1 to {MAX_STEPS:,}. Pass fewer.")


def decoded(metadata: dict[str, str], key: str, kind: type[Decoded]) -> Decoded:
    """A part of a file's metadata; empty where the file has none of the kind."""
    try:
        return msgspec.json.decode(metadata.get(f"qleaky.{key}", ""), type=kind)
    except msgspec.MsgspecError:
        return kind()


def versions() -> dict[str, str]:
    """Versions of the runtime, for certificates."""
    return {"onnxruntime": str(ort.__version__)}


def providers() -> list[str]:
    """Execution providers of the installed ONNX Runtime."""
    return list(ort.get_available_providers())
