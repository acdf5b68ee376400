"""Networks as people write them, with the calibration inputs that each takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

import qleaky
from qleaky import Leaky

T, B, INPUT, HIDDEN, OUTPUT = 6, 24, 5, 8, 3


def lif(**settings: Any) -> Leaky:
    return Leaky(**{"beta": 0.9, "threshold": 0.35} | settings)


@dataclass(frozen=True)
class Case:
    """A network, its calibration inputs, and how its forward is called."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    sample: Callable[[Any], Any] = lambda inputs: inputs[:, :2]


def bits(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def values(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 0.7


class Sequence(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(INPUT, HIDDEN), lif(**settings)
        self.fc2, self.lif2 = nn.Linear(HIDDEN, OUTPUT, bias=False), lif(threshold=0.2)

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.lif1.sequence(self.fc1(x))
        return self.lif2.sequence(self.fc2(spikes))[0]


class Threaded(Sequence):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:
        spk, mem1 = self.lif1(self.fc1(x), mem1)
        spk, mem2 = self.lif2(self.fc2(spk), mem2)
        return spk, mem1, mem2


class Looping(Sequence):
    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, spikes = None, None, []
        for step in x:
            spk, mem1 = self.lif1(self.fc1(step), mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            spikes.append(spk)
        return torch.stack(spikes)


class Static(Sequence):
    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, count = None, None, 0
        current = self.fc1(x)
        for _ in range(T):
            spk, mem1 = self.lif1(current, mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            count = count + spk
        return count


class BatchFirst(Sequence):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(INPUT, HIDDEN), lif(init_hidden=True))])
        self.head = nn.ModuleDict({"fc": nn.Linear(HIDDEN, OUTPUT), "lif": lif(init_hidden=True, threshold=0.25)})

    def forward(self, x: Tensor) -> Tensor:
        return self.head["lif"](self.head["fc"](self.blocks[0](x)))


class Shared(nn.Module):
    """One weighted layer and one neuron layer used twice in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc, self.lif = nn.Linear(INPUT, HIDDEN), nn.Linear(HIDDEN, HIDDEN), lif()

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.lif.sequence(self.first(x))
        spikes, _ = self.lif.sequence(self.fc(spikes))
        return self.lif.sequence(self.fc(spikes))[0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.back, self.lif = nn.Linear(INPUT, HIDDEN), nn.Linear(HIDDEN, HIDDEN), lif()

    def forward(self, x: Tensor) -> Tensor:
        spk, mem, spikes = torch.zeros(x.shape[1], HIDDEN), None, []
        for step in x:
            spk, mem = self.lif(self.fc(step) + self.back(spk), mem)
            spikes.append(spk)
        return torch.stack(spikes)


class Residual(Sequence):
    def __init__(self) -> None:
        super().__init__()
        self.mid, self.lif3 = nn.Linear(HIDDEN, HIDDEN), lif()

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.lif1.sequence(self.fc1(x))
        more, _ = self.lif3.sequence(self.mid(spikes))
        return self.lif2.sequence(self.fc2(spikes + more))[0]


def conv2d() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        lif(init_hidden=True, threshold=0.3),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        lif(init_hidden=True, threshold=0.1),
        nn.Flatten(),
        nn.Linear(16, OUTPUT),
        lif(init_hidden=True, threshold=0.1),
    )


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), lif(init_hidden=True), nn.Flatten(), nn.Linear(24, OUTPUT), lif(init_hidden=True, threshold=0.1)
    )


def batch_norm() -> nn.Module:
    net = nn.Sequential(
        nn.Linear(INPUT, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        lif(init_hidden=True),
        nn.Linear(HIDDEN, OUTPUT),
        lif(init_hidden=True),
    )
    net(bits(200, INPUT))
    net[2].reset_mem(), net[4].reset_mem()
    return net.eval()


def from_snntorch() -> nn.Module:
    layers = [nn.Linear(INPUT, HIDDEN), nn.Linear(HIDDEN, OUTPUT)]
    neurons = [snntorch.Leaky(0.9, threshold=0.3, init_hidden=True) for _ in layers]
    return qleaky.from_snntorch(nn.Sequential(layers[0], neurons[0], layers[1], neurons[1]))


SEQUENCE = (T, B, INPUT)
CASES = {
    "sequence": Case(Sequence, lambda: bits(*SEQUENCE)),
    "values": Case(Sequence, lambda: values(*SEQUENCE)),
    "threaded": Case(
        Threaded,
        lambda: (bits(*SEQUENCE), torch.zeros(B, HIDDEN), torch.zeros(B, OUTPUT)),
        {"num_steps": T},
        lambda inputs: (inputs[0][0, :2], inputs[1][:2], inputs[2][:2]),
    ),
    "nested": Case(Nested, lambda: bits(*SEQUENCE), {"num_steps": T}, lambda inputs: inputs[0, :2]),
    "step on static inputs": Case(Nested, lambda: values(B, INPUT), {"num_steps": T, "time": "static"}, lambda x: x[:2]),
    "loop": Case(Looping, lambda: bits(*SEQUENCE)),
    "static loop": Case(Static, lambda: values(B, INPUT).abs(), {}, lambda x: x[:2]),
    "batch first": Case(BatchFirst, lambda: bits(B, T, INPUT), {}, lambda x: x[:2]),
    "shared": Case(Shared, lambda: bits(*SEQUENCE)),
    "recurrent": Case(Recurrent, lambda: bits(*SEQUENCE)),
    "residual": Case(Residual, lambda: bits(*SEQUENCE)),
    "conv2d": Case(conv2d, lambda: values(T, B, 1, 8, 8), {"num_steps": T}, lambda x: x[0, :2]),
    "conv1d": Case(conv1d, lambda: bits(T, B, 2, 8), {"num_steps": T}, lambda x: x[0, :2]),
    "batch norm": Case(batch_norm, lambda: bits(*SEQUENCE), {"num_steps": T}, lambda x: x[0, :2]),
    "snntorch": Case(from_snntorch, lambda: bits(*SEQUENCE), {"num_steps": T}, lambda x: x[0, :2]),
    "beta per neuron": Case(lambda: Sequence(beta=torch.linspace(0.5, 0.99, HIDDEN), learn_beta=True), lambda: bits(*SEQUENCE)),
    "threshold per neuron": Case(
        lambda: Sequence(threshold=torch.linspace(0.2, 0.5, HIDDEN), learn_threshold=True), lambda: bits(*SEQUENCE)
    ),
    "zero reset in the same step": Case(
        lambda: Sequence(reset_mechanism="zero", reset_timing="same_step", compare="inclusive"), lambda: bits(*SEQUENCE)
    ),
    "graded": Case(lambda: Sequence(graded_spikes_factor=0.75), lambda: bits(*SEQUENCE)),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    net = CASES[name].make()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight.mul_(1.7)
    return net
