"""Programs that step neurons: every state and current of each layer, or random ones, through the generated C."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from qleaky.export.c.interface import ConstArray
from qleaky.export.c.neuron import NeuronCode, mem_type, neuron_code, syn_type
from qleaky.integer import LIF, Signal
from qleaky.integer.bounds import LayerBounds
from qleaky.integer.reach import Interval, reach
from qleaky.reference import arrays

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZED = ["-O1", "-fsanitize=undefined,integer-divide-by-zero", "-fno-sanitize-recover=all"]
HEAD = """#include <stdint.h>
#ifdef __cplusplus
#define QLEAKY_INLINE inline
#else
#define QLEAKY_INLINE static inline
#endif
"""


@dataclass(frozen=True, eq=False)
class Case:
    """A layer with what feeds it, and its C under a prefix of its own."""

    layer: LIF
    x: Signal
    bounds: LayerBounds
    code: NeuronCode
    prefix: str

    @classmethod
    def of(cls, layer: LIF, x: Signal, bounds: LayerBounds, prefix: str) -> "Case":
        return cls(layer, x, bounds, neuron_code(layer, x, bounds, prefix=prefix), prefix)

    def states(self) -> Interval:
        """The membranes that each neuron can have before a step."""
        layer, current = self.layer, Interval(self.x.lows, self.x.highs)
        if layer.synapse is not None:
            current = reach(layer.synapse, current, layer.current_shift(self.x)).charged
        found = reach(layer, current, layer.membrane_shift(self.x)).state
        return Interval(*(np.broadcast_to(bound, self.x.shape) for bound in found))

    def synapses(self) -> Interval:
        assert self.layer.synapse is not None
        found = reach(self.layer.synapse, Interval(self.x.lows, self.x.highs), self.layer.current_shift(self.x)).state
        return Interval(*(np.broadcast_to(bound, self.x.shape) for bound in found))

    def source(self) -> str:
        """Constants, functions and a loop over (neuron, U, J, I) -> (U, J, emission)."""
        syn = self.layer.synapse is not None
        lines = self.code.update(mem="mem", syn="syn" if syn else None, current="c[3]", index="c[0]", emitted="n")
        states = [f"{mem_type(self.layer)} mem = ({mem_type(self.layer)})c[1];"]
        states += [f"{syn_type(self.layer)} syn = ({syn_type(self.layer)})c[2];"] if syn else []
        body = "\n    ".join([*states, *lines, f"c[1] = mem; c[2] = {'syn' if syn else '0'}; c[3] = n;"])
        constants = "".join(_array(constant) for constant in self.code.constants)
        return f"{constants}{self.code.functions}\nstatic void run_{self.prefix}(int32_t *c) {{\n    {body}\n}}\n"

    def all_cases(self, limit: int, seed: int = 0) -> NDArray[np.int32]:
        """Every (neuron, U, J, I) if these are no more than ``limit``, else so many at random, with the ends of ranges."""
        r, rows = np.random.default_rng(seed), []
        membranes, currents = self.states(), np.broadcast_arrays(self.x.lows, self.x.highs, np.zeros(self.x.shape))
        synapses = membranes if self.layer.synapse is None else self.synapses()
        for k in range(self.x.shape[0]):
            ends = [(int(part[0][k]), int(part[1][k])) for part in (membranes, synapses, currents)]
            if self.layer.synapse is None:
                ends[1] = (0, 0)
            rows.append(_rows(r, k, ends, limit // self.x.shape[0]))
        return np.concatenate(rows).astype(np.int32)

    def expected(self, cases: NDArray[np.int32]) -> NDArray[np.int64]:
        """The same by the reference."""
        neuron, mem, syn, current = cases.astype(np.int64).T
        layer = _spread(self.layer, neuron, self.x.shape)
        shift = layer.current_shift(self.x)
        if layer.synapse is not None:
            syn = current = arrays.synapse_step(layer.synapse, syn, current, shift).kept
        after, spikes = arrays.lif_step(layer, mem, current, layer.membrane_shift(self.x))
        emitted = spikes if layer.graded is None else spikes * layer.graded
        return np.stack([neuron, after, syn, emitted], axis=1)


def _array(constant: ConstArray) -> str:
    numbers = ", ".join(str(number) for number in constant.values.tolist())
    return f"static const {constant.ctype} {constant.name}[] = {{{numbers}}};\n"


def _rows(r: np.random.Generator, neuron: int, ends: list[tuple[int, int]], limit: int) -> NDArray[Any]:
    if np.prod([float(high - low + 1) for low, high in ends]) <= limit:
        grid = np.meshgrid([neuron], *(np.arange(low, high + 1) for low, high in ends), indexing="ij")
    else:
        grid = [np.full(limit, neuron)]
        for low, high in ends:
            numbers = r.integers(low, high + 1, limit)
            numbers[r.random(limit) < 0.05], numbers[r.random(limit) < 0.05] = low, high
            grid.append(numbers)
    return np.stack([np.ravel(axis) for axis in grid], axis=1)


def _spread(layer: LIF, neuron: NDArray[Any], shape: tuple[int, ...]) -> LIF:
    """The layer with the constants of the neuron of each case."""

    def own(values: Any) -> Any:
        return None if values is None else np.broadcast_to(values, shape).reshape(-1)[neuron]

    synapse = layer.synapse and replace(layer.synapse, multiplier=own(layer.synapse.multiplier))
    numbers = {name: own(getattr(layer, name)) for name in ("theta", "multiplier", "graded")}
    return replace(layer, synapse=synapse, **numbers)


def program(cases: list[Case]) -> str:
    """All layers in one program: ``program INDEX < cases > results``."""
    table = ", ".join(f"run_{case.prefix}" for case in cases)
    main = f"""
#include <stdio.h>
#include <stdlib.h>
static void (*const table[])(int32_t *) = {{{table}}};
int main(int argc, char **argv) {{
    int32_t c[4];
    const int index = argc > 1 ? atoi(argv[1]) : 0;
    while (fread(c, sizeof c, 1, stdin) == 1) {{
        table[index](c);
        fwrite(c, sizeof c, 1, stdout);
    }}
    return 0;
}}
"""
    return HEAD + "".join(case.source() for case in cases) + main


def build(folder: Path, text: str, compiler: str = "gcc", flags: list[str] = SANITIZED) -> Path:
    source, made = folder / "neurons.c", folder / f"neurons-{compiler}"
    source.write_text(text)
    subprocess.run([compiler, *WARNINGS, *flags, str(source), "-o", str(made)], check=True, capture_output=True, text=True)
    return made


def results(binary: Path, index: int, cases: NDArray[np.int32]) -> NDArray[np.int32]:
    done = subprocess.run([str(binary), str(index)], input=cases.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.int32).reshape(-1, 4)
