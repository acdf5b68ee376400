"""Whether a mutant computes the same as its original for all inputs: proved for one neuron at a time, by intervals or by z3.

Every value that both graphs name (a membrane, spikes) and that a fault could change must come out equal, given that all
others are. In such a step the state is any that the proof of the contract allows (:mod:`qleaky.integer.reach`), the current
any that its weights allow. By induction over steps and layers the graphs then agree everywhere. Where that is too coarse, the
neuron of an unrolled graph runs from zero through all of its steps, with any currents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mutations_terms as terms
import numpy as np
import onnx
import z3
from mutations_terms import NoProofError, Number, Term
from onnx import NodeProto, TensorProto, helper

from qleaky import IntegerNetwork
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming
from qleaky.integer.reach import Interval, reach
from qleaky.verification.mutants.reading import PRODUCTS, Reading, body_of, state_count

MOVING = ("Reshape", "Split", "Gather", "Concat", "AveragePool")
TIMEOUT_MS = 5_000
Element = tuple[int, ...]
Silent = Callable[[str, int, Any], bool]


@dataclass(frozen=True)
class Proof:
    """How a mutant was proved equal: "bounds" (intervals alone) or "z3"; and of what."""

    by: str
    of: str


class Prover:
    """Proofs about mutants of one artefact."""

    def __init__(self, network: IntegerNetwork, data: bytes) -> None:
        self.network, self.original = network, Reading(onnx.load_model_from_string(data))
        self.reached = _reached(network)
        self._answers: dict[Any, bool] = {}

    def proof(self, data: bytes) -> Proof | None:
        """A proof that a mutant equals its original on all inputs; None where none was found, which says nothing."""
        mutant = Reading(onnx.load_model_from_string(data))
        for steps in (False, True):
            try:
                return self._proved(mutant, from_zero=steps)
            except (NoProofError, RecursionError):
                continue
        return None

    def _proved(self, mutant: Reading, *, from_zero: bool) -> Proof:
        dirty = _Dirty(self.original, mutant, self._silent)
        solved, places = False, []
        for value in dirty.obligations:
            for element in self._elements(value):
                pair = [_Neuron(self, reading, value, element, from_zero).term() for reading in (self.original, mutant)]
                places.append(value)
                if not all(terms.same(a.found, b.found) for a, b in [pair]):
                    self._solve(*pair)
                    solved = True
        names = list(dict.fromkeys(places))
        return Proof("z3" if solved else "bounds", ", ".join(names[:2]) + (f" and {len(names) - 2} more" if names[2:] else ""))

    def _silent(self, layer: str, channels: int, touched: Any) -> bool:
        """Whether these channels of a layer never fire, since no membrane that they reach is above the threshold."""
        lif, shape = next(lif for lif in self.network.lif_layers if lif.name == layer), self.network.signals[layer].shape
        if channels not in (shape[0], int(np.prod(shape))):
            return False
        high = np.broadcast_to(self.reached[layer, "mem"].high, shape)
        fires = high >= lif.theta if lif.compare is Compare.INCLUSIVE else high > lif.theta
        return not fires.reshape(channels, -1)[touched].any()

    def _elements(self, value: str) -> Iterator[Element]:
        """The neurons of a layer."""
        site = self.original.by_name.get(value)
        layer = "" if site is None else site.layer
        if layer not in self.network.signals:
            raise NoProofError(f"{value} is of no layer")
        yield from np.ndindex(self.network.signals[layer].shape)

    def _solve(self, a: _Found, b: _Found) -> None:
        """That they cannot differ.

        Raises:
            NoProofError: they may.
        """
        facts = [*a.facts, *b.facts, terms.differ(a.found, b.found)]
        key = tuple(sorted({fact.sexpr() for fact in facts}))
        if key not in self._answers:
            solver = z3.Solver()
            solver.set("timeout", TIMEOUT_MS)
            solver.add(*facts)
            self._answers[key] = solver.check() == z3.unsat
        if not self._answers[key]:
            raise NoProofError("they may differ")


def _reached(network: IntegerNetwork) -> dict[tuple[str, str], Interval]:
    """The states of every layer, of every neuron where they differ, as the proof of the contract finds them."""
    found: dict[tuple[str, str], Interval] = {}
    for lif in network.lif_layers:
        x = network.signals[lif.input]
        current = Interval(x.lows, x.highs)
        if lif.synapse is not None:
            state = reach(lif.synapse, current, lif.current_shift(x))
            found[lif.name, "syn"] = current = state.charged
        mem = reach(lif, current, lif.membrane_shift(x))
        low, high = np.minimum(mem.state.low, mem.charged.low), np.maximum(mem.state.high, mem.charged.high)
        found[lif.name, "mem"] = Interval(low, high)
    return found


def weights(reading: Reading, name: str) -> Any:
    """Integer weights, through casts; None where they are no constant."""
    while (site := reading.by_name.get(name)) is not None and site.node.op_type == "Cast":
        name = site.node.input[0]
    numbers = reading.constant(name)
    return None if numbers is None else numbers.astype(np.int64)


def spikes_behind(reading: Reading, name: str) -> str | None:
    """The layer whose spikes a value is, in other types and shapes; None where it is something else."""
    for _ in range(12):
        anchor, site = reading.anchor(name), reading.by_name.get(name)
        if anchor is not None:
            return anchor.layer if anchor.kind == "spk" else None
        if site is None or site.node.op_type not in ("Cast", "Reshape", "Concat", "Identity", "Clip", "QuantizeLinear", "Scan"):
            return None
        if site.node.op_type == "Scan":
            return recorded_layer(reading, site.node, name)
        name = site.node.input[0]
    return None


def recorded_layer(reading: Reading, node: NodeProto, name: str) -> str | None:
    """The one layer of a Scan whose spikes it stacks; None where it has several, or stacks a membrane."""
    body = body_of(node)
    layers = {anchor.layer for inner in body.node if (anchor := reading.anchor(inner.output[0])) is not None}
    made = body.output[list(node.output).index(name)].name
    return None if len(layers) != 1 or made.endswith(("/mem", "/syn")) else layers.pop()


@dataclass(frozen=True)
class _Found:
    found: Term
    facts: list[Any]


class _Dirty:
    """What a fault can change, up to the values that both graphs name, which are to be proved equal."""

    def __init__(self, original: Reading, mutant: Reading, silent: Silent) -> None:
        self.original, self.mutant, self.silent = original, mutant, silent
        self.obligations: list[str] = []
        values: set[str] = {
            name for name, tensor in mutant.tensors.items() if not _same_tensor(original.tensors.get(name), tensor)
        }
        values -= {name for name in values if name not in original.tensors}
        outputs = {output.name for output in mutant.model.graph.output}
        handed_on = _handed_on(mutant)
        for site in mutant.sites:
            node = site.node
            changed = not _same_node(original, mutant, node)
            if not changed and not values & set(node.input):
                continue
            if not changed and (body := body_of(node)) is not None:
                self._enter(body, node, values)
                continue
            if node.op_type in PRODUCTS or (node.op_type not in ELEMENTWISE_HERE and not changed):
                self._require_inputs(node, values, changed)
                continue
            if node.op_type not in ELEMENTWISE_HERE:
                raise NoProofError(f"{node.op_type} was changed")
            for value in node.output:
                if original.anchor(value) or value in outputs or value in handed_on:
                    self.obligations.append(value)
                else:
                    values.add(value)
        self.obligations = list(dict.fromkeys(self.obligations))

    def _enter(self, body: Any, node: NodeProto, values: set[str]) -> None:
        """A Scan: its first states are to be equal, the steps that it takes apart are not equal in its body either."""
        for place, (outer, inner) in enumerate(zip(node.input, body.input, strict=False)):
            if outer in values and place < state_count(node):
                self.obligations.append(outer)
            elif outer in values:
                values.add(inner.name)

    def _only_silent(self, node: NodeProto) -> bool:
        """Whether weights differ only where they meet neurons that never fire."""
        before, after = (weights(reading, node.input[1]) for reading in (self.original, self.mutant))
        source = spikes_behind(self.mutant, node.input[0])
        if before is None or after is None or source is None or before.shape != after.shape:
            return False
        axis = 1 if before.ndim > 2 else 0
        touched = np.flatnonzero((before != after).any(axis=tuple(i for i in range(before.ndim) if i != axis)))
        return self.silent(source, before.shape[axis], touched)

    def _require_inputs(self, node: NodeProto, values: set[str], changed: bool) -> None:
        if not changed and node.op_type in PRODUCTS and values & set(node.input[1:2]) and self._only_silent(node):
            return
        if changed or values & set(node.input[1:]):
            raise NoProofError(f"{node.op_type} has other numbers")
        self.obligations += [value for value in node.input if value in values]


ELEMENTWISE_HERE = {*terms.ELEMENTWISE, "Cast", "QuantizeLinear", "DequantizeLinear", "Reshape", "Split"}


def _handed_on(reading: Reading) -> set[str]:
    """States that a body hands on to the next step."""
    bodies = [(node, body) for node in reading.model.graph.node if (body := body_of(node)) is not None]
    return {value.name for node, body in bodies for value in body.output}


def _same_tensor(a: TensorProto | None, b: TensorProto) -> bool:
    return a is not None and a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def _same_node(original: Reading, mutant: Reading, node: NodeProto) -> bool:
    site = original.by_name.get(node.output[0])
    if site is None:
        return False
    if body_of(node) is not None:  # its body is compared node by node
        return list(site.node.input) == list(node.input) and list(site.node.output) == list(node.output)
    return bool(site.node.SerializeToString(deterministic=True) == node.SerializeToString(deterministic=True))


class _Neuron:
    """One value of one neuron as a formula of the values around it."""

    def __init__(self, prover: Prover, reading: Reading, target: str, element: Element, from_zero: bool) -> None:
        self.prover, self.reading, self.target, self.element, self.from_zero = prover, reading, target, element, from_zero
        self.facts: list[Any] = []
        self.seen: dict[str, Term] = {}
        self.bodies = {
            inner.name: outer
            for node in reading.model.graph.node
            if (body := body_of(node)) is not None
            for inner, outer in zip(body.input, node.input, strict=False)
        }
        self.next = {
            given.name: made.name
            for node in reading.model.graph.node
            if (body := body_of(node)) is not None
            for given, made in zip(list(body.input)[: state_count(node)], body.output, strict=False)
        }

    def term(self) -> _Found:
        """The target."""
        if self.from_zero and (self.next or self.reading.form == "step"):
            raise NoProofError("only unrolled graphs run from zero here")
        found = self._made(self.target)
        self._link()
        return _Found(found, self.facts)

    def _value(self, name: str) -> Term:
        if name not in self.seen:
            self.seen[name] = self._cut(name) if self._is_cut(name) else self._made(name)
        return self.seen[name]

    def _is_cut(self, name: str) -> bool:
        if name in self.reading.state_inputs or name in self.next:
            return True
        return self.reading.anchor(name) is not None and not self.from_zero

    def _cut(self, name: str) -> Term:
        """A membrane, a current or spikes, as anything that the contract allows."""
        anchor = self.reading.anchor(self._source_of(name))
        layer = self.reading.state_inputs.get(name) if anchor is None else anchor.layer
        kind = ("syn" if name.endswith(".syn") else "mem") if anchor is None else anchor.kind
        if layer is None:
            raise NoProofError(f"{name} is a state without a name")
        signal = self.prover.network.signals[layer]
        if kind == "spk":
            if self._type(name) == TensorProto.BOOL:
                return z3.Bool(name)
            low, high = (int(np.broadcast_to(ends, signal.shape)[self.element]) for ends in (signal.lows, signal.highs))
            return self._variable(name, low, high)
        low, high = (int(np.broadcast_to(ends, signal.shape)[self.element]) for ends in self.prover.reached[layer, kind])
        offset = self.reading.offsets.get(layer, 0) if kind == "mem" else 0
        return self._variable(name, low - offset, high - offset)

    def _source_of(self, name: str) -> str:
        """What a state handed on was in the step before."""
        made = self.next.get(name, name)
        site = self.reading.by_name.get(made)
        original = self.prover.original.by_name.get(made)
        site = original if name in self.next else site
        return site.node.input[0] if name in self.next and site is not None and site.node.op_type == "Identity" else made

    def _type(self, name: str) -> int:
        for value in (name, self._source_of(name)):
            if value in self.reading.types:
                return int(self.reading.types[value].elem_type)
        return TensorProto.UNDEFINED

    def _variable(self, name: str, low: int, high: int, bits: int = 0) -> Number:
        found = terms.variable(name, low, high, bits)
        if low != high:
            self.facts += [found.expr >= low, found.expr <= high]
        return found

    def _link(self) -> None:
        """Where a membrane and the spikes that it caused both stand for anything, the spikes are those of the membrane."""
        cut: dict[Any, dict[str, Term]] = {}
        for name, term in self.seen.items():
            anchor = self.reading.anchor(self._source_of(name)) if self._is_cut(name) else None
            if anchor is not None:
                cut.setdefault((anchor.layer, anchor.step), {})[anchor.kind] = term
        for (layer, _), found in cut.items():
            lif = next(lif for lif in self.prover.network.lif_layers if lif.name == layer)
            delayed = lif.reset_timing is ResetTiming.DELAYED or lif.reset_mechanism is ResetMechanism.NONE
            if {"mem", "spk"} <= set(found) and delayed and lif.graded is None and lif.max_spikes == 1:
                theta = int(np.broadcast_to(lif.theta, self.prover.network.signals[layer].shape)[self.element])
                moved = terms.constant(theta - self.reading.offsets.get(layer, 0))
                fired = terms.greater(found["mem"], moved, equal=lif.compare is Compare.INCLUSIVE)
                spk = found["spk"]
                wrong = terms.differ(spk, terms.number(fired) if isinstance(spk, Number) else fired)
                self.facts.append(z3.Not(wrong))

    def _made(self, name: str) -> Term:
        """By the node that makes it."""
        tensor = self.reading.constant(name)
        if tensor is not None:
            return terms.constant(self._at(tensor).item())
        site = self.reading.by_name.get(name)
        if site is None:
            if name in self.bodies:
                return self._value(self.bodies[name])
            raise NoProofError(f"{name} comes from outside")
        node = site.node
        if node.op_type in PRODUCTS:
            return self._product(node, name)
        handler = getattr(self, f"_{node.op_type.lower()}", None)
        if handler is not None:
            return handler(node, name)
        if node.op_type not in terms.ELEMENTWISE:
            raise NoProofError(node.op_type)
        return terms.ELEMENTWISE[node.op_type]([None if value == "" else self._value(value) for value in node.input])

    def _at(self, array: Any) -> Any:
        """A constant at the neuron, as it broadcasts to a batch of samples."""
        if array.size == 1:
            return array.reshape(-1)[0]
        index = (
            self.element[-array.ndim :]
            if array.ndim <= len(self.element)
            else (0,) * (array.ndim - len(self.element)) + self.element
        )
        return array[tuple(i if size > 1 else 0 for i, size in zip(index, array.shape, strict=True))]

    def _product(self, node: NodeProto, name: str) -> Number:
        """Any sum that the weights of one channel allow."""
        weight = weights(self.reading, node.input[1])
        if weight is None:
            raise NoProofError("weights that are no constant")
        first = node.op_type in ("Conv", "ConvInteger")
        column = weight[self.element[0]] if first else weight[:, self.element[-1]]
        low, high = self._range(node.input[0])
        ends = [(int(w) * low, int(w) * high) for w in column.reshape(-1)]
        if first:  # a window over the edge meets zeros
            ends = [(min(a, b, 0), max(a, b, 0)) for a, b in ends]
        found = self._variable(name, sum(min(e) for e in ends), sum(max(e) for e in ends))
        if first and len(node.input) == 3:
            return terms.add(found, terms.constant(self._at_channel(node.input[2])))
        return found

    def _at_channel(self, name: str) -> Any:
        numbers = self.reading.constant(name)
        if numbers is None:
            raise NoProofError("a bias that is no constant")
        return numbers.reshape(-1)[self.element[0]].item()

    def _range(self, name: str) -> tuple[int, int]:
        """The integers that a product takes: an input's format with and without its zero point, or spikes."""
        while name not in {source.name for source in self.prover.network.inputs}:
            anchor, site = self.reading.anchor(name), self.reading.by_name.get(name)
            if anchor is not None or site is None:
                signal = None if anchor is None else self.prover.network.signals[anchor.layer]
                if signal is None or anchor is None or anchor.kind != "spk":
                    break
                return min(0, int(signal.lows.min())), max(0, int(signal.highs.max()))
            if ends := self.reading.ends(site):
                return int(ends[0]), int(ends[1])
            if site.node.op_type not in ("Cast", "Reshape", "Identity", "Concat", "Min", "Sub", "Add", "Transpose", "Scan"):
                break
            name = site.node.input[0] if site.node.op_type != "Scan" else self._stacked(site.node, name)
        for source in self.prover.network.inputs:
            if source.name == name:
                fmt = source.format
                ends_ = (fmt.lowest, fmt.highest, fmt.lowest - fmt.zero_point, fmt.highest - fmt.zero_point, 0)
                return min(ends_), max(ends_)
        raise NoProofError(f"what {name} is, is not known")

    def _stacked(self, node: NodeProto, name: str) -> str:
        body = body_of(node)
        made = body.output[list(node.output).index(name)].name
        return str(made)

    def _scan(self, node: NodeProto, name: str) -> Term:
        return self._value(self._stacked(node, name))

    def _reshape(self, node: NodeProto, name: str) -> Term:
        """Of samples and steps only, which the shape of one sample shows."""
        return self._value(node.input[0])

    def _concat(self, node: NodeProto, name: str) -> Term:
        """All steps: any of them, since each is equal to that of the original."""
        raise NoProofError("steps that were put together")

    def _split(self, node: NodeProto, name: str) -> Term:
        """One step of all: the product differs from step to step."""
        return self._piece(node.input[0], str(list(node.output).index(name)))

    def _gather(self, node: NodeProto, name: str) -> Term:
        step = self.reading.number(node.input[1])
        if step is None:
            raise NoProofError("a selection")
        return self._piece(node.input[0], str(int(step)))

    def _piece(self, source: str, step: str) -> Term:
        inner = _Neuron(self.prover, self.reading, source, self.element, self.from_zero)
        found = inner._made(source)
        return self._renamed(found, inner, step)

    def _renamed(self, found: Term, inner: _Neuron, step: str) -> Term:
        """The same formula with the variables of one step."""
        if not isinstance(found, Number):
            raise NoProofError("steps of truth values")
        names = {str(variable): variable for fact in inner.facts for variable in _variables(fact)}
        pairs = [(variable, z3.Int(f"{name}@{step}")) for name, variable in names.items()]
        self.facts += [z3.substitute(fact, *pairs) for fact in inner.facts]
        expr = found.expr if isinstance(found.expr, int) else z3.substitute(found.expr, *pairs)
        return Number(expr, found.low, found.high, found.bits)

    def _averagepool(self, node: NodeProto, name: str) -> Number:
        """The mean of as many sums as its window has; at an edge there are zeros among them."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        size, found = int(np.prod(attributes["kernel_shape"])), terms.number(self._value(node.input[0]))
        if size & (size - 1) or found.bits:
            raise NoProofError(f"a mean of {size}")
        low, high = found.low, found.high
        if any(attributes["pads"]):
            low, high = min(low, 0), max(high, 0)
        return self._variable(name, size * low, size * high, size.bit_length() - 1)

    def _cast(self, node: NodeProto, name: str) -> Term:
        kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        value = self._value(node.input[0])
        if kind == np.bool_:
            return terms.truth(value)
        found = terms.number(value)
        if kind.kind == "f":
            return found
        whole = found if found.bits == 0 else terms.toward_zero(Number(found.expr, found.low, found.high), 1 << found.bits)
        ends = np.iinfo(kind)
        return terms.wrapped(whole, int(ends.min), int(ends.max))

    def _dequantizelinear(self, node: NodeProto, name: str) -> Term:
        scale, zero = self._value(node.input[1]), terms.constant(0)
        if len(node.input) == 3:
            zero = terms.number(self._value(node.input[2]))
        return terms.mul(terms.sub(terms.number(self._value(node.input[0])), zero), terms.number(scale))

    def _quantizelinear(self, node: NodeProto, name: str) -> Term:
        """round half-even(x / 1) + zero point, brought into the range of its type."""
        if self.reading.number(node.input[1]) != 1:
            raise NoProofError("a scale other than 1")
        zero = self.reading.constant(node.input[2])
        assert zero is not None
        moved = terms.add(terms.half_even(terms.number(self._value(node.input[0]))), terms.constant(int(zero.reshape(-1)[0])))
        ends = np.iinfo(zero.dtype)
        return terms.clip(moved, terms.constant(int(ends.min)), terms.constant(int(ends.max)))

    def _constantofshape(self, node: NodeProto, name: str) -> Term:
        value = next((onnx.numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"), np.zeros(1, np.float32))
        return terms.constant(value.reshape(-1)[0].item())


def _variables(expr: Any) -> Iterator[Any]:
    if z3.is_const(expr) and expr.decl().kind() == z3.Z3_OP_UNINTERPRETED:
        yield expr
    for child in expr.children():
        yield from _variables(child)
