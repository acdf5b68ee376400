"""The unrolled graph of a FloatNetwork, in torch's order of operations; measured, never proved."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from qleaky.dynamics import (
    Compare,
    MulShift,
    ResetMechanism,
    RoundingSite,
    ShiftDecay,
    float32_carries,
    resets_early,
    resets_late,
)
from qleaky.export.forms import BATCH, probe_name
from qleaky.export.onnx_graph import GraphBuilder
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import FloatLIF, FloatLinear, FloatNetwork


def unrolled_float(network: FloatNetwork) -> GraphBuilder:
    """As :func:`qleaky.export.forms.unrolled`, with a float32 input of values and float32 membranes."""
    graph = GraphBuilder()
    sequence = network.input.time == "sequence"
    shape = network.input.shape
    source = graph.input("input", np.float32, (network.num_steps, BATCH, *shape) if sequence else (BATCH, *shape))
    x = source if sequence else graph.op("Unsqueeze", source, graph.constant([0], np.int64))
    values, shapes, moving = {"input": x}, {"input": shape}, {"input": sequence}
    membranes: dict[str, list[ir.Value]] = {}
    for layer in network.layers:
        if isinstance(layer, FloatLinear):
            values[layer.name] = _linear(graph, layer, values[layer.input])
            shapes[layer.name] = (*shapes[layer.input][:-1], layer.weight.shape[0])
            moving[layer.name] = moving[layer.input]
            continue
        shapes[layer.name], moving[layer.name] = shapes[layer.input], True
        step = FloatLIFOps(graph, layer, (1, BATCH, *shapes[layer.name]))
        pieces = (
            graph.split(values[layer.input], network.num_steps)
            if moving[layer.input]
            else [values[layer.input]] * network.num_steps
        )
        membranes[layer.name], spikes = step.run(pieces)
        values[layer.name] = spikes[0] if len(spikes) == 1 else graph.op("Concat", *spikes, axis=0)
    _read_out(graph, network, values, membranes, shapes)
    for lif in network.lif_layers:
        final = graph.op("Squeeze", membranes[lif.name][-1], graph.constant([0], np.int64))
        graph.output(f"{lif.name}.final_mem", final, np.float32, (BATCH, *shapes[lif.name]))
    return graph


def _linear(graph: GraphBuilder, layer: FloatLinear, x: ir.Value) -> ir.Value:
    product = graph.op("MatMul", x, graph.constant(layer.weight.T, np.float32, f"{layer.name}.weight"))
    if layer.bias is None:
        return product
    return graph.op("Add", product, graph.constant(layer.bias, np.float32, f"{layer.name}.bias"))


class FloatLIFOps:
    """The operators of one float LIF layer."""

    def __init__(self, graph: GraphBuilder, layer: FloatLIF, shape: Any) -> None:
        self.graph = graph
        self.layer = layer
        self.shape = shape
        wide = layer.state is not None and not float32_carries(layer.state, layer.overflow)
        self.dtype: Any = np.float64 if wide else np.float32
        self.theta = self.number(layer.theta)

    def number(self, value: Any) -> ir.Value:
        """A constant in the type that carries the step, as in torch: float64 for wide or wrapping states."""
        return self.graph.constant(value, self.dtype)

    def cast(self, x: ir.Value, target: Any, **named: Any) -> ir.Value:
        """``x`` in another float type; unchanged where it is the same and needs no name."""
        if self.dtype == np.float32:
            return self.graph.op("Identity", x, **named) if named else x
        return self.graph.op("Cast", x, to=int(ir.DataType.from_numpy(np.dtype(target))), **named)

    def run(self, currents: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        """All steps: membranes and spikes, in float32."""
        mem = self.graph.op("Mul", self.cast(currents[0], self.dtype), self.number(0.0))
        mems, spikes = [], []
        for t, current in enumerate(currents):
            mem, spk = self.step(mem, self.cast(current, self.dtype))
            names = (probe_name(self.layer.name, kind, t) for kind in ("mem", "spk"))
            narrow = [
                self.cast(value, np.float32, name=name, dtype=np.float32, shape=self.shape)
                for value, name in zip((mem, spk), names, strict=True)
            ]
            mems.append(narrow[0])
            spikes.append(narrow[1])
        return mems, spikes

    def step(self, mem: ir.Value, current: ir.Value) -> tuple[ir.Value, ir.Value]:
        """(U[t-1], I[t]) -> (U[t], S[t]); ``qleaky._lif.lif_step`` states the equations."""
        layer, op = self.layer, self.graph.op
        early = resets_early(layer.reset_mechanism, layer.reset_timing)
        late = resets_late(layer.reset_mechanism, layer.reset_timing)
        zero, one = self.number(0.0), self.number(1.0)
        reset = self.fires(mem) if early else None
        kept = op("Where", reset, zero, mem) if reset is not None and layer.reset_mechanism is ResetMechanism.ZERO else mem
        charged = op("Add", self.decayed(kept), current)
        if reset is not None and layer.reset_mechanism is ResetMechanism.SUBTRACT:
            charged = op("Sub", charged, op("Where", reset, self.theta, zero))
        charged = self.quantized(charged)
        fired = self.fires(charged)
        spk = op("Where", fired, self.number(layer.graded), zero)
        if not late:
            return charged, spk
        down = self.theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else charged
        due = op("Where", fired, one, zero)
        due = due if reset is None else op("Sub", due, op("Where", reset, one, zero))
        return op("Sub", charged, op("Mul", due, down)), spk

    def fires(self, mem: ir.Value) -> ir.Value:
        """U - theta > 0, or >= 0."""
        kind = "Greater" if self.layer.compare is Compare.STRICT else "GreaterOrEqual"
        return self.graph.op(kind, mem, self.theta)

    def decayed(self, mem: ir.Value) -> ir.Value:
        """beta * U, rounded to the grid on its own where the layer says so."""
        layer, op = self.layer, self.graph.op
        if isinstance(layer.decay, ShiftDecay) and layer.state is not None:
            codes = op("Mul", mem, self.number(2.0**layer.state.frac_bits))
            lost = op("Floor", op("Mul", codes, self.number(2.0**-layer.decay.k)))
            if layer.decay.at_least_one:
                lost = op("Where", op("Equal", lost, self.number(0.0)), op("Sign", codes), lost)
            return op("Mul", op("Sub", codes, lost), self.number(layer.state.step))
        product = op("Mul", self.number(layer.beta), mem)
        if layer.rounding_site is RoundingSite.SUM or layer.state is None:
            return product
        rounding = layer.decay.rounding if isinstance(layer.decay, MulShift) and layer.decay.rounding else layer.rounding
        return op("Mul", self._rounded(product, layer.state, rounding), self.number(layer.state.step))

    def quantized(self, mem: ir.Value) -> ir.Value:
        """The state quantizer: fixed-point, nearest level, or none."""
        layer, op = self.layer, self.graph.op
        if layer.levels is not None:
            distance = op(
                "Abs", op("Sub", op("Unsqueeze", mem, self.graph.constant([-1], np.int64)), self.number(layer.levels))
            )
            nearest = op("ArgMin", distance, axis=-1, keepdims=0, select_last_index=0)
            return op("Gather", self.number(layer.levels), nearest)
        if layer.state is None:
            return mem
        fmt, codes = layer.state, self._rounded(mem, layer.state, layer.rounding)
        if layer.overflow is Overflow.WRAP:
            span = self.number(float(1 << fmt.bits))
            turns = op("Floor", op("Div", op("Sub", codes, self.number(float(fmt.lowest))), span))
            codes = op("Sub", codes, op("Mul", turns, span))
        else:
            codes = op("Clip", codes, self.number(float(fmt.lowest)), self.number(float(fmt.highest)))
        return op("Mul", codes, self.number(fmt.step))

    def _rounded(self, x: ir.Value, fmt: QFormat, rounding: Rounding) -> ir.Value:
        """round(x * 2**frac_bits), carried in float32."""
        op, scale = self.graph.op, 2.0**fmt.frac_bits
        match rounding:
            case Rounding.HALF_UP:
                return op("Ceil", op("Mul", op("Floor", op("Mul", x, self.number(2 * scale))), self.number(0.5)))
            case Rounding.FLOOR:
                return op("Floor", op("Mul", x, self.number(scale)))
            case Rounding.HALF_EVEN:
                return op("Round", op("Mul", x, self.number(scale)))
            case Rounding.TOWARD_ZERO:
                scaled = op("Mul", x, self.number(scale))
                return op("Mul", op("Floor", op("Abs", scaled)), op("Sign", scaled))


def _read_out(graph: GraphBuilder, network: FloatNetwork, values: Any, membranes: Any, shapes: Any) -> None:
    readout, T = network.readout, network.num_steps
    shape: tuple[Any, ...] = (BATCH, *shapes[readout.layer])
    axis = graph.constant([0], np.int64)
    match readout.kind:
        case "spikes":
            graph.output("spikes", values[readout.layer], np.float32, (T, *shape))
            return
        case "spike_count":
            result = _sum(graph, values[readout.layer], axis)
        case "membrane_mean":
            mems = membranes[readout.layer]
            result = _sum(graph, mems[0] if T == 1 else graph.op("Concat", *mems, axis=0), axis)
        case "last_membrane":
            result = graph.op("Squeeze", membranes[readout.layer][-1], axis)
    graph.output(readout.output_name, result, np.float32, shape)
    if readout.argmax:
        winner = graph.op("ArgMax", result, axis=-1, keepdims=0, select_last_index=0)
        graph.output("class", winner, np.int64, shape[:-1])


def _sum(graph: GraphBuilder, values: ir.Value, axis: ir.Value) -> ir.Value:
    """The sum over time, in float64 and rounded to float32 once, so that its order hardly ever matters."""
    wide = graph.op("Cast", values, to=int(ir.DataType.DOUBLE))
    return graph.op("Cast", graph.op("ReduceSum", wide, axis, keepdims=0), to=int(ir.DataType.FLOAT))
