"""The neurons of a network: every Leaky layer with a state of its own, followed through its steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from qleaky.tracing.events import Event, Ref
from qleaky.tracing.graph import Mode
from qleaky.tracing.nodes import Node
from qleaky.tracing.overrides import overrides
from qleaky.tracing.problems import Problems
from qleaky.tracing.symbols import Layout, Symbol, Symbols, Unsupported


class OneStepOfASequence(Exception):  # noqa: N818  caught in tracing: the input is static, not a sequence
    """A layer that computes one step was given a whole sequence."""


@dataclass
class Chain:
    """One Leaky layer with a state of its own, while it is being followed through the steps."""

    name: str
    path: str
    module: nn.Module
    shape: tuple[int, ...]
    spikes: Node
    membrane: Node
    state: int | None = None
    inputs: list[Node] = field(default_factory=list)
    last_membrane: int = -1

    @property
    def steps(self) -> int:
        """How many steps it has made."""
        return len(self.inputs)


class Chains:
    """Follows the calls of Leaky layers; ``order`` says in which order the neurons of each are called."""

    def __init__(self, symbols: Symbols, problems: Problems, mode: Mode, steps: int) -> None:
        self.symbols, self.nodes, self.problems, self.mode, self.steps = symbols, symbols.nodes, problems, mode, steps
        self.all: list[Chain] = []
        self.order: dict[str, list[str]] = {}
        self.restarted: set[str] = set()
        self._ahead: set[str] = set()
        self._by_path: dict[str, list[Chain]] = {}
        self._by_membrane: dict[Node, Chain] = {}
        self._hidden: dict[str, Chain] = {}

    def follow(self, event: Event) -> None:
        """One call of a Leaky layer.

        Raises:
            OneStepOfASequence: it is a call for one step on a whole sequence.
        """
        if event.name == "reset_mem":
            self._hidden.pop(event.path, None)
            self.symbols.set(event.outputs[0], Symbol(self.nodes.make("zero", shape=event.shapes[0][1:])))
            return
        self._check_layer(event)
        chain = self._chain(event)
        self.order.setdefault(event.path, []).append(chain.name)
        source = self._source(event)
        if event.name == "sequence":
            self._whole(event, chain, source)
        else:
            self._one_step(event, chain, source)
        chain.last_membrane = event.outputs[1] if event.name == "forward" else -1
        self._hidden[event.path] = chain

    def _source(self, event: Event) -> Symbol | None:
        data = event.argument(0, "input_" if event.name == "forward" else "currents")
        if not isinstance(data, Ref):
            self.problems.add(f"{event.where}: it is not fed by the network's input; its input is made inside forward.")
            return None
        try:
            return self.symbols.of(data)
        except Unsupported:
            return None

    def _whole(self, event: Event, chain: Chain, source: Symbol | None) -> None:
        """All steps in one call."""
        if self.mode == "step":
            self.problems.add(
                f"{event.where}: it runs a whole sequence, but num_steps is given, which says forward is one step. Leave "
                f"it out."
            )
        elif source is not None and source.layout is not Layout.SEQUENCE:
            what = "(B, T, ...); transpose(0, 1) it" if source.layout is Layout.BATCH_FIRST else "one step or merged steps"
            self.problems.add(f"{event.where}: sequence takes (T, B, ...); here it is given {what}.")
        self.steps = int(event.shapes[0][0]) if self.mode == "static" else self.steps
        self.symbols.num_steps = self.symbols.num_steps or self.steps
        chain.inputs += [source.node if source is not None else self.nodes.make("unknown", shape=())] * max(self.steps, 1)
        for number, node in zip(event.outputs, (chain.spikes, chain.membrane), strict=False):
            self.symbols.set(number, Symbol(node, Layout.SEQUENCE))

    def _one_step(self, event: Event, chain: Chain, source: Symbol | None) -> None:
        t = chain.steps
        node = self.nodes.make("unknown", shape=())
        if source is not None:
            if source.layout is Layout.SEQUENCE and source.moves and self.mode == "sequence":
                raise OneStepOfASequence(event.where)
            late = 0 if source.t is None else t - source.t
            if source.layout is not Layout.STEP:
                self.problems.add(
                    f"{event.where}: a step takes (B, ...); here it is given several steps. Call .sequence on them."
                )
            elif late >= 0:
                node = self.nodes.delayed(source.node, late)
            elif t == 0 and len(self._by_path[event.path]) > 1:
                self._restart(event.path, f"at step {source.t}")
            elif event.path not in self.restarted | self._ahead:
                self._ahead.add(event.path)
                self.problems.add(f"{event.where}: step {t} is given the input of step {source.t}, which lies ahead.")
        chain.inputs.append(node)
        for number, out in zip(event.outputs, (chain.spikes, chain.membrane), strict=False):
            self.symbols.set(number, Symbol(out, Layout.STEP, t))

    def _restart(self, path: str, when: str) -> None:
        if path not in self.restarted:
            self.restarted.add(path)
            self.problems.add(
                f"layer {path!r}: its membrane starts at zero again {when}; pass on the membrane that it returned, or use "
                f"init_hidden=True, and reset it between sequences only."
            )

    def _chain(self, event: Event) -> Chain:
        """The state that a call goes on with, or a new one."""
        mem = event.argument(1, "mem")
        if mem is None:
            return self._going_on_by_itself(event)
        if not isinstance(mem, Ref):
            if bool(torch.as_tensor(mem).any()):
                self.problems.add(
                    f"{event.where}: it starts from a membrane that is not zero; an exported network starts at zero."
                )
            return self._made_inside(event)
        try:
            symbol = self.symbols.of(mem)
        except Unsupported:
            symbol = None
        kind = None if symbol is None else symbol.node.kind
        if symbol is not None and kind == "state":
            return self._threaded(event, symbol)
        if symbol is not None and kind == "membrane" and self._goes_on(symbol, event):
            return self._by_membrane[symbol.node]
        if kind == "zero":
            return self._made_inside(event)
        what = "its own of another step, or that of another layer" if kind == "membrane" else "something else"
        self.problems.add(
            f"{event.where}: its mem is not what it returned one step before, but {what}; pass its own on unchanged."
        )
        return self._new(event)

    def _going_on_by_itself(self, event: Event) -> Chain:
        """A call without a membrane: a layer goes on with its own, but for sequences of one that keeps none."""
        found = self._hidden.get(event.path)
        keeps = event.name == "forward" or getattr(event.module, "init_hidden", False)
        return found if found is not None and keeps else self._new(event)

    def _threaded(self, event: Event, symbol: Symbol) -> Chain:
        """A call that takes a state argument of forward."""
        chain, number = self._new(event), symbol.node["number"]
        taken = [other.name for other in self.all if other.state == number]
        if taken:
            self.problems.add(
                f"{event.where}: it takes {symbol.node['name']!r}, the membrane that {taken[0]!r} takes already; give each a "
                f"membrane of its own."
            )
        chain.state = number
        return chain

    def _goes_on(self, symbol: Symbol, event: Event) -> bool:
        owner = self._by_membrane[symbol.node]
        return owner.path == event.path and symbol.layout is Layout.STEP and symbol.t == owner.steps - 1

    def _made_inside(self, event: Event) -> Chain:
        """A state that begins in this call; a step network would lose it."""
        if self.mode == "step":
            self.problems.add(
                f"the membrane passed to {event.path!r} is made inside forward, so its state is lost after each step. "
                f"Take it as "
                f"an argument of forward and return the new one, or use init_hidden=True."
            )
        return self._new(event)

    def _new(self, event: Event) -> Chain:
        earlier = self._by_path.setdefault(event.path, [])
        name = f"{event.path}_{len(earlier) + 1}" if earlier else event.path
        shape = event.shapes[0][2 if event.name == "sequence" else 1 :]
        spikes, membrane = (self.nodes.make(kind, shape=shape, chain=name, path=event.path) for kind in ("spikes", "membrane"))
        assert event.module is not None
        chain = Chain(name, event.path, event.module, shape, spikes, membrane)
        earlier.append(chain)
        self.all.append(chain)
        self._by_membrane[membrane] = chain
        return chain

    def _check_layer(self, event: Event) -> None:
        if event.dtype not in (torch.float32, torch.float64):
            self.problems.add(
                f"layer {event.path!r} computes in {event.dtype}; leave autocast out of forward, and call net.float()."
            )
        if event.path not in self._by_path and event.module is not None:
            self.problems.update(f"layer {event.path!r}: {override}" for override in overrides(event.module))


def wrong_count(chain: Chain, mode: Mode, steps: int) -> str:
    """Why a layer that makes another number of steps than the network cannot be exported."""
    if mode == "step":
        return (
            f"layer {chain.name!r} is called {chain.steps} times in one forward. Let forward compute one step and pass "
            f"num_steps=T, or call {chain.path}.sequence once."
        )
    if chain.steps == 1:
        return (
            f"layer {chain.name!r} computes one step, but num_steps is not given. Pass num_steps=T and one step's input, or "
            f"call {chain.path}.sequence on the whole sequence."
        )
    return f"layer {chain.name!r} makes {chain.steps} steps where the sequence has {steps}; every layer runs in every step."
