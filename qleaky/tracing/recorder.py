"""Running a network once and writing down its step graph."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from qleaky.errors import InputError, LoweringError
from qleaky.neuron import Leaky
from qleaky.surrogate import disabled
from qleaky.tracing.graph import Call, Convention, Operation, StepGraph
from qleaky.tracing.observer import Observer, flat_tensors, leaves, recorded_copy
from qleaky.tracing.purity import changes

_ALIASES = {"clone", "detach", "contiguous", "requires_grad_", "to", "float", "squeeze", "flatten", "reshape", "view", "data"}
_METADATA = {
    "size", "dim", "numel", "nelement", "ndimension", "stride", "is_contiguous", "is_floating_point", "is_complex", "is_signed",
    "element_size", "storage_offset", "get_device", "type", "__len__", "__repr__", "__format__", "__hash__", "is_same_size",
    "result_type", "is_tensor", "is_inference", "is_storage", "_is_view", "data_ptr", "__get__",
}  # fmt: skip


def trace(net: nn.Module, sample: Any, convention: Convention) -> StepGraph:
    """Run a copy of ``net`` once on ``sample`` and record what happens.

    Args:
        net: the user's network; it is not changed.
        sample: what ``forward`` takes: a tensor, or a tuple of all its arguments.
        convention: whether forward is one "step" (B, ...) or takes a whole "sequence" (T, B, ...).

    Raises:
        LoweringError: the network cannot be copied, or its forward fails on the sample.
        InputError: an empty or non-finite sample.
    """
    arguments = tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    _check_sample(arguments, convention)
    arguments = tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments)  # one tensor may be passed twice
    recorder = _Recorder()
    network = recorded_copy(net, recorder)
    recorder.watch(network)
    inputs = tuple(recorder.number(a) if isinstance(a, Tensor) else -1 for a in arguments)
    try:
        with torch.no_grad(), disabled(network), recorder:
            result = network(*arguments)
    except Exception as error:
        raise LoweringError(
            f"The network's forward failed on sample_input with shapes {_shapes(arguments)}: {error or repr(error)}. Pass "
            f"what forward takes: one step (B, ...) together with num_steps=T, or the whole sequence (T, B, ...) without it."
        ) from error
    recorder.check_membranes(network)
    lead = 1 if convention == "step" else 2
    return StepGraph(
        convention=convention,
        calls=tuple(recorder.calls),
        operations=tuple(recorder.operations),
        reads=tuple(recorder.reads),
        changes=tuple(changes(net, network)),
        resets=frozenset(recorder.resets),
        inputs=inputs,
        outputs=tuple(recorder.known(v) for v in flat_tensors(result)),
        input_shape=tuple(arguments[0].shape[lead:]),
    )


class _Recorder(Observer, TorchFunctionMode):
    """Numbers the tensors it meets, and writes down calls and operations between them."""

    def __init__(self) -> None:
        Observer.__init__(self)
        TorchFunctionMode.__init__(self)
        self.calls: list[Call] = []
        self.operations: list[Operation] = []
        self.reads: list[Operation] = []
        self.resets: set[str] = set()
        self._membranes: dict[str, tuple[Tensor, int]] = {}
        self._versions: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._next = 0

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor, a new one if it has none; the tensor is kept alive so that its identity stays its own."""
        if id(tensor) not in self._numbers:
            self._name(tensor, self._next)
            self._next += 1
        return self._numbers[id(tensor)]

    def known(self, value: Any) -> int:
        """The number of a tensor that the graph has met, else -1."""
        return self._numbers.get(id(value), -1) if isinstance(value, Tensor) else -1

    def _name(self, tensor: Tensor, number: int) -> None:
        self._numbers[id(tensor)] = number
        self._alive.append(tensor)
        self._versions[id(tensor)] = _version(tensor)

    def about_to_see(self, path: str, module: nn.Module) -> None:
        """A membrane that is not as the layer left it was put there, or edited, by forward."""
        if isinstance(module, Leaky) and path in self._membranes:
            mem, version = self._membranes[path]
            if module.mem is not mem or _version(mem) != version:
                self.resets.add(path)

    def keep_membrane(self, path: str, module: nn.Module) -> None:
        """Remember the membrane that a layer holds now."""
        if isinstance(module, Leaky):
            self._membranes[path] = (module.mem, _version(module.mem))

    def watch(self, network: nn.Module) -> None:
        """Remember the membranes that the layers begin with."""
        for path, module in leaves(network):
            self.keep_membrane(path, module)

    def check_membranes(self, network: nn.Module) -> None:
        """Look at them again when forward has ended."""
        for path, module in leaves(network):
            self.about_to_see(path, module)

    def saw(self, path: str, module: nn.Module, method: str, arguments: Any, result: Any) -> None:
        if method == "reset_mem":
            self.resets.add(path)
            self.keep_membrane(path, module)
            return
        self.keep_membrane(path, module)
        args, kwargs = arguments
        bound = list(args) + list(kwargs.values())
        mem = kwargs.get("mem", args[1] if len(args) > 1 else None) if isinstance(module, Leaky) else None
        data = [a for a in bound if isinstance(a, Tensor) and a is not mem]
        outputs = [r for r in flat_tensors(result) if isinstance(r, Tensor)]
        self.calls.append(
            Call(
                path=path,
                module=module,
                method=method,
                inputs=tuple(self.number(a) for a in data),
                mem=None if mem is None else self.number(mem),
                starts_at_zero=mem is None or not bool(mem.any()),
                outputs=tuple(self._fresh(r) for r in outputs),
                shape=tuple(outputs[0].shape) if outputs else (),
                dtype=outputs[0].dtype if outputs else torch.float32,
            )
        )

    def _fresh(self, tensor: Tensor) -> int:
        """A new number for what a layer returned, also if it is a tensor met before (an identity)."""
        self._name(tensor, self._next)
        self._next += 1
        return self._numbers[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.depth:
            return result
        with torch._C.DisableTorchFunction():
            self._note(func, args, kwargs or {}, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Write down what a function did with tensors of the graph."""
        name = _name_of(func)
        inputs = [a for a in flat_tensors([list(args), dict(kwargs)]) if self.known(a) >= 0]
        outputs = [r for r in flat_tensors(result) if isinstance(r, Tensor)]
        outputs += [t for t in self._written() if all(t is not o for o in outputs)]
        if inputs and outputs:
            self._operation(func, name, inputs, outputs)
        elif inputs and getattr(func, "__name__", "") not in _METADATA:
            taken = tuple(self._numbers[id(i)] for i in inputs)
            self.reads.append(Operation(str(resolve_name(func) or name), _source_line(), taken, ()))

    def _written(self) -> list[Tensor]:
        """The tensors of the graph whose memory was written to since the last look."""
        changed = [t for t in self._alive if _version(t) != self._versions[id(t)]]
        memory = {t.untyped_storage().data_ptr() for t in changed}
        self._versions |= {id(t): _version(t) for t in changed}
        return [t for t in self._alive if t.untyped_storage().data_ptr() in memory]

    def _operation(self, func: Any, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        same = len(outputs) == 1 and outputs[0].shape == inputs[0].shape and outputs[0].dtype == inputs[0].dtype
        if name in _ALIASES and same:
            self._name(outputs[0], self._numbers[id(inputs[0])])
            return
        taken = tuple(self._numbers[id(i)] for i in inputs)
        full_name = str(resolve_name(func) or name)
        self.operations.append(Operation(full_name, _source_line(), taken, tuple(self._fresh(o) for o in outputs)))


def _name_of(func: Any) -> str:
    """A torch function's name; for a property such as ``x.T`` that of the property."""
    name = str(getattr(func, "__name__", func))
    return str(getattr(func.__self__, "__name__", name)) if name == "__get__" else name


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


def _source_line() -> str:
    """The user's line that called a torch function: the innermost one outside torch and this package."""
    skipped = tuple(inspect.getfile(m).rsplit("/", 1)[0] for m in (torch, Observer))
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(skipped):
            return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}: {frame.line}"
    return "unknown line"


def _check_sample(arguments: tuple[Any, ...], convention: Convention) -> None:
    lead = 1 if convention == "step" else 2
    wanted = "(B, ...)" if convention == "step" else "(T, B, ...)"
    if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].ndim < lead:
        got = tuple(arguments[0].shape) if arguments and isinstance(arguments[0], Tensor) else arguments[:1]
        raise InputError(f"sample_input: the first argument is {got}; pass a tensor {wanted}, or a tuple that begins with one.")
    if 0 in arguments[0].shape:
        raise InputError(
            f"sample_input has shape {tuple(arguments[0].shape)}; pass {wanted} with at least one step and sample."
        )
    if not bool(torch.isfinite(arguments[0]).all()):
        raise InputError("sample_input holds NaN or infinity; pass finite numbers.")


def _shapes(arguments: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)
