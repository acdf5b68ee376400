"""The contract's arithmetic as ONNX operators on integers, each exact in ONNX Runtime (opset 21)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from qleaky.dynamics import Compare, MulShift, ResetMechanism, RoundingSite, ShiftDecay, resets_early, resets_late
from qleaky.export.onnx_graph import GraphBuilder
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import LIF, LayerBounds, Linear
from qleaky.integer.bounds import INT32_MAX
from qleaky.integer.layers import Input, Signal, split_signs


class IntegerOps:
    """Operators on one integer type, int32 where the bounds allow it, else int64."""

    def __init__(self, graph: GraphBuilder, dtype: Any) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)

    def constant(self, value: Any) -> ir.Value:
        """A constant of this type."""
        return self.graph.constant(value, self.dtype)

    def cast(self, x: ir.Value) -> ir.Value:
        """Any integer or bool as this type."""
        return self.graph.op("Cast", x, to=int(ir.DataType.from_numpy(self.dtype)))

    def shift_left(self, x: ir.Value, bits: int) -> ir.Value:
        """x * 2**bits."""
        return x if bits == 0 else self.graph.op("Mul", x, self.constant(1 << bits))

    def floor_shift(self, x: ir.Value, bits: int) -> ir.Value:
        """floor(x / 2**bits): clearing the low bits first makes Div, which truncates, exact (BitShift lacks signed types)."""
        if bits == 0:
            return x
        cleared = self.graph.op("BitwiseAnd", x, self.constant(-(1 << bits)))
        return self.graph.op("Div", cleared, self.constant(1 << bits))

    def round_shift(self, x: ir.Value, bits: int, rounding: Rounding) -> ir.Value:
        """round(x / 2**bits); for HALF_UP the caller has already added :meth:`half`."""
        if bits == 0:
            return x
        if rounding is Rounding.TOWARD_ZERO:
            return self.graph.op("Div", x, self.constant(1 << bits))
        if rounding is Rounding.HALF_EVEN:
            odd = self.graph.op("BitwiseAnd", self.floor_shift(x, bits), self.constant(1))
            x = self.graph.op("Add", self.graph.op("Add", x, self.constant((1 << (bits - 1)) - 1)), odd)
        return self.floor_shift(x, bits)

    @staticmethod
    def half(bits: int, rounding: Rounding) -> int:
        """What HALF_UP adds before a floor shift."""
        return 1 << (bits - 1) if bits and rounding is Rounding.HALF_UP else 0

    def fit(self, x: ir.Value, fmt: QFormat, overflow: Overflow, name: str | None, shape: Any) -> ir.Value:
        """Overflow handling, the last operator of a membrane update."""
        if overflow is Overflow.WRAP:
            offset = self.constant(-fmt.lowest)
            low = self.graph.op("BitwiseAnd", self.graph.op("Add", x, offset), self.constant((1 << fmt.bits) - 1))
            return self.graph.op("Sub", low, offset, name=name, dtype=self.dtype, shape=shape)
        return self.graph.op(
            "Clip", x, self.constant(fmt.lowest), self.constant(fmt.highest), name=name, dtype=self.dtype, shape=shape
        )


def linear(graph: GraphBuilder, layer: Linear, x: ir.Value, source: Input | Linear | LIF, bounds: LayerBounds) -> ir.Value:
    """W x + b as MatMulInteger on 8-bit codes where they fit, else as an int32 or int64 MatMul.

    ``source`` is what x comes from: a LIF's u8 spikes, a Linear's sums, or the input's codes, whose zero point goes into
    the bias.
    """
    operand = _eight_bit_operand(graph, layer, x, source)
    if operand is None:
        ops = IntegerOps(graph, np.int32 if bounds.fits_int32 else np.int64)
        wide = input_integers(ops, x, source)
        product = graph.op("MatMul", wide, graph.constant(layer.weight.T, ops.dtype, f"{layer.name}.weight"))
        bias = _bias(layer)
    else:
        codes, offset = operand
        ops = IntegerOps(graph, np.int32 if bounds.accumulate + abs(offset) * _absolute_sum(layer) <= INT32_MAX else np.int64)
        product = graph.op("MatMulInteger", codes, graph.constant(layer.weight.T, np.int8, f"{layer.name}.weight"))
        product = product if ops.dtype == np.int32 else ops.cast(product)
        bias = _bias(layer) + offset * layer.weight.astype(np.int64).sum(axis=1)
    return graph.op("Add", product, graph.constant(bias, ops.dtype, f"{layer.name}.bias")) if bias.any() else product


def _bias(layer: Linear) -> Any:
    return np.zeros(layer.weight.shape[0], np.int64) if layer.bias is None else layer.bias.astype(np.int64)


def _absolute_sum(layer: Linear) -> int:
    """sum|w| of the worst output channel."""
    positive, negative = split_signs(layer.weight)
    return int(max(positive + negative))


def _eight_bit_operand(
    graph: GraphBuilder, layer: Linear, x: ir.Value, source: Input | Linear | LIF
) -> tuple[ir.Value, int] | None:
    """x as an 8-bit operand of MatMulInteger and what it lacks to x: spikes as u8, everything else as i8.

    u8 above 128 times i8 is wrong in ONNX Runtime on AVX2 machines without VNNI, so unsigned bytes move down by 128. None
    where the weights or x need more than 8 bits, or the product more than int32.
    """
    if layer.weight.dtype != np.int8 or 128 * _absolute_sum(layer) > INT32_MAX:
        return None
    if not isinstance(source, Input):
        return (x, 0) if isinstance(source, LIF) else None
    fmt = source.format
    if fmt.bits > 8:
        return None
    if fmt.signed or fmt.highest <= 1:
        return x, -fmt.zero_point
    if fmt.bits < 8:
        return graph.op("Cast", x, to=int(ir.DataType.INT8)), -fmt.zero_point
    ops = IntegerOps(graph, np.int32)
    moved = graph.op("Sub", ops.cast(x), ops.constant(128))
    return graph.op("Cast", moved, to=int(ir.DataType.INT8)), 128 - fmt.zero_point


def input_integers(ops: IntegerOps, x: ir.Value, source: Input | Linear | LIF) -> ir.Value:
    """Codes -> the integers c - zero_point, in the type of ``ops``."""
    wide = ops.cast(x)
    offset = source.format.zero_point if isinstance(source, Input) else 0
    return ops.graph.op("Sub", wide, ops.constant(offset)) if offset else wide


class LIFOps:
    """One LIF layer: the constants of its step, and the operators of a step."""

    def __init__(self, graph: GraphBuilder, layer: LIF, signal: Signal, bounds: LayerBounds) -> None:
        self.graph = graph
        self.layer = layer
        self.ops = IntegerOps(graph, np.int32 if bounds.fits_int32 else np.int64)
        self.shift = layer.input_shift(signal)
        self.extra = layer.extra_bits(signal)
        self.theta = layer.theta.astype(np.int64)

    def current(self, x: ir.Value) -> ir.Value:
        """The current at ``extra`` more bits than the state, with the rounding constant already in it."""
        shifted = self.ops.shift_left(x, self.extra - self.shift)
        half = self.ops.half(self.extra, self.layer.rounding)
        return self.graph.op("Add", shifted, self.ops.constant(half)) if half else shifted

    def step(self, mem: ir.Value, current: ir.Value, names: tuple[str, str], shape: Any) -> tuple[ir.Value, ir.Value]:
        """(U[t-1], I[t]) -> (U[t], S[t]); S is bool. :func:`qleaky.reference.lif_step` states the equations."""
        layer, graph, ops = self.layer, self.graph, self.ops
        late = resets_late(layer.reset_mechanism, layer.reset_timing)
        early = resets_early(layer.reset_mechanism, layer.reset_timing)
        reset = self.fires(mem, None, shape) if early else None
        kept = mem
        if reset is not None and layer.reset_mechanism is ResetMechanism.ZERO:
            kept = graph.op("Where", reset, ops.constant(0), mem)
        total = graph.op("Add", self.decayed(kept), current)
        if reset is not None and layer.reset_mechanism is ResetMechanism.SUBTRACT:
            total = graph.op("Sub", total, graph.op("Where", reset, ops.constant(self.theta << self.extra), ops.constant(0)))
        rounded = ops.round_shift(total, self.extra, layer.rounding)
        charged = ops.fit(rounded, layer.state, layer.overflow, None if late else names[0], shape)
        spikes = self.fires(charged, names[1], shape)
        return (self._reset_after(charged, spikes, reset, names[0], shape) if late else charged), spikes

    def fires(self, mem: ir.Value, name: str | None, shape: Any) -> ir.Value:
        """S = U > theta, or >=."""
        kind = "Greater" if self.layer.compare is Compare.STRICT else "GreaterOrEqual"
        return self.graph.op(kind, mem, self.ops.constant(self.theta), name=name, dtype=np.bool_, shape=shape)

    def decayed(self, mem: ir.Value) -> ir.Value:
        """The decayed membrane at ``extra`` more bits than the state."""
        layer, ops = self.layer, self.ops
        if isinstance(layer.decay, ShiftDecay):
            return ops.shift_left(self._shift_decayed(mem, layer.decay), self.extra)
        if not isinstance(layer.decay, MulShift) or layer.multiplier is None:
            return ops.shift_left(mem, self.extra)
        multiplier, n = layer.multiplier.astype(np.int64), layer.decay.n
        if layer.rounding_site is RoundingSite.SUM:
            return self.graph.op("Mul", mem, ops.constant(multiplier << (self.extra - n)))
        rounding = layer.decay.rounding or layer.rounding
        product = self.graph.op("Mul", mem, ops.constant(multiplier))
        if half := ops.half(n, rounding):
            product = self.graph.op("Add", product, ops.constant(half))
        return ops.shift_left(ops.round_shift(product, n, rounding), self.extra)

    def _shift_decayed(self, mem: ir.Value, decay: ShiftDecay) -> ir.Value:
        lost = self.ops.floor_shift(mem, decay.k)
        if decay.at_least_one:
            none = self.graph.op("Equal", lost, self.ops.constant(0))
            lost = self.graph.op("Where", none, self.graph.op("Sign", mem), lost)
        return self.graph.op("Sub", mem, lost)

    def _reset_after(self, charged: ir.Value, spikes: ir.Value, reset: ir.Value | None, name: str, shape: Any) -> ir.Value:
        """U = V - (S - R) * (theta or V), with R = 0 for a same-step reset."""
        subtract = self.layer.reset_mechanism is ResetMechanism.SUBTRACT
        down = self.ops.constant(self.theta) if subtract else charged
        after = {"name": name, "dtype": self.ops.dtype, "shape": shape}
        zero = self.ops.constant(0)
        taken = self.graph.op("Where", spikes, down, zero)
        if reset is None:
            return self.graph.op("Sub", charged, taken, **after)
        given_back = self.graph.op("Where", reset, down, zero)
        return self.graph.op("Add", self.graph.op("Sub", charged, taken), given_back, **after)
