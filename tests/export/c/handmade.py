"""A network of two neurons with C written by hand: what surrounds generated code can be tested without what generates it."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from c_folders import manifest

from qleaky import IntegerNetwork, QFormat
from qleaky.export.c.folder import write_folder
from qleaky.export.c.interface import BITS, CModel, ConstArray, InputPort, ReadoutFunction, SpikePort, StateTensor, Tensor
from qleaky.export.c.project import project_files
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.reference import run

SPIKES = QFormat(1, 0, signed=False)
WEIGHTS = np.array([[3, -2, 4], [1, 5, -6]], np.int8)


def network(steps: int = 5, **parts: Any) -> IntegerNetwork:
    """Three inputs, two neurons without leak: U = saturate(U + W x - 5 R), S = U > 5; the class is the busier of the two."""
    layers = (
        Linear(name="fc", input="input", weight=WEIGHTS, weight_frac_bits=0),
        LIF(name="lif", input="fc", state=QFormat(8, 0), theta=np.array(5)),
    )
    readouts = (Readout("lif", "spike_count", argmax=True),)
    return IntegerNetwork(inputs=(Input((3,), SPIKES),), num_steps=steps, layers=layers, readouts=readouts, **parts)


HEADER = """\
#ifndef NAME_QLEAKY_MODEL_H
#define NAME_QLEAKY_MODEL_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define NAME_STEPS STEPS
typedef struct NAME_state {
    uint32_t steps;
    int32_t lif_sum[2];
    int8_t lif_mem[2];
} NAME_state;
void NAME_reset(NAME_state *state);
void NAME_step(NAME_state *state, const uint32_t *in_bits, uint32_t *out_bits);
int32_t NAME_count(const NAME_state *state, uint32_t element);
uint32_t NAME_argmax(const NAME_state *state, uint32_t row);
#ifdef __cplusplus
}
#endif
#endif
"""

SOURCE = """\
#include "qleaky_model.h"
extern const int8_t NAME_fc_weights[6];
void NAME_reset(NAME_state *state)
{
    state->steps = 0u;
    for (uint32_t k = 0u; k < 2u; ++k) {
        state->lif_sum[k] = 0;
        state->lif_mem[k] = 0;
    }
}
void NAME_step(NAME_state *state, const uint32_t *in_bits, uint32_t *out_bits)
{
    uint32_t emitted = 0u;
    for (uint32_t k = 0u; k < 2u; ++k) {
        const int32_t before = state->lif_mem[k];
        int32_t sum = before - (before > 5 ? 5 : 0);
        for (uint32_t j = 0u; j < 3u; ++j) {
            sum += ((in_bits[0] >> j) & 1u) != 0u ? NAME_fc_weights[3u * k + j] : 0;
        }
        sum = sum > 127 ? 127 : (sum < -128 ? -128 : sum);
        state->lif_mem[k] = (int8_t)sum;
        emitted |= (sum > 5 ? 1u : 0u) << k;
        if (state->steps < STEPSu) {
            state->lif_sum[k] += sum > 5 ? 1 : 0;
        }
    }
    state->steps += state->steps < STEPSu ? 1u : 0u;
    if (out_bits != 0) {
        out_bits[0] = emitted;
    }
}
int32_t NAME_count(const NAME_state *state, uint32_t element)
{
    return state->lif_sum[element];
}
uint32_t NAME_argmax(const NAME_state *state, uint32_t row)
{
    (void)row;
    return state->lif_sum[1] > state->lif_sum[0] ? 1u : 0u;
}
"""


def model(name: str = "model", steps: int = 5) -> CModel:
    """The network's C."""
    header, source = (text.replace("NAME", name).replace("STEPSu", f"{steps}u") for text in (HEADER, SOURCE))
    return CModel(
        name=name,
        digest=network(steps).digest,
        num_steps=steps,
        step_function=f"{name}_step",
        inputs=(InputPort("input", "in_bits", Tensor("", BITS, (3,)), False),),
        spikes=(SpikePort("lif", "out_bits", Tensor("", BITS, (2,))),),
        tensors=(StateTensor("lif", "mem", Tensor("lif_mem", "int8_t", (2,))),),
        readouts=(
            ReadoutFunction("spike_count", f"{name}_count", "numbers", 2),
            ReadoutFunction("class", f"{name}_argmax", "class", 1),
        ),
        constants=(ConstArray(f"{name}_fc_weights", "int8_t", WEIGHTS.reshape(-1)),),
        header=header.replace(f"{name}_STEPS STEPS", f"{name}_STEPS {steps}u"),
        source=source,
        runtime=(),
        state_size=16,
    )


def fnv(data: bytes) -> int:
    """32-bit FNV-1a, as its authors define it."""
    found = 2166136261
    for byte in data:
        found = ((found ^ byte) * 16777619) % (1 << 32)
    return found


def golden(steps: int = 5, samples: int = 6) -> GoldenRuns:
    """Random spikes, and digests of what the reference computes of them."""
    codes = np.random.default_rng(0).integers(0, 2, (steps, samples, 3)).astype(np.uint8)
    found = run(network(steps), codes)
    states = {"mem": found.membranes["lif"], "spk": found.spikes["lif"]}
    digests: Any = {("lif", kind): _of_steps(kind, array) for kind, array in states.items()}
    outputs = {name: np.array([_of_output(name, one) for one in array], np.uint32) for name, array in found.outputs.items()}
    return GoldenRuns({"input": codes}, digests, outputs)


def _of_steps(kind: str, array: Any) -> Any:
    def digest(t: int, codes: Any) -> int:
        return fnv(f"qleaky-digest-1 lif {kind} {t} 2\n".encode() + codes.astype("<i4").tobytes())

    return np.array([[digest(t, codes) for codes in batch] for t, batch in enumerate(array)], np.uint32)


def _of_output(name: str, numbers: Any) -> int:
    return fnv(f"qleaky-output-1 {name} {np.size(numbers)}\n".encode() + np.asarray(numbers).astype("<i4").tobytes())


def folder(directory: Path, name: str = "model") -> Path:
    """The whole folder of the hand-written model."""
    described = msgspec.structs.replace(manifest({}), name=name)
    write_folder(directory, project_files(model(name), vectors_source(model(name), golden()), described))
    return directory
