"""What forward's arguments stand for: inputs of the network, or states that its steps hand on."""

from __future__ import annotations

from torch import Tensor

from qleaky.neuron import Leaky
from qleaky.tracing.events import Argument, Event, Ref, Trace
from qleaky.tracing.graph import GraphInput, Mode
from qleaky.tracing.observer import flat_tensors
from qleaky.tracing.problems import Problems
from qleaky.tracing.symbols import Layout, Symbol, Symbols

SAME_NUMBERS = {"clone", "detach", "contiguous", "to", "float", "double", "requires_grad", "data", "alias"}


def place_arguments(trace: Trace, symbols: Symbols, problems: Problems, mode: Mode, steps: int) -> list[GraphInput]:
    """State what forward's arguments stand for, and give the inputs.

    What goes into a Leaky's mem is a membrane. All else that is read is an input for now: :mod:`.states` finds the states.
    """
    origins = _origins(trace)
    mems = {origins.get(number, number) for event in trace.events if (number := _membrane(event)) is not None}
    read = {ref.number for event in trace.events for ref in _data_refs(event)}
    several = sum(a.number in read and a.number not in mems for a in trace.arguments) > 1
    inputs = []
    for position, argument in enumerate(trace.arguments):
        if any(isinstance(part, Tensor) for part in flat_tensors(argument.value)) and not isinstance(argument.value, Tensor):
            problems.add(
                f"argument {argument.name!r} holds several tensors; make each an argument of forward of its own, or write "
                f"*{argument.name} in forward and pass (x, *{argument.name})."
            )
        if argument.number in mems:
            if mode != "step" and bool(argument.value.any()):
                problems.add(f"{argument.name} is not zero in sample_input; an exported network starts at zero.")
            node = symbols.nodes.make(
                "state", shape=tuple(argument.value.shape[1:]), number=argument.number, name=argument.name
            )
            symbols.set(argument.number, Symbol(node))
        elif argument.number in read:
            name = argument.name if several else "input"
            inputs.append(_Placing(symbols, problems, mode, steps).input(position, argument, name))
    return inputs


class _Placing:
    def __init__(self, symbols: Symbols, problems: Problems, mode: Mode, steps: int) -> None:
        self.symbols, self.problems, self.mode, self.steps = symbols, problems, mode, steps

    def input(self, position: int, argument: Argument, name: str) -> GraphInput:
        """An input, with time before the batch where it is a sequence."""
        shape = tuple(argument.value.shape)
        lead = (self.steps, self.symbols.batch)
        moving = self.mode == "sequence" and (position == 0 or shape[:2] == lead)
        static = self.mode == "static" or (self.mode == "sequence" and not moving)
        axes = 2 if moving else 1
        node = self.symbols.nodes.make("input", shape=shape[axes:], name=name, static=static)
        if shape[:axes] != lead[2 - axes :]:
            self.problems.add(f"argument {argument.name!r} has shape {shape}; its batch is not {self.symbols.batch}.")
        layout, t = (Layout.SEQUENCE, None) if moving else (Layout.STEP, None if static else 0)
        self.symbols.set(argument.number, Symbol(node, layout, t))
        return GraphInput(name, position, node, static)


def _origins(trace: Trace) -> dict[int, int]:
    """For every copy of an argument, the argument's number."""
    origins = {argument.number: argument.number for argument in trace.arguments}
    for event in trace.events:
        if event.module is None and event.name in SAME_NUMBERS and event.refs[0].number in origins:
            origins.update(dict.fromkeys(event.outputs, origins[event.refs[0].number]))
    return origins


def _membrane(event: Event) -> int | None:
    """The number of the membrane that a call of a Leaky takes."""
    if not isinstance(event.module, Leaky) or event.name == "reset_mem":
        return None
    mem = event.argument(1, "mem")
    return mem.number if isinstance(mem, Ref) else None


def _data_refs(event: Event) -> list[Ref]:
    """The tensors that an event reads as data."""
    if not isinstance(event.module, Leaky):
        return event.refs
    data = [event.argument(0, "input_"), event.argument(0, "currents")]
    return [ref for ref in data if isinstance(ref, Ref)]


def batch_of(first: Tensor, mode: Mode) -> int:
    """The batch size of a first argument."""
    return int(first.shape[1 if mode == "sequence" else 0])
