"""``verify(module=net)`` finds out by itself how forward is called."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, lower


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.context = nn.Linear(5, 4), nn.Linear(3, 4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_((parameter * 64).round() / 32)
        self.lif = Leaky(230 / 256, state_quant=FixedPoint(8, 5))


class CountsByArgument(Layers):
    """The number of steps is an argument with another default."""

    def forward(self, x: Tensor, num_steps: int = 7) -> Tensor:
        mem, spikes = self.lif.reset_mem(), []
        for _ in range(num_steps):
            spk, mem = self.lif(self.fc(x), mem)
            spikes.append(spk)
        return torch.stack(spikes)


class BatchFirstWithContext(Layers):
    """A sequence (B, T, ...) beside a static input."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        mem, spikes, constant = self.lif.reset_mem(), [], self.context(context)
        for t in range(x.shape[1]):
            spk, mem = self.lif(self.fc(x[:, t]) + constant, mem)
            spikes.append(spk)
        return torch.stack(spikes, dim=1)


@pytest.mark.parametrize(
    ("make", "sample", "steps"),
    [
        (CountsByArgument, (torch.zeros(2, 5), 12), 12),
        (CountsByArgument, torch.zeros(2, 5), 7),
        (BatchFirstWithContext, (torch.zeros(2, 9, 5), torch.zeros(2, 3)), 9),
    ],
)
def test_the_module_is_run_as_it_was_lowered(make: Any, sample: Any, steps: int, tmp_path: Path) -> None:
    net = make()
    formats = {"x": "spikes", "context": "spikes"} if make is BatchFirstWithContext else "spikes"
    network = lower(net, sample, input_format=formats)
    assert isinstance(network, IntegerNetwork)
    assert network.num_steps == steps
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    report = qleaky.verify(tmp_path / "net.onnx", network, module=net)
    assert (report.verdict, report.torch_verdict, report.mismatches) == ("proved", "proved", 0)


def test_a_module_that_runs_another_number_of_steps_is_refused(tmp_path: Path) -> None:
    class Always7(CountsByArgument):
        def forward(self, x: Tensor, num_steps: int = 7) -> Tensor:
            return super().forward(x, 7)

    network = lower(CountsByArgument(), (torch.zeros(2, 5), 12), input_format="spikes")
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    with pytest.raises(qleaky.QleakyError, match=r"forward runs 7 steps"):
        qleaky.verify(tmp_path / "net.onnx", network, module=Always7())
