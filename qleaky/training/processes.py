"""One process, or those that ``torchrun`` started: who writes, who computes which samples, how results come together."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qleaky.errors import InputError

PATIENCE = datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """This process's place among all of them."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this one reads and writes files."""
        return self.rank == 0

    def part(self, batch: Tensor, dim: int = 0) -> Tensor:
        """This process's share of a batch, which may be empty."""
        return torch.tensor_split(batch, self.count, dim)[self.rank]

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes."""
        if self.count == 1:
            return net
        return DistributedDataParallel(net, device_ids=[self.device] if self.device.type == "cuda" else None)

    def total(self, *numbers: float) -> list[float]:
        """Sums over all processes, in float64."""
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def from_first(self, data: bytes | None) -> bytes | None:
        """What the first process holds, in all of them: only it needs to see the output folder."""
        if self.count == 1:
            return data
        held = [data]
        dist.broadcast_object_list(held, src=0, device=self.device)
        return held[0]


@contextlib.contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the group that torchrun's environment describes (RANK, WORLD_SIZE, MASTER_ADDR), or be the only process.

    A group that the caller has made already is used as it is, and left open.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where there is one. The group uses NCCL on CUDA, else gloo.

    Raises:
        InputError: CUDA is asked for and absent.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device here. Use --device cpu, or install torch with CUDA.")
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(device=torch.device("cuda" if cuda else "cpu"))
        return
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(place)
    mine = not dist.is_initialized()
    if mine:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), place)
    finally:
        if mine:
            dist.destroy_process_group()
