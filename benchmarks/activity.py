"""Synaptic operations of random networks, as qleaky and as NeuroBench's own package count them.

    pip install --no-deps neurobench==2.3.0
    python benchmarks/activity.py

Maps of 4 channels pass a convolution (kernels of 1 to 3, strides 1 to 3, padding 0 to 2, dilation 1 and 2, 1, 2 or 4 groups,
a fifth of the weights zero), LIF neurons and a dense layer; every other network takes spikes, the others 4-bit numbers, half of
them zero. NeuroBench counts each layer's inputs step by step, as the wrapper of a step network hands them to it.
"""

from typing import Any

import numpy as np
import torch
from neurobench.metrics.utils.layers.macs import single_layer_MACs
from torch import nn

from qleaky import IntegerNetwork, QFormat, run
from qleaky.integer import LIF, Conv, Input, Linear, Readout, Reshape
from qleaky.verification.activity import SynapticLayer, activity

NETWORKS, STEPS, SAMPLES, MAP = 60, 3, 6, (4, 9, 8)


def drawn(r: np.random.Generator, spikes: bool) -> IntegerNetwork:
    """One network."""
    groups = int(r.choice([1, 2, 4]))
    kernel, stride, padding, dilation = (tuple(map(int, r.integers(*ends, 2))) for ends in ((1, 4), (1, 4), (0, 3), (1, 3)))
    lif: dict[str, Any] = {"state": QFormat(8, 0), "theta": np.array(3, np.int8)}
    weight = r.integers(-2, 3, (8, 4 // groups, *kernel)).astype(np.int8)
    pads = tuple((size, size) for size in padding)
    window: dict[str, Any] = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    conv = Conv(name="conv", input="input", weight=weight, weight_frac_bits=0, **window)
    fmt = QFormat(1, 0, signed=False) if spikes else QFormat(4, 0)
    shape = conv.output(Input(MAP, fmt).signal).shape
    size = int(np.prod(shape))
    fc = Linear(name="fc", input="flat", weight=r.integers(-2, 3, (5, size)).astype(np.int8), weight_frac_bits=0)
    layers = (
        *(conv, LIF(name="lif", input="conv", **lif), Reshape(name="flat", input="lif", shape=(size,))),
        *(fc, LIF(name="out", input="fc", **lif)),
    )
    return IntegerNetwork(inputs=(Input(MAP, fmt),), num_steps=STEPS, layers=layers, readouts=(Readout("out"),))


def peer(module: nn.Module, steps: list[np.ndarray[Any, Any]]) -> tuple[int, int, int]:
    """Dense operations, ACs and MACs, by NeuroBench."""
    dense = acs = macs = 0
    for x in steps:
        values = torch.tensor(x, dtype=torch.float32)
        operations, spiking = single_layer_MACs(values, module)
        dense += single_layer_MACs(values, module, total=True)[0]
        acs, macs = (acs + operations, macs) if spiking else (acs, macs + operations)
    return dense, acs, macs


def ours(layer: SynapticLayer) -> tuple[int, int, int]:
    """The same, by qleaky."""
    return layer.dense * SAMPLES, layer.acs, layer.macs


def compared(r: np.random.Generator, spikes: bool) -> list[bool]:
    """Whether both count the same, for each layer with weights of one network."""
    network = drawn(r, spikes)
    fmt = network.input.format
    x = r.integers(fmt.lowest, fmt.highest + 1, (STEPS, SAMPLES, *MAP))
    codes = network.encode_all(np.where(r.random(x.shape) < 0.5, x, 0))
    recording = run(network, codes)
    conv, _, _, fc, _ = network.layers
    assert isinstance(conv, Conv)
    assert isinstance(fc, Linear)
    padding = tuple(before for before, _ in conv.pads)
    shape: Any = (conv.weight.shape[2:], conv.stride, padding, conv.dilation, conv.groups)
    modules = (nn.Conv2d(4, 8, *shape, bias=False), nn.Linear(fc.weight.shape[1], 5, bias=False))
    for module, layer in zip(modules, (conv, fc), strict=True):
        module.weight.data = torch.tensor(layer.weight, dtype=torch.float32)
    spikes_in = recording.spikes["lif"].reshape(STEPS, SAMPLES, -1)
    found = activity(network, recording, codes).synaptic
    pairs = zip(modules, (codes["input"], spikes_in), found, strict=True)
    return [peer(module, list(steps)) == ours(layer) for module, steps, layer in pairs]


def main() -> None:
    r = np.random.default_rng(0)
    same = [equal for place in range(NETWORKS) for equal in compared(r, place % 2 == 0)]
    print(f"{len(same)} layers of {NETWORKS} networks: {same.count(False)} counted differently")


if __name__ == "__main__":
    main()
