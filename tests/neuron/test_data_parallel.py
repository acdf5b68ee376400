"""DistributedDataParallel, default settings, two gloo processes: the gradients of one process with the whole batch."""

import subprocess
import sys

import pytest
import torch
import two_processes
from torch import Tensor
from two_processes import KINDS, SAMPLES, Net, data, gradients

from qleaky import Leaky

Found = dict[str, list[Tensor]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """What each process computed."""
    folder = tmp_path_factory.mktemp("two")
    rendezvous = f"file://{folder / 'rendezvous'}"
    command = [sys.executable, two_processes.__file__]
    running = [subprocess.Popen([*command, str(rank), rendezvous, str(folder / f"{rank}.pt")]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    return torch.load(folder / "0.pt"), torch.load(folder / "1.pt")


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_gradients_of_one(kind: str, found: tuple[Found, Found]) -> None:
    alone = Net(kind)
    expected = [gradient for samples in (SAMPLES, SAMPLES // 2) for gradient in gradients(alone, alone, *data(samples))]
    assert all(gradient.abs().max() > 0 for gradient in expected)
    for mine, other, one in zip(found[0][kind], found[1][kind], expected, strict=True):
        assert torch.equal(mine, other)
        assert torch.allclose(mine, one, rtol=0, atol=1e-6)


def test_a_membrane_is_no_buffer_that_would_be_sent_around() -> None:
    layer = Leaky(0.9, init_hidden=True)
    layer(torch.ones(2, 3))
    assert {name for name, _ in layer.named_buffers()} == {"beta", "threshold", "graded_spikes_factor", "reset_mechanism_val"}
