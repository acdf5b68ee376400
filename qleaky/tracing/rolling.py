"""From what happened in a forward to the step graph: loops over time are rolled up, states found by data flow."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from torch import Tensor

from qleaky.neuron import Leaky
from qleaky.tracing import arithmetic_operations, shape_operations, window_operations  # noqa: F401  they register their operations
from qleaky.tracing.arguments import batch_of, place_arguments
from qleaky.tracing.chains import Chain, Chains, wrong_count
from qleaky.tracing.events import Trace
from qleaky.tracing.graph import Call, GraphInput, Mode, Neurons, State, StepGraph
from qleaky.tracing.nodes import Node, Nodes, leaves_of
from qleaky.tracing.operations import TABLE
from qleaky.tracing.repetition import Repetition, difference
from qleaky.tracing.returned import Results
from qleaky.tracing.states import matched_states
from qleaky.tracing.symbols import Symbols, Unsupported


def roll(trace: Trace, nodes: Nodes, mode: Mode, declared: Collection[str] = ()) -> StepGraph:
    """The step graph of a trace.

    Args:
        trace: what forward did.
        nodes: shared between traces that are to be compared.
        mode: how forward was called.
        declared: names of arguments that are inputs for certain.

    Raises:
        LoweringError: with everything that has no place in a step graph.
        OneStepOfASequence: the first argument is no sequence (mode "sequence" only).
    """
    return _Roller(trace, nodes, mode, declared).graph()


class _Roller:
    def __init__(self, trace: Trace, nodes: Nodes, mode: Mode, declared: Collection[str]) -> None:
        self.trace, self.nodes, self.mode, self.declared = trace, nodes, mode, declared
        first: Tensor = trace.arguments[0].value
        self.steps = int(first.shape[0]) if mode == "sequence" else 1
        known_steps = None if mode == "static" else self.steps
        self.symbols = Symbols(nodes, trace.events, batch_of(first, mode), known_steps, TABLE)
        self.problems = self.symbols.problems
        self.chains = Chains(self.symbols, self.problems, mode, self.steps)
        self.inputs: list[GraphInput] = []

    def graph(self) -> StepGraph:
        """Follow the events, then check that every step did the same."""
        self.inputs = place_arguments(self.trace, self.symbols, self.problems, self.mode, self.steps)
        self.problems.raise_all()  # what else is found would only follow from it
        for event in self.trace.events:
            if isinstance(event.module, Leaky):
                self.chains.follow(event)
        if self.mode == "static" and self.chains.all:
            self.steps = self.chains.all[0].steps
        self._check_forward()
        states = self._states()
        neurons = tuple(self._neurons(chain) for chain in self.chains.all)
        if not neurons and not self.problems:
            self.problems.add("the network has no Leaky layer that takes its input.")
        self.problems.raise_all()
        inputs = self._used_inputs(neurons)
        self.problems.raise_all()
        order = {path: tuple(names) for path, names in self.chains.order.items()}
        trace, results = self.trace, Results(self.trace, self.symbols, self.mode, self.steps)
        call = Call(self.mode, tuple(a.value for a in trace.arguments), states, order, trace.batch_first, trace.kept)
        steps = None if self.mode == "step" else self.steps
        return StepGraph(inputs, neurons, steps, results.all(), call, results.computed())

    def _neurons(self, chain: Chain) -> Neurons:
        """The neurons of a chain, after checking that every step fed them with the same."""
        pattern = chain.inputs[-1]
        if chain.path not in self.chains.restarted:
            if chain.steps != self.steps:
                self.problems.add(wrong_count(chain, self.mode, self.steps))
            else:
                self._check_steps(chain, pattern)
        return Neurons(chain.name, chain.path, chain.module, pattern, chain.shape, chain.spikes, chain.membrane)

    def _check_steps(self, chain: Chain, pattern: Node) -> None:
        for t, node in enumerate(chain.inputs):
            if "unknown" not in (node.kind, pattern.kind) and not Repetition(t).same(node, pattern):
                mine, theirs = difference(node, pattern)
                self.problems.add(
                    f"layer {chain.name!r}: forward does something else at step {t} than at step {chain.steps - 1}: it "
                    f"feeds it "
                    f"{mine}, not {theirs}. A network that changes over time cannot be exported."
                )
                return

    def _states(self) -> tuple[State, ...]:
        """In a step network, which returned value each state argument is fed with; recurrent ones become delays."""
        if self.mode != "step":
            return ()
        found = matched_states(self.trace, self.symbols, self.chains.all, self.inputs, self.declared)
        self.problems.update(found.problems)
        leaves = {
            i.node: self.nodes.delayed(found.recurrent[i.position], 1) for i in self.inputs if i.position in found.recurrent
        }
        self.inputs = [i for i in self.inputs if i.position not in found.recurrent]
        if len(self.inputs) == 1 and leaves:
            leaves |= self._only_input(self.inputs[0])
        for chain in self.chains.all if leaves else ():
            chain.inputs = [self.nodes.substituted(node, leaves) for node in chain.inputs]
        return found.states

    def _only_input(self, old: GraphInput) -> dict[Node, Node]:
        """An input that turned out to be the only one is called "input"."""
        node = self.nodes.make("input", shape=old.node.shape, name="input", static=old.static)
        self.inputs = [GraphInput("input", old.position, node, old.static)]
        if old.name in self.symbols.formats:
            self.symbols.formats["input"] = self.symbols.formats.pop(old.name)
        return {old.node: node}

    def _used_inputs(self, neurons: tuple[Neurons, ...]) -> tuple[GraphInput, ...]:
        seen: set[Node] = set()
        leaves = {leaf for n in neurons for leaf in leaves_of(n.input, seen)}
        leaves |= {leaf.inputs[0] for leaf in leaves if leaf.kind == "delay"}
        self.problems.update(problem for leaf in leaves if (problem := _no_data(leaf)))
        used = [i for i in self.inputs if i.node in leaves]
        if not used and not self.problems:
            self.problems.add("no layer is fed by the network's input; it is made inside forward.")
        names = {chain.name for chain in self.chains.all}
        for each in used:
            if each.name in names:
                self.problems.add(f"a layer is called {each.name!r}, which names an input of the network; rename it.")
        return tuple(GraphInput(i.name, i.position, i.node, i.static, self.symbols.formats.get(i.name)) for i in used)

    def _check_forward(self) -> None:
        """What forward must not do, whatever comes of it."""
        for read in self.trace.reads:
            self.problems.add(
                f"{read.where}: {read.function} reads the values of the data, so forward may do something else for other "
                f"inputs; "
                f"leave it out."
            )
        self.problems.update(self.trace.changes)
        for event in self.trace.events:
            if event.module is not None and type(event.module).__module__.startswith("snntorch."):
                with contextlib.suppress(Unsupported):  # also where nothing but forward's result depends on it
                    self.symbols.of(event.outputs[0])
        for path in sorted(self.trace.edited):
            self.problems.add(f"forward sets the membrane of {path!r} itself (mem = ...); do so between sequences.")
        resets = {e.path for e in self.trace.events if isinstance(e.module, Leaky) and e.name == "reset_mem"}
        for path in sorted(resets - self.trace.edited) if self.mode == "step" else ():
            self.problems.add(
                f"forward sets the membrane of {path!r} itself (reset_mem, or mem = ...), so its state is lost after each "
                f"step; "
                f"do so between sequences."
            )


def _no_data(leaf: Node) -> str | None:
    """Why a leaf of the graph is no data, if it is none."""
    where = f" at {leaf.where!r}" if leaf.where else ""
    if leaf.kind == "zero":
        return f"zeros made inside forward{where} are data in every step; leave them out."
    if leaf.kind == "empty":
        return f"memory made inside forward{where} is data before anything was written to it."
    if leaf.kind == "state":
        return f"argument {leaf['name']!r} is the membrane of a layer, and data too; pass the layer's spikes."
    return None
