"""Programs for the host that run generated models on given inputs, and what all of their states were."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from export.c.product_programs import RUNTIME, SANITIZERS, WARNINGS
from export.c.product_programs import compiler as installed
from numpy.typing import NDArray

from qleaky import IntegerNetwork, run
from qleaky.export.c.interface import BITS, CModel, Tensor
from qleaky.export.c.model import c_model
from qleaky.export.c.weights import weights_source

COMPILERS = {name: [name, *options] for name, options in SANITIZERS.items()}
Arrays = dict[str, NDArray[Any]]


def assert_computes(
    network: IntegerNetwork, arrays: Arrays, folder: Path, *, compilers: Sequence[str] = tuple(COMPILERS)
) -> CModel:
    """Every membrane, emission and synaptic current of every step, and every output, are the reference's."""
    model = c_model(network)
    wanted = recorded(network, arrays)
    for name in compilers:
        assert differing(computed(model, arrays, folder / name, compiler=name), wanted) == []
    return model


def computed(model: CModel, arrays: Arrays, folder: Path, *, compiler: str = "gcc") -> Arrays:
    """What a model computes, built with sanitizers."""
    installed(compiler)
    return executed(model, build(model, folder, COMPILERS[compiler]), arrays)


def differing(got: Arrays, wanted: Arrays) -> list[str]:
    """The names of what is not equal."""
    assert set(got) == set(wanted)
    return [name for name, array in wanted.items() if not np.array_equal(got[name], array)]


def recorded(network: IntegerNetwork, arrays: Arrays) -> Arrays:
    """What the reference says of a run; of spikes, the class that a model tells is that of the last step."""
    found = run(network, arrays)
    kinds = {"mem": found.membranes, "spk": found.spikes, "syn": found.synapses}
    wanted = {f"{layer}.{kind}": array for kind, arrays in kinds.items() for layer, array in arrays.items()}
    wanted |= {f"output {readout.layer}": found.spikes[readout.layer] for readout in network.readouts}
    for readout in network.readouts:
        numbers, classes = network.output_name(readout), network.output_name(readout, "class")
        if readout.kind != "spikes":
            wanted[f"readout {numbers}"] = found.outputs[numbers]
        if readout.argmax:
            wanted[f"readout {classes}"] = found.outputs[classes][-1 if readout.kind == "spikes" else slice(None)]
    return wanted


def write(model: CModel, folder: Path) -> Path:
    """The generated files, with a main of :func:`main_text`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "qleaky_model.h").write_text(model.header)
    (folder / "qleaky_model.c").write_text(model.source)
    (folder / "qleaky_weights.c").write_text(weights_source(model))
    (folder / "main.c").write_text(main_text(model))
    return folder


def build(model: CModel, folder: Path, command: Sequence[str]) -> Path:
    """The program."""
    write(model, folder)
    sources = [str(folder / name) for name in ("qleaky_model.c", "qleaky_weights.c", "main.c")]
    line = [*command, "-std=c99", *WARNINGS, f"-I{RUNTIME}", f"-I{folder}", *sources, "-o", str(folder / "program")]
    built = subprocess.run(line, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "program"


def executed(model: CModel, program: Path, arrays: Arrays) -> Arrays:
    """All states (T, B, ...) and readouts (B, ...) that the program prints."""
    static = {port.name: port.static for port in model.inputs}
    batch = next(array.shape[0 if static[name] else 1] for name, array in arrays.items())
    given = bytearray()
    for sample in range(batch):
        for step in range(model.num_steps):
            for port in model.inputs:
                array = arrays[port.name]
                if not port.static or step == 0:
                    given += packed(port.tensor, array[sample] if port.static else array[step, sample])
    ran = subprocess.run([str(program), str(batch)], input=bytes(given), capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    return _decoded(model, memoryview(ran.stdout), batch)


def packed(tensor: Tensor, codes: NDArray[Any]) -> bytes:
    """Codes as the step function takes them; the bits behind the last are ones."""
    if tensor.ctype != BITS:
        return codes.astype(tensor.ctype.removesuffix("_t")).tobytes()
    bits = np.ones(tensor.words * 32, np.uint8)
    bits[: tensor.elements] = codes.reshape(-1)
    return np.packbits(bits, bitorder="little").tobytes()


def unpacked(tensor: Tensor, data: bytes) -> NDArray[Any]:
    """The codes of a tensor from its bytes; bits behind the last must be zeros."""
    if tensor.ctype != BITS:
        return np.frombuffer(data, tensor.ctype.removesuffix("_t")).astype(np.int64).reshape(tensor.shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    assert not bits[tensor.elements :].any()
    return bits[: tensor.elements].astype(np.int64).reshape(tensor.shape)


def _decoded(model: CModel, data: memoryview, batch: int) -> Arrays:
    named = [(f"{t.layer}.{t.kind}", t.tensor) for t in model.tensors]
    named += [(f"output {port.layer}", port.tensor) for port in model.spikes]
    found: dict[str, list[Any]] = {name: [] for name, _ in named} | {f"readout {r.output}": [] for r in model.readouts}
    at = 0

    def taken(tensor: Tensor) -> NDArray[Any]:
        nonlocal at
        at += tensor.size
        return unpacked(tensor, bytes(data[at - tensor.size : at]))

    for _ in range(batch):
        steps = [[taken(tensor) for _, tensor in named] for _ in range(model.num_steps)]
        for i, (name, _) in enumerate(named):
            found[name].append([step[i] for step in steps])
        for readout in model.readouts:
            found[f"readout {readout.output}"].append(taken(Tensor("", "int32_t", (readout.elements,))))
    assert at == len(data)
    states = {name: np.array(found[name]).swapaxes(0, 1) for name, _ in named}
    shapes = {readout.output: _shape(model, readout.output) for readout in model.readouts}
    return states | {
        f"readout {name}": np.array(found[f"readout {name}"]).reshape(batch, *shape) for name, shape in shapes.items()
    }


def _shape(model: CModel, output: str) -> tuple[int, ...]:
    """The shape of a readout's numbers or classes, from its layer's."""
    layer = output.rpartition(".")[0] or model.spikes[0].layer
    shape = next(port.tensor.shape for port in model.spikes if port.layer == layer)
    return shape[:-1] if output.endswith("class") else shape


def main_text(model: CModel) -> str:
    """A main that reads inputs, runs the model from a state full of rubbish, and writes states and readouts."""
    name = model.name
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", '#include "qleaky_model.h"', ""]
    lines += [f"static {name}_state state;"]
    ports = [(port.argument, port.tensor) for port in (*model.inputs, *model.spikes)]
    lines += [f"static {_element(tensor)} {argument}[{tensor.words}];" for argument, tensor in ports]
    lines += ["", "static void put(const void *data, size_t size) { if (fwrite(data, 1, size, stdout) != size) abort(); }"]
    lines += ["static void get(void *data, size_t size) { if (fread(data, 1, size, stdin) != size) abort(); }", ""]
    lines += ["int main(int argc, char **argv)", "{", "    const int samples = argc > 1 ? atoi(argv[1]) : 0;"]
    lines += ["    for (int sample = 0; sample < samples; ++sample) {"]
    lines += ["        memset(&state, 0xA5, sizeof state);", f"        {name}_reset(&state);"]
    lines += [f"        for (int t = 0; t < {model.num_steps}; ++t) {{"]
    for port in model.inputs:
        read = f"get({port.argument}, sizeof {port.argument});"
        lines.append(f"            {'if (t == 0) ' if port.static else ''}{read}")
    given = [f"t == 0 ? {port.argument} : NULL" if port.static else port.argument for port in model.inputs]
    lines.append(
        f"            {model.step_function}({', '.join(['&state', *given, *(port.argument for port in model.spikes)])});"
    )
    lines += [f"            put(state.{t.tensor.field}, sizeof state.{t.tensor.field});" for t in model.tensors]
    lines += [f"            put({port.argument}, sizeof {port.argument});" for port in model.spikes] + ["        }"]
    for readout in model.readouts:
        lines.append(f"        for (uint32_t k = 0; k < {readout.elements}; ++k) {{")
        lines += [f"            const int32_t number = (int32_t){readout.function}(&state, k);"]
        lines += ["            put(&number, sizeof number);", "        }"]
    return "\n".join([*lines, "    }", "    return 0;", "}", ""])


def _element(tensor: Tensor) -> str:
    return "uint32_t" if tensor.ctype == BITS else tensor.ctype
