"""Statements about the C of a layer's neurons: all of it is defined, it is the contract's step, states stay in their bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import z3

from qleaky.export.c.interface import ConstArray, c_type
from qleaky.fixed import QFormat
from qleaky.integer.lif import LIF, Synapse
from qleaky.integer.signals import IntArray, Signal
from qleaky.verification.c_proofs.executing import Cell, Machine
from qleaky.verification.c_proofs.reading import Source, UnreadableError
from qleaky.verification.c_proofs.results import Open, Proved, Refuted, Result
from qleaky.verification.c_proofs.rows import Ends, Row, rows
from qleaky.verification.c_proofs.solving import Deadline, UndecidedError, counterexample, valued
from qleaky.verification.c_proofs.specification import BITS, Step, fits, neuron_step
from qleaky.verification.c_proofs.values import INT, TYPES, Condition, Term, Value

DEFINED = "no operation of the step is undefined"
EQUAL = "the step equals its 64-bit specification"
INSIDE = "states stay within those that the bounds are for"


@dataclass(frozen=True, eq=False)
class Neurons:
    """A layer, what feeds it, and its C: functions that begin with ``prefix``, and arrays of constants by name."""

    layer: LIF
    x: Signal
    prefix: str
    source: Source
    constants: Mapping[str, ConstArray]

    def prove(self, seconds: float) -> Iterator[Result]:
        """The statements, each with ``seconds`` at most."""
        if not fits(self._largest()):
            yield Open(
                self.layer.name, EQUAL, f"its numbers reach {self._largest()}, more than the 64 bits of the specification"
            )
            return
        arguments = self._arguments()
        shared = _Table(self, rows(self.layer, self.x, arguments, apart=False))
        for statement in (DEFINED, EQUAL, INSIDE):
            start, deadline = perf_counter(), Deadline.after(seconds)
            result = shared.decide(statement, start, deadline)
            if isinstance(result, Refuted):  # perhaps a current of one neuron with the constants of another
                apart = _Table(self, rows(self.layer, self.x, arguments, apart=True))
                result = apart.decide(statement, start, deadline)
            yield result

    def _largest(self) -> int:
        """A bound on every number of the specification: of both sums, of resets, and of what is emitted."""
        layer, x, found = self.layer, self.x, [self.layer.output(self.x).magnitude]
        entering = (x.magnitude, layer.current_shift(x))
        parts: list[LIF | Synapse] = [layer] if layer.synapse is None else [layer.synapse, layer]
        for part in parts:
            current, shift = entering
            state = max(-part.state.lowest, part.state.highest)
            extra = max(15, shift, 0)
            taken = layer.max_spikes * max(abs(int(layer.theta.min())), abs(int(layer.theta.max())))
            found.append(((state << 1) + taken + 1 << extra) + (current << (extra - shift)))
            entering = (state, layer.membrane_shift(x))
        return max(found)

    def _arguments(self) -> dict[str, IntArray]:
        """What the C is given beside states and current: for every neuron its element of an array.

        Raises:
            UnreadableError: a call of the step that gives something else.
        """
        parameters = [parameter.name for parameter in self.source.function(f"{self.prefix}_step").decl.type.args.params]
        names = parameters[2 if self.layer.synapse is None else 3 :]
        for call in self._calls():
            states = call[: len(parameters) - len(names) - 1]
            places = {found.group(1) if (found := re.fullmatch(r"&[\w>.-]+\[(.+)\]", each)) else each for each in states}
            index = places.pop() if len(places) == 1 else "?"
            expected = [f"{self.prefix}_{name}[{index}]" for name in names]
            if call[len(parameters) - len(names) :] != expected:
                given = ", ".join(call)
                raise UnreadableError(
                    f"layer {self.layer.name!r}: {self.prefix}_step({given}) does not take {expected} of its neuron."
                )
        missing = [name for name in names if f"{self.prefix}_{name}" not in self.constants]
        if missing:
            raise UnreadableError(f"layer {self.layer.name!r}: there is no array {self.prefix}_{missing[0]} for its step.")
        return {name: self.constants[f"{self.prefix}_{name}"].values for name in names}

    def _calls(self) -> list[list[str]]:
        """The arguments of every call of the step."""
        text = self.source.plain.replace(self.source.body(f"{self.prefix}_step"), "")
        calls = [_split(text[found.end() :]) for found in re.finditer(rf"\b{self.prefix}_step\(", text)]
        if not calls:
            raise UnreadableError(f"layer {self.layer.name!r}: the C text never calls {self.prefix}_step.")
        return calls


def _split(text: str) -> list[str]:
    """The arguments up to the bracket that closes a call."""
    parts, depth = [""], 0
    for letter in text:
        if letter == ")" and depth == 0:
            break
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


class _Table:
    """The rows of a layer, and what the C and the specification make of each."""

    def __init__(self, neurons: Neurons, table: list[Row]) -> None:
        self.neurons = neurons
        self.rows = table
        self._runs: dict[int, _Run] = {}

    def decide(self, statement: str, start: float, deadline: Deadline) -> Result:
        layer = self.neurons.layer.name
        try:
            for i in range(len(self.rows)):
                run = self._runs.get(i) or _Run(self.neurons, self.rows[i])
                self._runs[i] = run
                for claim in run.claims[statement]():
                    model = counterexample(run.assumption, claim, deadline)
                    if model is not None:
                        return run.refuted(statement, model)
        except UndecidedError as reason:
            return Open(layer, statement, str(reason))
        return Proved(layer, statement, perf_counter() - start)


class _Run:
    """One row: its inputs as variables, the C's results, and the specification's."""

    def __init__(self, neurons: Neurons, row: Row) -> None:
        self.neurons, self.row = neurons, row
        layer = neurons.layer
        assumptions: list[Term] = []
        self.mem = _variable("u", row.mem, assumptions)
        self.syn = None if row.syn is None else _variable("j", row.syn, assumptions)
        self.current = _variable("i", row.current, assumptions)
        self.assumption = z3.And(*assumptions)
        self.conditions: list[Condition] = []
        self.c = self._executed()
        shifts = (layer.current_shift(neurons.x), layer.membrane_shift(neurons.x))
        self.specified = neuron_step(layer, row.own, shifts, self.mem, self.syn, self.current)
        self.claims: dict[str, Callable[[], list[Term]]] = {DEFINED: self._defined, EQUAL: self._equal, INSIDE: self._inside}

    def _executed(self) -> Step:
        layer, machine = self.neurons.layer, Machine(self.neurons.source, self.conditions)
        mem = Cell(_typed(self.mem, layer.state))
        cells = [mem]
        if layer.synapse is not None:
            cells.append(Cell(_typed(self.syn, layer.synapse.state)))
        current = Value(z3.Extract(31, 0, self.current), INT)
        own = [Value.constant(number) for number in self.row.arguments.values()]
        emitted = machine.call(f"{self.neurons.prefix}_step", [*cells, current, *own])
        syn = None if layer.synapse is None else cells[1].value.wide(BITS)
        return Step(mem.value.wide(BITS), syn, emitted.wide(BITS))

    def _defined(self) -> list[Term]:
        return [z3.And(*(condition.holds for condition in self.conditions))]

    def _equal(self) -> list[Term]:
        """One by one, which z3 decides sooner."""
        syn = [] if self.c.syn is None else [self.c.syn == self.specified.syn]
        return [*syn, self.c.mem == self.specified.mem, self.c.emitted == self.specified.emitted]

    def _inside(self) -> list[Term]:
        parts = [_within(self.specified.mem, self.row.mem), _within(self.c.mem, self.row.mem)]
        if self.row.syn is not None:
            parts += [_within(self.specified.syn, self.row.syn), _within(self.c.syn, self.row.syn)]
        return [z3.And(*parts)]

    def refuted(self, statement: str, model: Any) -> Refuted:
        inputs = {"U": self.mem, "J": self.syn, "I": self.current}
        return Refuted(
            layer=self.neurons.layer.name,
            statement=statement,
            what=self._what(statement, model),
            neuron=self.row.neuron,
            inputs={name: valued(model, term) for name, term in inputs.items() if term is not None},
            c=_outputs(model, self.c),
            specification=_outputs(model, self.specified),
        )

    def _what(self, statement: str, model: Any) -> str:
        if statement != DEFINED:
            return {EQUAL: "other numbers", INSIDE: f"a state leaves {self.row.mem[0]} to {self.row.mem[1]}"}[statement]
        failed = (c.what for c in self.conditions if z3.is_false(model.eval(c.holds, model_completion=True)))
        return next(failed, "an operation is undefined")


def _variable(name: str, ends: Ends, assumptions: list[Term]) -> Term:
    """A number in an interval, as 64 bits of which only so many as it takes are free."""
    low, high = ends
    bits = max(low.bit_length(), high.bit_length()) + 1
    term = z3.SignExt(BITS - bits, z3.BitVec(name, bits))
    assumptions.append(_within(term, ends))
    return term


def _within(term: Term, ends: Ends) -> Term:
    return z3.And(term >= ends[0], term <= ends[1])


def _typed(term: Term, fmt: QFormat) -> Value:
    """A state as it is stored."""
    ctype = TYPES[c_type(fmt.lowest, fmt.highest)]
    return Value(z3.Extract(ctype.bits - 1, 0, term), ctype)


def _outputs(model: Any, step: Step) -> dict[str, int]:
    names = {"U": step.mem, "J": step.syn, "emitted": step.emitted}
    return {name: valued(model, term) for name, term in names.items() if term is not None}
