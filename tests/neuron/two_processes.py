"""One process of two: the gradients of DistributedDataParallel with its default settings, written to a file.

python two_processes.py RANK RENDEZVOUS RESULT
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qleaky import FixedPoint, Leaky, MulShift

STEPS, SAMPLES = 6, 8


class Net(nn.Module):
    """Two layers; forward is one step with threaded states, one with hidden states, or a whole sequence."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        quantized = {"state_quant": FixedPoint(8, 5), "decay": MulShift(n=8)} if "quantized" in kind else {}
        options = {"init_hidden": "hidden" in kind, "graded_spikes_factor": 1.5, **quantized}
        self.fc1, self.fc2 = nn.Linear(5, 7), nn.Linear(7, 3)
        self.lif1, self.lif2 = Leaky(0.9, learn_beta=True, **options), Leaky(0.8, **options)
        self.kind = kind

    def forward(self, x: Tensor, *mems: Tensor) -> tuple[Tensor, ...]:
        if "sequence" in self.kind:
            return self.lif2.sequence(self.fc2(self.lif1.sequence(self.fc1(x))[0]))
        if "hidden" in self.kind:
            return self.lif2(self.fc2(self.lif1(self.fc1(x)))), self.lif2.mem
        spikes, mem1 = self.lif1(self.fc1(x), mems[0] if mems else None)
        spikes, mem2 = self.lif2(self.fc2(spikes), mems[1] if mems else None)
        return spikes, mem1, mem2


KINDS = ("threaded", "hidden", "sequence", "quantized threaded", "quantized hidden", "quantized sequence")


def data(samples: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(STEPS, samples, 5, generator=draw) * 2, torch.randint(0, 3, (samples,), generator=draw)


def gradients(net: Net, call: Callable[..., tuple[Tensor, ...]], x: Tensor, labels: Tensor) -> list[Tensor]:
    """The time loop is outside of what ``call`` wraps."""
    net.zero_grad(set_to_none=True)
    net.lif1.reset_mem(), net.lif2.reset_mem()
    if "sequence" in net.kind:
        membranes = call(x)[1]
    else:
        mems: tuple[Tensor, ...] = (torch.zeros(0), torch.zeros(0))
        outputs = []
        for x_t in x:
            _, *mems = call(x_t, *mems) if "hidden" not in net.kind else call(x_t)  # type: ignore[assignment]
            outputs.append(mems[-1])
        membranes = torch.stack(outputs)
    nn.functional.cross_entropy(membranes.mean(0), labels).backward()
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def trained(kind: str, rank: int) -> list[Tensor]:
    """Gradients of a whole batch, and of a smaller last one after it."""
    net = Net(kind)
    parallel = DistributedDataParallel(net)
    found = []
    for samples in (SAMPLES, SAMPLES // 2):
        x, labels = data(samples)
        half = slice(rank * samples // 2, (rank + 1) * samples // 2)
        found += gradients(net, parallel, x[:, half], labels[half])
    return found


def main(rank: int, rendezvous: str, result: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    torch.save({kind: trained(kind, rank) for kind in KINDS}, result)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
