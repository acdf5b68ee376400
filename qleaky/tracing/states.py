"""Which value that a step network returns each of its state arguments is fed with at the next step."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from qleaky.tracing.chains import Chain
from qleaky.tracing.events import Trace
from qleaky.tracing.graph import GraphInput, State
from qleaky.tracing.nodes import Node, leaves_of
from qleaky.tracing.repetition import Repetition, describe
from qleaky.tracing.symbols import Symbols, Unsupported

_STATE_WORDS = {
    *("spk", "spks", "spike", "spikes", "s", "rec", "recurrent", "prev", "previous", "state", "feedback", "fb", "last", "old"),
    *("hidden", "out"),
}
_INPUT_WORDS = {"in", "input", "inp", "x", "ext", "external", "target"}


@dataclass
class Matches:
    """The states of a step network, what stands in the way of finding them, and the nodes of recurrent ones by position."""

    found: list[State] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recurrent: dict[int, Node] = field(default_factory=dict)

    @property
    def states(self) -> tuple[State, ...]:
        """In the order of forward's arguments."""
        return tuple(sorted(self.found, key=lambda state: state.position))


def matched_states(
    trace: Trace, symbols: Symbols, chains: Sequence[Chain], inputs: Sequence[GraphInput], declared: Collection[str]
) -> Matches:
    """The states of a step network.

    What goes into a Leaky's mem is that layer's membrane. Another argument that is read as data, and stands where forward
    returns something of its shape, is a state if its name says so (spk, prev, rec, ...).
    """
    matches = Matches()
    with symbols.problems.ignored():  # forward may return what no graph holds
        nodes = [_node(trace, symbols, place) for place in range(len(trace.returned))]
    for chain in chains:
        if chain.state is not None:
            _match_membrane(trace, nodes, chain, matches)
    offset = _offset(trace, matches.found)
    for source in inputs:
        name = trace.arguments[source.position].name
        if source.position == 0 or name in declared:
            continue
        place = -1 if offset is None else source.position + offset
        node = nodes[place] if 0 <= place < len(nodes) else None
        fits = node is not None and node.shape == source.node.shape and _emits(node)
        named = _is_named_as_state(name)
        if fits and named and node is not None:
            matches.recurrent[source.position] = node
            matches.found.append(State(source.position, place, node.shape))
        elif fits or named:
            matches.problems.append(_ambiguous(name))
    _check_recurrent(symbols, inputs, matches)
    return matches


def _match_membrane(trace: Trace, nodes: Sequence[Node | None], chain: Chain, matches: Matches) -> None:
    position = next(i for i, a in enumerate(trace.arguments) if a.number == chain.state)
    if chain.membrane in nodes:
        matches.found.append(State(position, nodes.index(chain.membrane), chain.shape))
    else:
        matches.problems.append(f"forward takes the membrane of {chain.name!r} but does not return the new one; return it.")


def _check_recurrent(symbols: Symbols, inputs: Sequence[GraphInput], matches: Matches) -> None:
    """Refuse states that are not zero at first where the contract's are, and those that add up over all steps."""
    own = {source.node for source in inputs if source.position in matches.recurrent}
    for source in inputs:
        node = matches.recurrent.get(source.position)
        if node is None:
            continue
        if own & {leaf.inputs[0] if leaf.kind == "delay" else leaf for leaf in leaves_of(node)}:
            matches.problems.append(
                f"state {source.name!r} depends on its own value of the step before; only Leaky layers keep a state."
            )
        elif not Repetition(0).vanishes(symbols.nodes.delayed(node, 1)):
            matches.problems.append(
                f"state {source.name!r} starts at zero, but what feeds it does not ({describe(node)} adds a bias): hand on the "
                f"spikes themselves, and apply the layer in the next step."
            )


def _node(trace: Trace, symbols: Symbols, place: int) -> Node | None:
    """The node of a returned tensor of the current step."""
    if trace.returned[place] < 0:
        return None
    try:
        symbol = symbols.of(trace.returned[place])
    except Unsupported:
        return None
    return symbol.node if symbol.t == 0 else None


def _offset(trace: Trace, states: Sequence[State]) -> int | None:
    """By how much the place of a returned value differs from that of its argument; None where that is not one number."""
    offsets = {state.returned - state.position for state in states}
    if len(offsets) == 1:
        return offsets.pop()
    return -1 if not offsets and len(trace.returned) >= len(trace.arguments) - 1 else None


def _is_named_as_state(name: str) -> bool:
    words = set(re.findall("[a-z]+", name.lower()))
    return bool(words & _STATE_WORDS) and not words & _INPUT_WORDS


def _emits(node: Node) -> bool:
    """Whether a node depends on what neurons emit, rather than on the input alone."""
    return any(leaf.kind == "spikes" for leaf in leaves_of(node))


def _ambiguous(name: str) -> str:
    return (
        f"argument {name!r} of forward may be a second input or a state of the step before. For a state, call it spk... "
        f"and return "
        f"the new value in the same order as the arguments; for an input, name it: input_format={{{name!r}: ...}}."
    )
