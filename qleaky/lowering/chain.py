"""From a step graph to an ordered list of layers, each with its source; everything that has no place in it is listed."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from qleaky.brevitas_adapter import from_brevitas
from qleaky.errors import InputError, LoweringError
from qleaky.fixed import QFormat
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import Surrogate
from qleaky.tracing import Call, StepGraph

_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_HINTS = {
    "BatchNorm": "fold it into the layer before it",
    "ReLU": "spikes need none; drop it",
    "Conv": "convolutions are not supported yet; use Linear layers",
    "Pool": "pooling is not supported yet; use Linear layers",
    "Flatten": "flatten the input before the network",
    "snntorch.Leaky": "construct a qleaky.Leaky with the same arguments and load its state_dict",
    "snntorch.": "only Leaky is supported",
}


@dataclass(frozen=True)
class Stage:
    """One layer of the chain: its name, its module, and the name of what feeds it."""

    name: str
    module: nn.Module
    source: str


@dataclass(frozen=True)
class Chain:
    """The layers in order of execution, the format of a quantizer on the input, and the layer that is read out."""

    stages: tuple[Stage, ...]
    input_format: QFormat | None
    last_lif: str


def resolve(graph: StepGraph, *, readout_given: bool) -> Chain:
    """The chain of a step graph.

    Raises:
        LoweringError: with every operation, layer and state that it cannot place.
    """
    resolver = _Resolver(graph)
    for call in graph.calls:
        resolver.place(call)
    resolver.problems += [
        f"{read.name} at {read.where!r} reads the values of the data, so forward may do something else for other inputs; "
        f"leave it out."
        for read in graph.reads
    ]
    resolver.problems += graph.changes
    resolver.check_operations(readout_given)
    resolver.check_data_inputs()
    last = resolver.last_lif()
    if resolver.problems:
        listed = "\n".join(f"  - {problem}" for problem in resolver.problems)
        raise LoweringError(f"The network cannot be lowered:\n{listed}")
    return Chain(tuple(resolver.stages), resolver.input_format, last)


class _Resolver:
    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.stages: list[Stage] = []
        self.problems: list[str] = []
        self.input_format: QFormat | None = None
        self.sources = {graph.inputs[p]: "input" for p in graph.data}
        self.membranes: dict[int, str] = {}
        self.calls = Counter(call.path for call in graph.calls)

    def place(self, call: Call) -> None:
        """Give one call its place in the chain."""
        name = call.path
        if name == "input":
            self.problems.append("a layer is called 'input', which names the network's input; rename it.")
        if call.dtype not in (torch.float32, torch.float64):
            self.problems.append(
                f"layer {name!r} computes in {call.dtype}; leave autocast out of forward, and call net.float()."
            )
        if self.calls[call.path] > 1:
            self.problems.append(
                f"layer {name!r} is called {self.calls[call.path]} times in one forward. Let forward compute one step and pass "
                f"num_steps=T, or call {name}.sequence once."
            )
            self.calls[call.path] = 1
        source = self._source(call, name)
        if isinstance(call.module, Leaky):
            self._place_leaky(call, name, source)
        elif isinstance(call.module, nn.Linear):
            self._check_linear(call.module, name)
            self._add(call, name, source)
        elif isinstance(call.module, _TRANSPARENT) or (isinstance(call.module, nn.Flatten) and self._keeps_shape(call)):
            self.sources[call.outputs[0]] = source
        elif isinstance(call.module, FixedPoint) or hasattr(call.module, "act_quant"):
            self._place_quantizer(call, name, source)
        else:
            self.problems.append(self._unsupported(call, name))

    def _source(self, call: Call, name: str) -> str:
        """The name of what feeds a call."""
        value = call.inputs[0] if call.inputs else -1
        if value in self.membranes:
            self.problems.append(f"layer {name!r} takes the membrane of {self.membranes[value]!r} as data; pass its spikes.")
        return self.sources.get(value, "")

    def _add(self, call: Call, name: str, source: str) -> None:
        self.stages.append(Stage(name, call.module, source))
        self.sources[call.outputs[0]] = name

    def _check_linear(self, module: nn.Module, name: str) -> None:
        for place in ("input_quant", "output_quant"):
            if getattr(getattr(module, place, None), "is_quant_enabled", False):
                self.problems.append(
                    f"layer {name!r} has an {place}, which cannot be lowered; quantize the network's input with a layer of its "
                    f"own, and membranes with state_quant."
                )

    def _place_leaky(self, call: Call, name: str, source: str) -> None:
        self._add(call, name, source)
        self.problems += [f"layer {name!r}: {override}" for override in overrides(call.module)]
        if len(call.outputs) > 1:
            self.membranes[call.outputs[1]] = name
        if self.graph.convention == "sequence":
            self._check_sequence(call, name)
        else:
            self._check_step(call, name)

    def _check_sequence(self, call: Call, name: str) -> None:
        if call.method != "sequence":
            self.problems.append(
                f"layer {name!r} computes one step, but num_steps is not given. Pass num_steps=T and one step's input, or call "
                f"{name}.sequence on the whole sequence."
            )
        if not call.starts_at_zero:
            self.problems.append(f"layer {name!r} starts from a membrane that is not zero; an exported network starts at zero.")

    def _check_step(self, call: Call, name: str) -> None:
        if call.method == "sequence":
            self.problems.append(
                f"layer {name!r} runs a whole sequence, but num_steps is given, which says forward is one step. Leave it out."
            )
            return
        if name in self.graph.resets:
            self.problems.append(
                f"forward sets the membrane of {name!r} itself (reset_mem, or mem = ...), so its state is lost after each "
                f"step; do so between sequences."
            )
        if call.mem is None:
            return
        if call.mem not in self.graph.inputs:
            self.problems.append(
                f"the membrane passed to {name!r} is made inside forward, so its state is lost after each step. Take it as an "
                f"argument of forward and return the new one, or use init_hidden=True."
            )
        elif call.outputs[1] not in self.graph.outputs:
            self.problems.append(f"forward takes the membrane of {name!r} but does not return the new one; return it.")

    def _place_quantizer(self, call: Call, name: str, source: str) -> None:
        """A quantizer on the network's input declares the input's format; elsewhere it has no place."""
        if source != "input" or self.stages or self.input_format is not None:
            self.problems.append(
                f"layer {name!r} quantizes what {source!r} emits; only the input and the states may be quantized."
            )
            return
        try:
            self.problems += [f"layer {name!r}: {override}" for override in overrides(call.module)]
            quantizer = call.module if isinstance(call.module, FixedPoint) else from_brevitas(call.module)
        except InputError as error:
            self.problems.append(f"layer {name!r}: {error}")
            return
        self.input_format = quantizer.format
        self.sources[call.outputs[0]] = source

    def _keeps_shape(self, call: Call) -> bool:
        lead = 1 if self.graph.convention == "step" else 2
        return self.graph.input_shape == call.shape[lead:]

    def _unsupported(self, call: Call, name: str) -> str:
        home = type(call.module).__module__.partition(".")[0]
        kind = type(call.module).__name__ if home in ("torch", "qleaky") else f"{home}.{type(call.module).__name__}"
        hint = next((text for part, text in _HINTS.items() if part in kind), "use Linear, QuantLinear and Leaky layers")
        return f"layer {name!r} is a {kind}, which cannot be lowered; {hint}."

    def check_operations(self, readout_given: bool) -> None:
        """Refuse torch functions between layers, and after the last one unless a readout says what leaves the network."""
        read = {v for call in self.graph.calls for v in (*call.inputs, call.mem)}
        for operation in self.graph.operations:
            read |= set(operation.inputs) if set(operation.outputs) & read else set()
        for operation in self.graph.operations:
            if set(operation.outputs) & read:
                self.problems.append(
                    f"{operation.name} at {operation.where!r} stands between layers and cannot be lowered; use layers only."
                )
            elif set(operation.outputs) & set(self.graph.outputs) and not readout_given:
                self.problems.append(
                    f"forward returns the result of {operation.name} at {operation.where!r}. Say what leaves the network with "
                    f"readout='spikes', 'spike_count', 'membrane_mean' or 'last_membrane'."
                )

    def check_data_inputs(self) -> None:
        """Refuse networks with no input, or several."""
        if len(self.graph.data) != 1:
            self.problems.append(f"forward reads {len(self.graph.data)} tensors as data; a network has one input.")
        for stage in self.stages:
            if not stage.source and not self.problems:
                self.problems.append(
                    f"layer {stage.name!r} is not fed by the network's input; its input is made inside forward."
                )

    def last_lif(self) -> str:
        """The one LIF layer whose spikes feed no other layer."""
        fed = {stage.source for stage in self.stages}
        ends = [stage.name for stage in self.stages if isinstance(stage.module, Leaky) and stage.name not in fed]
        if len(ends) != 1 and not self.problems:
            self.problems.append(f"the network ends in {len(ends)} Leaky layers {ends}; it must end in one, which is read out.")
        return ends[0] if ends else ""


def overrides(module: nn.Module) -> list[str]:
    """Where a neuron, its quantizer or its surrogate computes something else than its settings say: by a subclass, or hooks."""
    found = [*_overridden(module, Leaky), *_overridden(module, FixedPoint)]
    if not isinstance(module, Leaky):
        return found
    quantizer, surrogate = module.state_quant, module.spike_grad
    if isinstance(quantizer, FixedPoint):
        found += _overridden(quantizer, FixedPoint)
        if quantizer._forward_hooks or quantizer._forward_pre_hooks or "forward" in vars(quantizer):
            found.append("its state quantizer has hooks or a forward of its own; remove them.")
    if isinstance(surrogate, Surrogate) and type(surrogate).__call__ is not Surrogate.__call__:
        found.append(f"its surrogate {type(surrogate).__name__} replaces the Heaviside step; override gradient only.")
    return found


def _overridden(module: nn.Module, base: type[nn.Module]) -> list[str]:
    if not isinstance(module, base):
        return []
    names = [name for name in vars(base) if not name.startswith("__") or name == "__call__"]
    mine = [n for n in names if inspect.getattr_static(type(module), n) is not inspect.getattr_static(base, n)]
    kind = type(module).__name__
    return [f"{kind} overrides {', '.join(mine)} of {base.__name__}; use {base.__name__} itself."] if mine else []
