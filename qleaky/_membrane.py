"""The membrane that a neuron keeps between calls, and what must not happen to it unnoticed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qleaky._neuron_options import ForOneOrAll, register
from qleaky.errors import InputError, UsageError

_OUTSIDE = -1  # torch's number for "no backward pass runs"


class _Replay(NamedTuple):
    """The membrane inside a backward pass, which is the recomputation of a checkpointed function."""

    task: int
    mem: Tensor


class Membrane(nn.Module):
    """A module with a membrane ``mem`` of its own.

    The membrane is no buffer: DistributedDataParallel sends the buffers of its first process to all others before every
    forward pass, and averaged copies average them. It moves with the module (``to``, ``half``), is copied without the graph it
    came from, and has no place in the ``state_dict``.

    Activation checkpointing calls forward once more, inside the backward pass. There the membrane of the layer is left alone:
    the recomputation has one of its own, which it must set before it reads it.
    """

    init_hidden: bool
    reset: Tensor
    _mem: Tensor
    _replay: _Replay | None

    def _no_membrane(self) -> None:
        """Begin without one; construction calls this."""
        self._mem, self._replay = torch.zeros(0), None
        register(self)

    @property
    def mem(self) -> Tensor:
        """The membrane after the last step; of shape (0,) before the first."""
        task = _backward_pass()
        return self._mem if task == _OUTSIDE else self._replayed(task)

    @mem.setter
    def mem(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise UsageError(f"Leaky: mem={value!r}; a membrane is a tensor. To begin at zero call reset_mem().")
        task = _backward_pass()
        if task == _OUTSIDE:
            self._mem = value
        else:
            self._replay = _Replay(task, value)

    def _replayed(self, task: int) -> Tensor:
        if self._replay is None or self._replay.task != task:
            raise UsageError(
                "Leaky: a function under activation checkpointing runs again in the backward pass and would read the membrane "
                "that a later step left in the layer; gradients would be silently wrong. Pass the membrane in and out of "
                "the function (init_hidden=False), or call reset_mem() at its start."
            )
        return self._replay.mem

    def _keep(self, mem: Tensor, reset: Tensor) -> None:
        """Remember the membrane of the step just done and its reset; an exported program has no place for them."""
        if not _exporting():
            self.mem, self.reset = mem, reset

    def _membrane_for(self, input_: Tensor, mem: Tensor | None) -> Tensor:
        """U[t-1] for an input: the one passed in, the layer's own, or zeros where there is none yet."""
        if mem is None:
            return self._own_membrane_for(input_)
        if self.init_hidden:
            raise UsageError(
                "Leaky: `mem` was passed although init_hidden=True, where the layer keeps its membrane itself. "
                "Drop the argument, or construct the layer with init_hidden=False."
            )
        if mem.shape != input_.shape:
            return self._restart(input_, mem)
        if mem.dtype != input_.dtype and mem.dtype != self._promoted(input_):
            raise InputError(
                f"Leaky: mem has dtype {mem.dtype}, input_ {input_.dtype}; both must be the same. Convert one of them."
            )
        return mem

    def _own_membrane_for(self, input_: Tensor) -> Tensor:
        if _exporting():
            raise UsageError(
                "Leaky: torch.export would freeze the layer's own membrane into the program as a constant. Pass the membrane "
                "in and return it (init_hidden=False), or use qleaky.export_onnx, which keeps hidden states."
            )
        mem = self.mem
        return mem if mem.shape == input_.shape else torch.zeros_like(input_, requires_grad=False)

    def _restart(self, input_: Tensor, mem: Tensor) -> Tensor:
        """Zeros for an unused membrane (``reset_mem`` before a first step) or after a change of batch size, else an error.

        What ``reset_mem`` gave after a batch of another size says that a new one begins: no warning."""
        if mem.shape == (0,):
            return torch.zeros_like(input_, requires_grad=False)
        own = mem.shape == self._mem.shape and mem.ndim == input_.ndim > 1 and mem.shape[1:] == input_.shape[1:]
        if not own:
            raise InputError(
                f"Leaky: mem has shape {tuple(mem.shape)}, input_ {tuple(input_.shape)}; both must be equal. "
                f"Pass reset_mem() to start from zero."
            )
        if torch.compiler.is_compiling() or bool(mem.any()):
            warnings.warn(
                f"Leaky: the batch changed from {mem.shape[0]} to {input_.shape[0]} samples; its membrane starts at zero. "
                f"Pass reset_mem() at the start of a batch to say so.",
                stacklevel=4,
            )
        return torch.zeros_like(input_, requires_grad=False)

    def _promoted(self, input_: Tensor) -> torch.dtype:
        """The dtype that the step's own arithmetic gives membranes (mixed precision)."""
        raise NotImplementedError

    def reset_mem(self) -> Tensor:
        """Set the membrane to zero and return it."""
        self.mem = torch.zeros_like(self._mem, requires_grad=False)
        return self.mem

    def init_leaky(self) -> Tensor:
        """Deprecated: use :meth:`reset_mem`."""
        warnings.warn("Leaky.init_leaky is deprecated; use Leaky.reset_mem.", DeprecationWarning, stacklevel=2)
        return self.reset_mem()

    @ForOneOrAll
    def detach_hidden(self) -> None:
        """Cut the membrane from the graph of past steps (truncated backpropagation); on the class: of all live layers."""
        self.mem = self.mem.detach()

    @ForOneOrAll
    def reset_hidden(self) -> None:
        """Set the membrane to zero; on the class: of all live layers."""
        self.reset_mem()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """What moves or converts parameters and buffers does the same to the membrane."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._mem = fn(self._mem)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and deepcopy: the membrane without the graph it came from."""
        return {**self.__dict__, "_mem": self._mem.detach().clone(), "_replay": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        register(self)


def _backward_pass() -> int:
    """The number of the backward pass that this code runs in."""
    return _OUTSIDE if torch.compiler.is_compiling() else torch._C._current_graph_task_id()


def _exporting() -> bool:
    """Whether torch.export traces this code; torch 2.6 cannot tell."""
    asked = getattr(torch.compiler, "is_exporting", None)
    return asked is not None and bool(asked())
