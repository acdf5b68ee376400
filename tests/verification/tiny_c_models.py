"""A network small enough to write its C by hand, and its folder: what harness, ports and judge are tried on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.export.c.interface import CModel, ConstArray, InputPort, ReadoutFunction, SpikePort, StateTensor, Tensor
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.export.c.weights import weights_source
from qleaky.integer import LIF, Add, Input, Linear, Readout
from qleaky.verification.mcu.golden_runs import golden_runs

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "export" / "c"
EVENTS, PIXELS, NEURONS, STEPS = 37, 3, 5, 6
_HEADER = """\
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
typedef struct tiny_state {
    int8_t mem[5];
    uint32_t spk[1];
    int32_t count[5];
} tiny_state;
extern const int8_t tiny_events[185];
extern const int8_t tiny_pixels[15];
void tiny_reset(tiny_state *state);
void tiny_step_i8(tiny_state *state, const uint32_t *events, const uint8_t *image, uint32_t *out_bits);
int32_t tiny_count(const tiny_state *state, uint32_t element);
uint32_t tiny_argmax(const tiny_state *state, uint32_t row);
#endif
"""
_SOURCE = """\
#include "qleaky_model.h"
#define THETA 20
void tiny_reset(tiny_state *state)
{
    for (uint32_t k = 0; k < 5u; k++) {
        state->mem[k] = 0;
        state->count[k] = 0;
    }
    state->spk[0] = 0;
}
void tiny_step_i8(tiny_state *state, const uint32_t *events, const uint8_t *image, uint32_t *out_bits)
{
    uint32_t bits = 0;
    for (uint32_t k = 0; k < 5u; k++) {
        int32_t sum = 0;
        for (uint32_t j = 0; j < 37u; j++) {
            sum += ((events[j >> 5] >> (j & 31u)) & 1u) != 0u ? tiny_events[37u * k + j] : 0;
        }
        for (uint32_t j = 0; j < 3u; j++) {
            sum += tiny_pixels[3u * k + j] * ((int32_t)image[j] - 128);
        }
        const int32_t reset = state->mem[k] > THETA ? THETA : 0;
        const int32_t exact = 7 * state->mem[k] + 8 * (sum - reset);
        const int32_t rounded = (exact + 4) >> 3;
        const int32_t mem = rounded > 127 ? 127 : rounded < -128 ? -128 : rounded;
        state->mem[k] = (int8_t)mem;
        bits |= mem > THETA ? 1u << k : 0u;
        state->count[k] += mem > THETA ? 1 : 0;
    }
    state->spk[0] = bits;
    if (out_bits != 0) {
        out_bits[0] = bits;
    }
}
int32_t tiny_count(const tiny_state *state, uint32_t element)
{
    return state->count[element];
}
uint32_t tiny_argmax(const tiny_state *state, uint32_t row)
{
    uint32_t best = 5u * row;
    for (uint32_t k = best + 1u; k < 5u * row + 5u; k++) {
        best = state->count[k] > state->count[best] ? k : best;
    }
    return best - 5u * row;
}
"""


def network(layer: str = "lif") -> IntegerNetwork:
    """Spikes in two words, a static image of bytes, one layer; the count and the class come out, and the spikes."""
    rng = np.random.default_rng(1)
    layers = (
        Linear(name="fc1", input="events", weight=rng.integers(-9, 10, (NEURONS, EVENTS)).astype(np.int8), weight_frac_bits=3),
        Linear(name="fc2", input="image", weight=rng.integers(-1, 2, (NEURONS, PIXELS)).astype(np.int8), weight_frac_bits=3),
        Add(name="sum", inputs=("fc1", "fc2"), signs=(1, 1)),
        LIF(name=layer, input="sum", state=QFormat(8, 3), theta=np.array(20), decay=MulShift(n=3), multiplier=np.array(7)),
    )
    inputs = (Input((EVENTS,), QFormat(1, 0, signed=False), name="events"),)
    inputs += (Input((PIXELS,), QFormat(8, 0, signed=False, zero_point=128), "static", "image"),)
    readouts = (Readout(layer, "spike_count", argmax=True), Readout(layer, "spikes"))
    return IntegerNetwork(inputs=inputs, num_steps=STEPS, layers=layers, readouts=readouts)


def c_model(net: IntegerNetwork, layer: str = "lif") -> CModel:
    """The C of the network, as the exporter would describe it."""
    weights = {x.name: x.weight for x in net.layers if isinstance(x, Linear)}
    bits = Tensor("spk", "bits", (NEURONS,))
    return CModel(
        name="tiny",
        digest=net.digest,
        num_steps=STEPS,
        step_function="tiny_step_i8",
        inputs=(
            InputPort("events", "events", Tensor("events", "bits", (EVENTS,)), static=False),
            InputPort("image", "image", Tensor("image", "uint8_t", (PIXELS,)), static=True),
        ),
        spikes=(SpikePort(layer, "out_bits", bits),),
        tensors=(StateTensor(layer, "mem", Tensor("mem", "int8_t", (NEURONS,))), StateTensor(layer, "spk", bits)),
        readouts=(
            ReadoutFunction(f"{layer}.spike_count", "tiny_count", "numbers", NEURONS),
            ReadoutFunction(f"{layer}.class", "tiny_argmax", "class", 1),
        ),
        constants=(ConstArray("tiny_events", "int8_t", weights["fc1"]), ConstArray("tiny_pixels", "int8_t", weights["fc2"])),
        header=_HEADER,
        source=_SOURCE,
        runtime=(),
        state_size=32,
    )


def write_folder(directory: Path, net: IntegerNetwork, model: CModel, golden: GoldenRuns | None = None) -> Path:
    """The files that a check builds; golden vectors as an export chooses them where none are given."""
    shutil.copytree(OWN / "ports", directory / "ports")
    texts = {
        "qleaky_model.h": model.header,
        "qleaky_model.c": model.source,
        "qleaky_weights.c": weights_source(model),
        "qleaky_vectors.c": vectors_source(model, golden or golden_runs(net)),
    }
    texts |= {name: (OWN / "runtime" / name).read_text() for name in model.runtime}
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory
