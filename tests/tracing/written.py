"""Networks as users write them, and the comparison of their contracts with what torch computes on random inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantLinear, lower
from qleaky.errors import LoweringError

B, T = 3, 6
INPUT, HIDDEN, OUTPUT = 5, 4, 3
SAMPLES = 4  # another batch than the sample's
Function = Callable[..., Any]


def lif(**settings: Any) -> Leaky:
    return Leaky(**{"beta": 230 / 256, "threshold": 0.5, "state_quant": FixedPoint(10, 5)} | settings)


def on_grid(layer: nn.Module, frac_bits: int = 3) -> nn.Module:
    """A layer of torch's own, its weights on a grid."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.round(parameter * 2 * 2**frac_bits) / 2**frac_bits)
    return layer


class Written(nn.Module):
    """Some layers, and a forward that is a function of (layers, x, ...)."""

    def __init__(self, function: Function, **layers: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        hidden = layers.pop("hidden", False)
        self.function = [function]
        self.fc1, self.lif1 = QuantLinear(INPUT, HIDDEN), lif(init_hidden=hidden)
        self.fc2, self.lif2 = QuantLinear(HIDDEN, OUTPUT), lif(init_hidden=hidden)
        for layer in (self.fc1, self.fc2):
            layer.weight.data *= 3
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *arguments: Any) -> Any:
        return self.function[0](self, *arguments)


class Watched:
    """A copy of a network whose Leaky layers note what they emit and keep, call by call.

    ``calls`` names the neurons of a layer that is called several times in a step, in their order.
    """

    def __init__(self, net: nn.Module, calls: dict[str, list[str]]) -> None:
        self.net = copy.deepcopy(net).eval()
        self.calls, self.spikes, self.membranes = calls, {}, {}
        self.count: dict[str, int] = {}
        for path, module in self.net.named_modules():
            if isinstance(module, Leaky):
                module.mem = torch.zeros(0)
                path = path or "leaky"
                module.forward = self._noting(path, module, module.forward, False)
                module.sequence = self._noting(path, module, module.sequence, True)

    def _noting(self, path: str, module: Leaky, function: Function, whole: bool) -> Function:
        def noting(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            spk, mem = result if isinstance(result, tuple) else (result, module.mem)
            names = self.calls.get(path, [path])
            name = names[self.count.get(path, 0) % len(names)]
            self.count[path] = self.count.get(path, 0) + 1
            self.spikes.setdefault(name, []).extend(spk if whole else [spk])
            self.membranes.setdefault(name, []).extend(mem if whole else [mem])
            return result

        return noting


def call(net: nn.Module, *inputs: Tensor) -> None:
    """Forward takes everything at once."""
    net(*inputs)


def steps(net: nn.Module, *inputs: Tensor) -> None:
    """Forward is one step, the layers keep their states."""
    for step in zip(*inputs, strict=True):
        net(*step)


def threaded(*widths: int, back: Sequence[int]) -> Function:
    """Forward is one step, behind x its states of these widths, fed with the results at the places ``back``."""

    def drive(net: nn.Module, x: Tensor) -> None:
        states = [torch.zeros(x.shape[1], width, dtype=x.dtype) for width in widths]
        for step in x:
            results = net(step, *states)
            states = [results[place] for place in back]

    return drive


def compared(net: nn.Module, sample: Any, drive: Function = call, calls: Any = None, **arguments: Any) -> IntegerNetwork:
    """The contract of a network, after comparing every spike and membrane with torch's on random inputs."""
    network = lower(net, sample, **{"input_format": QFormat(6, 2)} | arguments)
    assert isinstance(network, IntegerNetwork), network.reasons
    assert network.proof.exact
    codes, values, rng = {}, [], np.random.default_rng(3)
    for source in network.inputs:
        shape = (*(() if source.time == "static" else (network.num_steps,)), SAMPLES, *source.shape)
        codes[source.name] = rng.integers(source.format.lowest, source.format.highest + 1, shape).astype(source.format.dtype)
        first = sample[0] if isinstance(sample, tuple) else sample
        values.append(torch.from_numpy(source.format.decode(codes[source.name])).to(first.dtype))
    watched = Watched(net, calls or {})
    with torch.no_grad():
        drive(watched.net, *values)
    reference = qleaky.run(network, codes if len(codes) > 1 else codes[network.input.name])
    assert set(reference.spikes) == set(watched.spikes)
    for layer in network.lif_layers:
        spikes, membranes = torch.stack(watched.spikes[layer.name]), torch.stack(watched.membranes[layer.name])
        assert np.array_equal(reference.spikes[layer.name], np.ldexp(spikes.double().numpy(), layer.graded_frac_bits)), (
            layer.name
        )
        assert np.array_equal(reference.membranes[layer.name], np.ldexp(membranes.double().numpy(), layer.state.frac_bits))
        assert reference.spikes[layer.name].any(), f"{layer.name} never fires: the comparison says little"
    return network


def layers_of(network: IntegerNetwork) -> list[tuple[str, str]]:
    return [(layer.name, type(layer).__name__) for layer in network.layers]


def refusal(net: nn.Module, sample: Any, **arguments: Any) -> str:
    """The message with which a network is refused."""
    with pytest.raises(LoweringError) as caught:
        lower(net, sample, **{"input_format": QFormat(6, 2)} | arguments)
    return str(caught.value)


def sequence() -> Tensor:
    return torch.zeros(T, B, INPUT)


def step() -> Tensor:
    return torch.zeros(B, INPUT)


def zeros(net: nn.Module, x: Tensor, width: int = HIDDEN) -> Tensor:
    """What a loop starts a state with."""
    return torch.zeros(x.shape[-2], width)
