"""The three networks of the speed benchmarks, for qleaky, snntorch and SpikingJelly, with the same weights and thresholds.

W1 784-256-10, T=25; W2 784-1024-1024-10, T=100; W3 a small convolutional network on 28 x 28, T=25. Inputs are spikes at a rate
of 20 %; weights are int8 codes. 16-bit states: Q8.7, beta = 115/128; 8-bit states: Q4.3, beta = 230/256.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, lower

STATES = {16: (FixedPoint(16, 7), 115 / 128), 8: (FixedPoint(8, 3), 230 / 256)}
THRESHOLD = 1.0


@dataclass(frozen=True)
class Workload:
    """Name, time steps, per-sample shape, and what stands between the Leaky layers."""

    name: str
    num_steps: int
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()

    def currents(self) -> list[nn.Module]:
        """The layers that compute currents, with int8 weights on a grid of 2**-7."""
        torch.manual_seed(0)
        if self.sizes:
            pairs = zip(self.sizes, self.sizes[1:], strict=False)
            layers: list[nn.Module] = [nn.Linear(i, o) for i, o in pairs]
        else:
            layers = [
                nn.Conv2d(1, 8, 3),
                nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 16, 3)),
                nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 10)),
            ]
        for layer in layers:
            for tensor in layer.parameters():
                _set_codes(tensor)
        return layers

    def inputs(self, batch: int) -> Tensor:
        """Spikes (T, B, ...) at a rate of 20 %."""
        generator = torch.Generator().manual_seed(1)
        return (torch.rand(self.num_steps, batch, *self.shape, generator=generator) < 0.2).float()

    def lowered(self, bits: int) -> IntegerNetwork:
        """The contract, spike count and class out."""
        network = lower(
            self.hidden(bits), self.inputs(2)[0], num_steps=self.num_steps, input_format="spikes", readout="spike_count:argmax"
        )
        assert isinstance(network, IntegerNetwork), network.reasons
        return network

    def hidden(self, bits: int) -> nn.Sequential:
        """One step per call, states kept by the layers."""
        state, beta = STATES[bits]
        pairs = ((c, Leaky(beta, THRESHOLD, init_hidden=True, state_quant=state)) for c in self.currents())
        return nn.Sequential(*(module for pair in pairs for module in pair))


W1 = Workload("W1", 25, (784,), (784, 256, 10))
W2 = Workload("W2", 100, (784,), (784, 1024, 1024, 10))
W3 = Workload("W3", 25, (1, 28, 28))
WORKLOADS = (W1, W2, W3)


def _set_codes(tensor: Tensor) -> None:
    """Random int8 codes, of a spread at which neurons fire at rates between a few and some tens of percent."""
    with torch.no_grad():
        fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
        spread = 0.05 if tensor.ndim == 1 else 2.0 / fan_in**0.5
        values = torch.randn(tensor.shape) * spread
        tensor.copy_((values * 128).round().clamp(-127, 127) / 128)


class Loop(nn.Module):
    """A network of any spiking package, as its users write it: a loop over steps, membranes threaded; counts and classes."""

    def __init__(self, currents: Sequence[nn.Module], neurons: Sequence[nn.Module]) -> None:
        super().__init__()
        self.currents, self.neurons = nn.ModuleList(currents), nn.ModuleList(neurons)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, ...) -> spike counts and classes."""
        mems: list[Any] = [neuron.init_leaky() for neuron in self.neurons]
        count: Any = 0
        for t in range(x.shape[0]):
            spk = x[t]
            for i, (current, neuron) in enumerate(zip(self.currents, self.neurons, strict=True)):
                spk, mems[i] = neuron(current(spk), mems[i])
            count = count + spk
        return count, count.argmax(-1)


class Naive(nn.Module):
    """The same with the equations written out, for torch.onnx.export, which cannot take snntorch's layers."""

    def __init__(self, currents: Sequence[nn.Module], beta: float, num_steps: int) -> None:
        super().__init__()
        self.currents, self.beta, self.num_steps = nn.ModuleList(currents), beta, num_steps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, ...) -> spike counts and classes."""
        mems: list[Any] = [None] * len(self.currents)
        count: Any = 0
        for t in range(self.num_steps):
            spk = x[t]
            for i, current in enumerate(self.currents):
                mem = current(spk)
                if mems[i] is not None:
                    mem = self.beta * mems[i] + mem - (mems[i] > THRESHOLD).float() * THRESHOLD
                mems[i], spk = mem, (mem > THRESHOLD).float()
            count = count + spk
        return count, count.argmax(-1)


def snntorch_network(workload: Workload) -> nn.Module:
    """snntorch, float membranes."""
    import snntorch

    beta = STATES[16][1]
    currents = workload.currents()
    return Loop(currents, [snntorch.Leaky(beta, THRESHOLD) for _ in currents]).eval()


class _Stub(types.ModuleType):
    """Stands for a package that is imported and never used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def spikingjelly() -> tuple[Any, Any, Any, Any] | None:
    """Its modules functional, layer, neuron, surrogate; None where it is not installed (pip install --no-deps spikingjelly)."""
    stubs: list[str] = []
    for name in ("torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.transforms", "torchaudio"):
        if name not in sys.modules:
            stubs.append(name)
            sys.modules[name] = _Stub(name)  # imported at its top, needed for its data sets only
    try:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate
    except Exception:  # it fails to import in as many ways as it has optional packages
        return None
    finally:
        for name in stubs:
            del sys.modules[name]
    return functional, layer, neuron, surrogate


def spikingjelly_network(workload: Workload) -> nn.Module | None:
    """SpikingJelly, multi-step mode; None where it is not installed."""
    modules = spikingjelly()
    if modules is None:
        return None
    functional, layer, neuron, _ = modules

    class MultiStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tau = 1 / (1 - STATES[16][1])
            self.parts = nn.ModuleList()
            for current in workload.currents():
                self.parts.append(layer.SeqToANNContainer(current))
                self.parts.append(
                    neuron.LIFNode(tau=tau, decay_input=False, v_threshold=THRESHOLD, v_reset=None, step_mode="m")
                )

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            functional.reset_net(self)
            for part in self.parts:
                x = part(x)
            count = x.sum(0)
            return count, count.argmax(-1)

    return MultiStep().eval()
