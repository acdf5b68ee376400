"""The mode in which a network is recorded: it numbers the tensors it meets and writes down what touches them."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from qleaky import layers, neuron
from qleaky.neuron import Leaky
from qleaky.tracing.events import NOWHERE, Event, Line
from qleaky.tracing.observer import Observer, flat_tensors, leaves
from qleaky.tracing.operations import RANDOM
from qleaky.tracing.tensors import Numbers, version

_METADATA = {
    "size", "dim", "numel", "nelement", "ndimension", "stride", "is_contiguous", "is_floating_point", "is_complex", "is_signed",
    "element_size", "storage_offset", "get_device", "type", "__len__", "__repr__", "__format__", "__hash__", "is_same_size",
    "result_type", "is_tensor", "is_inference", "is_storage", "_is_view", "data_ptr", "__get__", "untyped_storage",
    "register_hook", "ones_like", "full_like", "new_ones", "new_full", "new_tensor",
}  # fmt: skip
_UNFILLED = {"empty", "empty_like", "new_empty"}
_FACTORIES = {"zeros", "zeros_like", "new_zeros", *_UNFILLED, *RANDOM}
_SHOWN_PROPERTIES = ("T", "mT", "H", "mH", "data", "real")


class Recorder(Observer, TorchFunctionMode):
    """Numbers the tensors it meets, and writes down calls and functions that touch them."""

    def __init__(self) -> None:
        Observer.__init__(self)
        TorchFunctionMode.__init__(self)
        self.events: list[Event] = []
        self.reads: list[Event] = []
        self.edited: set[str] = set()
        self.numbers = Numbers()
        self._membranes: dict[str, tuple[Tensor, int]] = {}
        self._arguments: Any = ((), {})

    def referred(self, value: Any) -> Any:
        """``value`` with every tensor of the graph in it replaced by its number; one that was written to has a new one."""
        if isinstance(value, Tensor):
            if not self.numbers.knows(value):
                self.numbers.keep_constant(value, len(self.events))
                return value
            if self.numbers.is_stale(value):
                self._event("in-place write", (), {}, [value])
            return self.numbers.ref(value)
        if isinstance(value, (tuple, list)):
            return tuple(self.referred(item) for item in value)
        return {key: self.referred(item) for key, item in value.items()} if isinstance(value, dict) else value

    def about_to_see(self, path: str, module: nn.Module, arguments: Any) -> None:
        """A membrane that is not as the layer left it was put there, or edited, by forward."""
        with torch._C.DisableTorchFunction():
            self._check_membrane(path, module)
            self._arguments = self.referred(arguments)

    def _check_membrane(self, path: str, module: nn.Module) -> None:
        if isinstance(module, Leaky) and path in self._membranes:
            mem, before = self._membranes[path]
            same = module.mem is mem or (module.mem.data_ptr() == mem.data_ptr() and module.mem.shape == mem.shape)
            if not same or version(mem) != before or self.numbers.is_stale(mem):  # detach_hidden() leaves the numbers alone
                self.edited.add(path)

    def watch(self, network: nn.Module) -> None:
        """Remember the membranes that the layers begin with."""
        for path, module in leaves(network):
            self._keep_membrane(path, module)
            if isinstance(module, Leaky):
                self._event("mem", (), {}, [module.mem], path=path)

    def _keep_membrane(self, path: str, module: nn.Module) -> None:
        if isinstance(module, Leaky):
            self._membranes[path] = (module.mem, version(module.mem))

    def check_membranes(self, network: nn.Module) -> None:
        """Look at them again when forward has ended."""
        for path, module in leaves(network):
            self._check_membrane(path, module)

    def saw(self, path: str, module: nn.Module, method: str, arguments: Any, result: Any) -> None:
        """Write down a call of a leaf layer."""
        with torch._C.DisableTorchFunction():
            self._keep_membrane(path, module)
            outputs = [r for r in flat_tensors(result) if isinstance(r, Tensor)]
            if isinstance(module, Leaky) and method == "forward" and len(outputs) == 1:
                outputs.append(module.mem)
            args, kwargs = self._arguments
            if not isinstance(module, Leaky) and not Event("", args, kwargs, (), (), "", NOWHERE).refs:
                return  # a quantizer of weights, which are constants
            dtype = outputs[0].dtype if outputs else torch.float32
            self._event(method, args, kwargs, outputs, path=path, module=module, dtype=dtype)

    def _event(self, name: str, args: Any, kwargs: Any, outputs: list[Tensor], path: str | None = None, **more: Any) -> None:
        numbers, shapes = tuple(self.numbers.fresh(o) for o in outputs), tuple(tuple(o.shape) for o in outputs)
        self.events.append(
            Event(name, args, kwargs, numbers, shapes, self._here if path is None else path, _source_line(), **more)
        )

    @property
    def _here(self) -> str:
        return self.path[-1] if self.path else ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.depth:
            return func(*args, **kwargs)
        name = _name_of(func)
        with torch._C.DisableTorchFunction():
            given = [a for a in flat_tensors([args, kwargs]) if isinstance(a, Tensor)]
            touches = any(self.numbers.knows(a) for a in given)
            taken = (self.referred(args), self.referred(kwargs)) if touches and name not in _METADATA else None
            before = [version(a) for a in given]
        result = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            written = [a for a, was in zip(given, before, strict=True) if version(a) != was]
            for tensor in written:
                self.numbers.written(tensor)
            if (
                taken is None
                and touches
                and name == "__get__"
                and isinstance(result, Tensor)
                and not self.numbers.knows(result)
            ):
                taken = (self.referred(args), {})  # a property that is a view
            if taken is not None or (name in _FACTORIES and not touches):
                self._note(func, name, taken or (args, kwargs), written, result)
        return result

    def _note(self, func: Any, name: str, taken: Any, written: list[Tensor], result: Any) -> None:
        """Write down what a function did with tensors of the graph."""
        args, kwargs = taken
        outputs = [r for r in flat_tensors(result) if isinstance(r, Tensor)] or written[:1]
        full = str(resolve_name(func) or name)
        if not outputs:
            self.reads.append(Event(name, args, kwargs, (), (), self._here, _source_line(), function=full))
            return
        if any(all(tensor is not own for own in outputs) for tensor in written):
            full, name = f"{full} with a tensor that it writes to", "in-place write"
        self._event(name, args, kwargs, outputs, function=full, dtype=outputs[0].dtype)
        event = self.events[-1]
        if all(ref.constant is not None for ref in event.refs) and name not in RANDOM | _UNFILLED:
            self.numbers.pure.update(event.outputs)


def _name_of(func: Any) -> str:
    """A torch function's name; for a property such as ``x.T`` that of the property, for ``add_`` that of ``add``."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        name = str(getattr(func.__self__, "__name__", name))
        return name if name in _SHOWN_PROPERTIES else "__get__"
    return name if name.startswith("_") or not name.endswith("_") else name[:-1]


_SKIPPED = (
    *(inspect.getfile(m).rsplit("/", 1)[0] + "/" for m in (torch, Observer)),
    *(str(m.__file__) for m in (layers, neuron)),
)
_BOUNDARY = str(Path(__file__).with_name("recorder.py"))


def _source_line() -> Line:
    """The user's line that called a torch function: the innermost outside torch and this package, nowhere if there is none."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        if frame.f_code.co_filename == _BOUNDARY:
            return NOWHERE
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno)
