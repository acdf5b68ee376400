"""Graphs of whole sequences: stages of layers, each over all time steps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from qleaky.export.block import Block
from qleaky.export.graph import BATCH, TIME, Graph, Shape
from qleaky.export.loops import Loop, Scanned, Unrolled
from qleaky.export.partition import Stage, stages
from qleaky.export.wires import Wire
from qleaky.integer.graph import MAX_STEPS
from qleaky.integer.layers import Delay

Key = tuple[str, str]


class Plan:
    """Which layers of a network run together, and what is recorded of those that run step by step.

    ``inside``: all that changes with time is one stage, step by step; else matrix products are hoisted out of time.
    """

    def __init__(self, network: Any, *, inside: bool, probe: bool) -> None:
        self.network, self.probe = network, probe
        self.lifs = {lif.name: lif for lif in network.lif_layers}
        stateful = frozenset(self.lifs) | {layer.name for layer in network.layers if isinstance(layer, Delay)}
        found = stages(network.layers, stateful)
        self.stages = self._inside(found) if inside else found
        self.wanted = {stage: self._wanted(stage) for stage in self.stages if stage.stepped}

    @property
    def stacked(self) -> frozenset[str]:
        """Layers that run alone and whose spikes are wanted: these may be made of all steps at once."""
        return frozenset(
            stage.layers[0].name
            for stage, wanted in self.wanted.items()
            if len(stage.layers) == 1 and (stage.layers[0].name, "spk") in wanted
        )

    def _inside(self, found: list[Stage]) -> list[Stage]:
        still = [stage for stage in found if not stage.stepped and stage.layers[0].name not in self.network.moving]
        names = {name for stage in still for name in stage.names}
        return [*still, Stage(tuple(layer for layer in self.network.layers if layer.name not in names), True)]

    def _wanted(self, stage: Stage) -> set[Key]:
        """What must be recorded of a block: what is read outside of it, and what leaves the graph."""
        outside = {s for layer in self.network.layers if layer.name not in stage.names for s in layer.inputs}
        wanted = {(name, "spk" if name in self.lifs else "out") for name in outside & stage.names}
        for readout in self.network.readouts:
            kind = {"spikes": "spk", "spike_count": "spk", "membrane_mean": "mem"}.get(readout.kind)
            if kind and readout.layer in stage.names:
                wanted.add((readout.layer, kind))
        if self.probe:
            wanted |= {(name, kind) for name in stage.names & set(self.lifs) for kind in ("spk", "mem")}
        return wanted


class WholeSequence:
    """A network over all its steps. ``dynamic``: the number of steps is that of the input (Scan with a sequence input)."""

    def __init__(self, graph: Graph, plan: Plan, arithmetic: Any, *, scan: bool) -> None:
        self.graph, self.plan, self.network, self.arithmetic = graph, plan, plan.network, arithmetic
        self.lifs, network = plan.lifs, plan.network
        self.sequences = [source for source in network.inputs if source.time == "sequence"]
        self.dynamic = scan and bool(self.sequences)
        self.steps = MAX_STEPS if self.dynamic else network.num_steps
        self.wires: dict[str, Wire] = {}
        self.records: dict[Key, str] = {}
        self.finals: dict[Key, str] = {}
        self._inputs()
        self.loop = self._loop(scan)
        self._take_inputs()
        self._run()

    @property
    def lead(self) -> Shape:
        """The axes of what has a value for each step."""
        return (TIME if self.dynamic else self.network.num_steps, BATCH)

    def _inputs(self) -> None:
        for source in self.network.inputs:
            dims: Shape = self.lead if source.time == "sequence" else (BATCH,)
            self.graph.input(source.name, self.arithmetic.input_type(source), (*dims, *source.shape))

    def _loop(self, scan: bool) -> Loop:
        graph, first = self.graph, (self.sequences or self.network.inputs)[0]
        axis = 1 if first.time == "sequence" else 0
        batch = functools.cache(lambda: graph.op("Shape", first.name, start=axis, end=axis + 1))
        if not scan:
            return Unrolled(graph, self.network.num_steps, batch, gathers=self.arithmetic.portable)
        steps = graph.constant([self.network.num_steps], np.int64)
        return Scanned(graph, graph.op("Shape", first.name, start=0, end=1) if self.dynamic else steps, batch)

    def _take_inputs(self) -> None:
        for source in self.network.inputs:
            value = self.loop.merged(source.name, source.shape) if source.time == "sequence" else source.name
            self.wires[source.name] = self.arithmetic.source(source, value)

    def _run(self) -> None:
        for stage in self.plan.stages:
            if stage.stepped:
                self._run_block(stage)
            else:
                (layer,) = stage.layers
                self.wires[layer.name] = self.arithmetic.apply(
                    self.graph, layer, [self._over_time(layer, s) for s in layer.inputs]
                )

    def _over_time(self, layer: Any, source: str) -> Wire:
        """A source of a layer, for all steps if the layer moves."""
        wire = self.wires[source]
        if layer.name not in self.network.moving or source in self.network.moving:
            return wire
        return wire.at(self.loop.repeated(wire.name, len(self.arithmetic.shape(source)) + 1))

    def _run_block(self, stage: Stage) -> None:
        block = Block(self.arithmetic, stage.layers, frozenset(self.lifs))
        wanted = self.plan.wanted[stage]
        ran = self.loop.run(block, block.enter(self.graph, self.wires), self.network.moving, wanted)
        self.finals |= ran.final
        self.records |= ran.records
        for name, kind in sorted(wanted):
            if kind == "out":
                self.wires[name] = ran.wires[name].at(ran.records[name, kind])
            elif kind == "spk":
                self.wires[name] = self.arithmetic.cell(self.lifs[name]).finish(self.graph, ran.records[name, kind])
