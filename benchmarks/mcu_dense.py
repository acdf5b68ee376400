"""784-256-10 as dense C on int8 weights, for comparison: every weight times its input, spike or none.

Two ways of the sums: a dot product per output, as anyone would write it; and CMSIS-NN's ``arm_fully_connected_s8``, from a
checkout of its own (https://github.com/ARM-software/CMSIS-NN, no part of this project). The neurons are the same code.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcu_networks import STATE, Workload
from numpy.typing import NDArray

from qleaky.integer import Linear

CMSIS = {
    "arm_fully_connected_s8.c": "Source/FullyConnectedFunctions",
    "arm_nn_vec_mat_mult_t_s8.c": "Source/NNSupportFunctions",
}
HEAD = """\
#include "qleaky_model.h"

static int8_t lif(int32_t u, int32_t current, int32_t current_scale)
{
    const int32_t sum = 230 * u + current_scale * current - (u > 32 ? 256 * 32 : 0);
    const int32_t v = (sum + 128) >> 8;
    return (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
}

static void unpack(const uint32_t *bits, uint32_t count, uint8_t *x)
{
    for (uint32_t i = 0u; i < count; ++i) {
        x[i] = (uint8_t)((bits[i / 32u] >> (i % 32u)) & 1u);
    }
}
"""
DOT = """\
static void layer(const int8_t *w, const uint8_t *x, uint32_t inputs, int8_t *mem, uint32_t outputs, uint32_t *spikes)
{
    for (uint32_t i = 0u; i < (outputs + 31u) / 32u; ++i) {
        spikes[i] = 0u;
    }
    for (uint32_t o = 0u; o < outputs; ++o) {
        int32_t sum = 0;
        for (uint32_t j = 0u; j < inputs; ++j) {
            sum += w[j] * x[j];
        }
        w += inputs;
        mem[o] = lif(mem[o], sum, CURRENT_SCALE);
        spikes[o / 32u] |= (uint32_t)(mem[o] > 32) << (o % 32u);
    }
}
"""
CALL = """\
#include "arm_fully_connected_s8.c"
#include "arm_nn_vec_mat_mult_t_s8.c"

static void layer(const int8_t *w, const uint8_t *x, uint32_t inputs, int8_t *mem, uint32_t outputs, uint32_t *spikes)
{
    static int8_t currents[256];
    static const int32_t none[256];
    const cmsis_nn_context context = {(void *)0, 0};
    const cmsis_nn_fc_params parameters = {0, 0, 0, {-128, 127}};
    const cmsis_nn_per_tensor_quant_params scale = {1073741824, 1 - CURRENT_SHIFT};
    const cmsis_nn_dims from = {1, 1, 1, (int32_t)inputs}, filter = {(int32_t)inputs, 1, 1, (int32_t)outputs};
    const cmsis_nn_dims to = {1, 1, 1, (int32_t)outputs};
    (void)arm_fully_connected_s8(&context, &parameters, &scale, &from, (const int8_t *)x, &filter, w, &to, none, &to, currents);
    for (uint32_t i = 0u; i < (outputs + 31u) / 32u; ++i) {
        spikes[i] = 0u;
    }
    for (uint32_t o = 0u; o < outputs; ++o) {
        mem[o] = lif(mem[o], currents[o], 256);
        spikes[o / 32u] |= (uint32_t)(mem[o] > 32) << (o % 32u);
    }
}
"""
TAIL = """\
extern const int8_t dense_fc1[256 * 784], dense_fc2[10 * 256];

void model_reset(model_state *state)
{
    volatile uint8_t *const bytes = (volatile uint8_t *)state;
    for (uint32_t i = 0u; i < sizeof *state; ++i) {
        bytes[i] = 0u;
    }
}

void model_step(model_state *state, const uint32_t *in_bits, uint32_t *out_bits)
{
    uint8_t *const x = (uint8_t *)state->scratch_u16;
    unpack(in_bits, 784u, x);
    layer(dense_fc1, x, 784u, state->lif1_mem, 256u, state->lif1_spk);
    unpack(state->lif1_spk, 256u, x);
    layer(dense_fc2, x, 256u, state->lif2_mem, 10u, state->lif2_spk);
    for (uint32_t k = 0u; k < 10u; ++k) {
        state->lif2_count[k] += (int32_t)(state->lif2_spk[0] >> k & 1u);
    }
    if (out_bits != (uint32_t *)0) {
        out_bits[0] = state->lif2_spk[0];
    }
}

int32_t model_count(const model_state *state, uint32_t element)
{
    return state->lif2_count[element];
}

uint32_t model_argmax(const model_state *state, uint32_t row)
{
    uint32_t best = row * 10u;
    for (uint32_t k = 1u; k < 10u; ++k) {
        best = state->lif2_count[k] > state->lif2_count[best] ? k : best;
    }
    return best;
}
"""


def dense_files(work: Workload) -> dict[str, str]:
    """Dot products; their spikes and membranes are the reference's."""
    return {"qleaky_model.c": _scales(work) + HEAD + DOT + TAIL, "qleaky_weights.c": _weights(work)}


def cmsis_files(work: Workload, checkout: Path) -> dict[str, str]:
    """CMSIS-NN's sums; it rounds currents to 8 bits, so that spikes can differ."""
    files = {"qleaky_model.c": _scales(work) + HEAD + CALL + TAIL, "qleaky_weights.c": _weights(work), "string.h": STRING}
    for header in (checkout / "Include").rglob("*.h"):
        files[header.relative_to(checkout / "Include").as_posix()] = header.read_text()
    return files | {name: (checkout / folder / name).read_text() for name, folder in CMSIS.items()}


def revision(checkout: Path) -> str:
    """Which CMSIS-NN it is: what its file REVISION says, or else the commit."""
    if (told := checkout / "REVISION").is_file():
        return told.read_text().strip()
    found = subprocess.run(["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "of an unknown revision"


# The harness is built without built-in functions, with which four bytes would be copied by a call.
STRING = """\
#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
#define memcpy __builtin_memcpy
"""


def _linear(work: Workload) -> list[Linear]:
    return [layer for layer in work.network.layers if isinstance(layer, Linear)]


def _scales(work: Workload) -> str:
    shift = _linear(work)[0].weight_frac_bits - STATE.frac_bits
    return f"#define CURRENT_SHIFT {shift}\n#define CURRENT_SCALE {1 << (8 - shift)}\n"


def _weights(work: Workload) -> str:
    arrays: Mapping[str, NDArray[Any]] = {f"dense_{layer.name}": layer.weight.reshape(-1) for layer in _linear(work)}
    lines = ["#include <stdint.h>"]
    for name, values in arrays.items():
        numbers = ", ".join(map(str, values.tolist()))
        lines += [f"extern const int8_t {name}[{values.size}];", f"const int8_t {name}[{values.size}] = {{{numbers}}};"]
    return "\n".join(lines) + "\n"
