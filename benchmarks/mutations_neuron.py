"""One value of one neuron, in an ONNX graph from qleaky, as a formula of the values around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mutations_terms as terms
import numpy as np
import onnx
import z3
from mutations_dirty import weights
from mutations_terms import NoProofError, Number, Term
from onnx import NodeProto, TensorProto, helper

from qleaky import IntegerNetwork
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming
from qleaky.integer.reach import Interval
from qleaky.verification.mutants.reading import PRODUCTS, Reading, body_of, state_count

Element = tuple[int, ...]
States = dict[tuple[str, str], Interval]


@dataclass(frozen=True, eq=False)
class Contract:
    """A network, and the states that its layers ("mem", "syn") can reach."""

    network: IntegerNetwork
    states: States


@dataclass(frozen=True)
class Found:
    found: Term
    facts: list[Any]


class Neuron:
    """One value of one neuron as a formula of the values around it."""

    def __init__(
        self, contract: Contract, reading: Reading, original: Reading, target: str, element: Element, *, from_zero: bool
    ) -> None:
        self.contract, self.reading, self.original = contract, reading, original
        self.target, self.element, self.from_zero = target, element, from_zero
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

    def term(self) -> Found:
        """The target."""
        if self.from_zero and (self.next or self.reading.form == "step"):
            raise NoProofError("only unrolled graphs run from zero here")
        found = self._made(self.target)
        self._link()
        return Found(found, self.facts)

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
        signal = self.contract.network.signals[layer]
        if kind == "spk":
            if self._type(name) == TensorProto.BOOL:
                return z3.Bool(name)
            low, high = (int(np.broadcast_to(ends, signal.shape)[self.element]) for ends in (signal.lows, signal.highs))
            return self._variable(name, low, high)
        low, high = (int(np.broadcast_to(ends, signal.shape)[self.element]) for ends in self.contract.states[layer, kind])
        offset = self.reading.offsets.get(layer, 0) if kind == "mem" else 0
        return self._variable(name, low - offset, high - offset)

    def _source_of(self, name: str) -> str:
        """What a state handed on was in the step before."""
        made = self.next.get(name, name)
        site = self.reading.by_name.get(made)
        original = self.original.by_name.get(made)
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
            if anchor is not None:  # in a body, states of the step before are not those of the step that it makes
                cut.setdefault((anchor.layer, anchor.step, name in self.next), {})[anchor.kind] = term
        for (layer, *_), found in cut.items():
            lif = next(lif for lif in self.contract.network.lif_layers if lif.name == layer)
            delayed = lif.reset_timing is ResetTiming.DELAYED or lif.reset_mechanism is ResetMechanism.NONE
            if {"mem", "spk"} <= set(found) and delayed and lif.graded is None and lif.max_spikes == 1:
                theta = int(np.broadcast_to(lif.theta, self.contract.network.signals[layer].shape)[self.element])
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
        while name not in {source.name for source in self.contract.network.inputs}:
            anchor, site = self.reading.anchor(name), self.reading.by_name.get(name)
            if anchor is not None or site is None:
                signal = None if anchor is None else self.contract.network.signals[anchor.layer]
                if signal is None or anchor is None or anchor.kind != "spk":
                    break
                return min(0, int(signal.lows.min())), max(0, int(signal.highs.max()))
            if ends := self.reading.ends(site):
                return int(ends[0]), int(ends[1])
            if site.node.op_type not in ("Cast", "Reshape", "Identity", "Concat", "Min", "Sub", "Add", "Transpose", "Scan"):
                break
            name = site.node.input[0] if site.node.op_type != "Scan" else self._stacked(site.node, name)
        for source in self.contract.network.inputs:
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
        inner = Neuron(self.contract, self.reading, self.original, source, self.element, from_zero=self.from_zero)
        found = inner._made(source)
        return self._renamed(found, inner, step)

    def _renamed(self, found: Term, inner: Neuron, step: str) -> Term:
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
