"""The float graph computes in torch's order of operations: without sums to reorder, every number is the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, FloatNetwork, Leaky, MulShift, ShiftDecay, export_onnx, lower, state_quant, verify
from qleaky.export import onnx_bytes, twin
from qleaky.verification.compare import compare_states
from qleaky.verification.probing import ProbedRunner

T = 8
QUANTIZERS: dict[str, Any] = {
    "none": lambda: False,
    "levels": lambda: state_quant(num_bits=4, threshold=1.0),
    "exponential levels": lambda: state_quant(num_bits=4, uniform=False, threshold=1.0),
    "wrap": lambda: FixedPoint(8, 5, overflow="wrap"),
    "unsigned": lambda: FixedPoint(8, 5, signed=False),
    "16 bits": lambda: FixedPoint(16, 8),
    **{rounding: lambda rounding=rounding: FixedPoint(8, 5, rounding=rounding) for rounding in ("floor", "half_up")},
    **{rounding: lambda rounding=rounding: FixedPoint(8, 5, rounding=rounding) for rounding in ("half_even", "toward_zero")},
}


class Single(nn.Module):
    """One Leaky on its own, fed with the input."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.lif = Leaky(**{"beta": 0.9, "threshold": 1.0} | settings)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.lif.sequence(x)


def sample() -> Tensor:
    """Random numbers, half of them on the grid of the states, where ties and hits of the threshold are."""
    x = torch.randn(T, 64, 5, generator=torch.Generator().manual_seed(0))
    x[:, 32:] = (x[:, 32:] * 32).round() / 32
    return x


def assert_same(net: nn.Module) -> None:
    """Every spike and membrane of ONNX Runtime equals torch's, in every form."""
    network = lower(net, sample())
    assert isinstance(network, FloatNetwork)
    golden = network.golden
    assert 0.01 < (golden.spikes["lif"] != 0).mean() < 0.9
    for form in ("unrolled", "scan", "step"):
        states, _ = ProbedRunner(twin.parse(onnx_bytes(network, form), "the graph"), network).record(golden.inputs)
        found = compare_states(golden.spikes, golden.membranes, states.spikes, states.membranes)
        assert found.mismatches == 0, str(found.first_divergence)


@pytest.mark.parametrize("compare", ["strict", "inclusive"])
@pytest.mark.parametrize("timing", ["delayed", "same_step", "undelayed"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("quantizer", ["none", "levels", "half_up"])
def test_every_reset_and_compare(quantizer: str, mechanism: str, timing: str, compare: str) -> None:
    settings = {"reset_mechanism": mechanism, "reset_timing": timing, "compare": compare}
    assert_same(Single(state_quant=QUANTIZERS[quantizer](), **settings))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_every_state_quantizer(quantizer: str) -> None:
    assert_same(Single(state_quant=QUANTIZERS[quantizer]()))


@pytest.mark.parametrize("decay", [None, MulShift(n=4), MulShift(n=4, rounding="floor"), ShiftDecay(3), ShiftDecay(3, True)])  # type: ignore[arg-type]
@pytest.mark.parametrize("site", ["sum", "decay"])
@pytest.mark.parametrize("quantizer", ["floor", "half_up", "half_even", "toward_zero", "wrap"])
def test_every_decay(quantizer: str, site: str, decay: Any) -> None:
    assert_same(Single(state_quant=QUANTIZERS[quantizer](), decay=decay, rounding_site=site))


def test_settings_of_each_neuron_and_graded_spikes() -> None:
    betas, thresholds = torch.linspace(0.1, 0.99, 5), torch.linspace(0.3, 1.5, 5)
    assert_same(Single(beta=betas, threshold=thresholds, graded_spikes_factor=torch.linspace(0.5, 3, 5)))


@pytest.mark.parametrize("readout", ["spikes", "spike_count", "membrane_mean", "last_membrane", "membrane_mean:argmax"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"state_quant": FixedPoint(8, 5)}, {"graded_spikes_factor": 0.5}],
    ids=["no quantizer", "8 bits", "graded"],
)
def test_every_readout_is_measured_without_differences(settings: Any, readout: str, tmp_path: Path) -> None:
    network = lower(Single(**settings), sample(), readout=readout)
    for form in ("unrolled", "scan", "step"):
        export_onnx(network, tmp_path / "net.onnx", form)
        report = verify(tmp_path / "net.onnx", network)
        assert (report.verdict, report.mismatches) == ("measured", 0), report.total
