"""Random whole networks: scalar reference == NumPy reference == torch == ONNX Runtime, for every spike and membrane."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, MulShift, QFormat, QuantLinear, ShiftDecay
from qleaky.reference import Recording, run, run_scalar

FORMATS = [
    QFormat(1, 0, signed=False),
    QFormat(8, 4),
    QFormat(8, 6, signed=False),
    QFormat(8, 6, signed=False, zero_point=100),
    QFormat(8, 6, signed=False, zero_point=128),
    QFormat(4, 1),
    QFormat(4, 2, signed=False, zero_point=5),
    QFormat(12, 6),
]
READOUTS = ["spikes", "spike_count", "membrane_mean", "last_membrane", "spike_count:argmax", "membrane_mean:argmax"]
ROUNDINGS, TIMINGS = ["floor", "half_up", "half_even", "toward_zero"], ["delayed", "same_step", "undelayed"]


class Hidden(nn.Sequential):
    """One step per call, states kept by the layers."""


class Threaded(nn.Sequential):
    """One step per call, states passed in and out."""

    def step(self, x: Tensor, *mems: Tensor) -> Any:
        states = list(mems)
        for index, layer in enumerate(self):
            if index % 2:
                x, states[index // 2] = layer(x, states[index // 2])
            else:
                x = layer(x)
        return (x, *states)


class Threaded1(Threaded):
    def forward(self, x: Tensor, mem1: Tensor) -> Any:
        return self.step(x, mem1)


class Threaded2(Threaded):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:
        return self.step(x, mem1, mem2)


class Threaded3(Threaded):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor, mem3: Tensor) -> Any:
        return self.step(x, mem1, mem2, mem3)


class Whole(nn.Sequential):
    """A whole sequence per call."""

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self):
            x = layer.sequence(x)[0] if index % 2 else layer(x)
        return x


@dataclass
class Drawn:
    """A torch network, how it is lowered, and the seed of its inputs."""

    net: nn.Sequential
    sample: Any
    arguments: dict[str, Any]
    inputs: int


@st.composite
def linears(draw: st.DrawFn, into: int, out: int) -> nn.Linear:
    """Weights large enough for membranes to move."""
    rng, bits, bias = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(2, 8)), draw(st.booleans())
    weight = torch.from_numpy(rng.normal(0.2, 1, (out, into)) / np.sqrt(into)).float()
    if draw(st.booleans()):
        quant = QuantLinear(into, out, weight_bits=bits, bias=bias)
        with torch.no_grad():
            quant.weight.copy_(weight)
        return quant
    plain = nn.Linear(into, out, bias=bias)
    step = 2.0 ** -draw(st.integers(0, 6))
    with torch.no_grad():
        for tensor in plain.parameters():
            values = weight if tensor.ndim == 2 else torch.from_numpy(rng.normal(0, 0.3, out))
            limit = (1 << (bits - 1)) - 1
            tensor.copy_((values / step).round().clamp(-limit, limit) * step)
    return plain


@st.composite
def leakies(draw: st.DrawFn, size: int, hidden: bool) -> Leaky:
    """A Leaky on a random grid, its thresholds well inside the format."""
    bits = draw(st.integers(4, 16))
    overflow = draw(st.sampled_from(["saturate", "saturate", "wrap"]))
    frac_bits = draw(st.integers(max(bits - 5, 1), bits - 2))
    signed, rounding = draw(st.integers(0, 4)) > 0, draw(st.sampled_from(ROUNDINGS))
    narrow = signed and overflow == "saturate" and draw(st.booleans())
    state = FixedPoint(bits, frac_bits, signed, rounding, overflow, narrow=narrow)
    codes = draw(st.lists(st.integers(1, state.spec.format.highest // 2), min_size=size, max_size=size))
    theta = torch.tensor(codes) * state.spec.format.step
    decay = draw(
        st.none()
        | st.builds(MulShift, n=st.integers(1, 12), rounding=st.none() | st.sampled_from(ROUNDINGS))
        | st.builds(ShiftDecay, k=st.integers(1, 6), at_least_one=st.booleans())
    )
    return Leaky(
        draw(st.sampled_from([1.0, 230 / 256, 0.75, 0.5])),
        theta if draw(st.booleans()) else theta[0],
        state_quant=state,
        init_hidden=hidden,
        decay=decay,
        reset_mechanism=draw(st.sampled_from(["subtract", "subtract", "zero", "none"])),
        reset_timing=draw(st.sampled_from(TIMINGS)),
        compare=draw(st.sampled_from(["strict", "inclusive"])),
        rounding_site=draw(st.sampled_from(["sum", "decay"])),
    )


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=4))
    threaded = (Threaded1, Threaded2, Threaded3)[len(sizes) - 2]
    kind = draw(st.sampled_from([Hidden, threaded, Whole]))
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        layers += [draw(linears(into, out)), draw(leakies(out, kind is Hidden))]
    steps, readout = draw(st.integers(1, 8)), draw(st.sampled_from(READOUTS))
    arguments = {"input_format": draw(st.sampled_from(FORMATS)), "readout": readout}
    if kind is Whole:
        return Drawn(kind(*layers), torch.zeros(steps, 1, sizes[0]), arguments, draw(st.integers(0, 2**32 - 1)))
    arguments |= {"num_steps": steps, "time": draw(st.sampled_from(["sequence", "static"]))}
    states = [torch.zeros(1, out) for out in sizes[1:]] if kind is threaded else []
    return Drawn(kind(*layers), (torch.zeros(1, sizes[0]), *states), arguments, draw(st.integers(0, 2**32 - 1)))


@dataclass
class Liveliness:
    """How often the things that go wrong had a chance to."""

    counts: Counter[str] = field(default_factory=Counter)

    def watch(self, network: IntegerNetwork, recording: Recording) -> None:
        self.counts["networks"] += 1
        self.counts["networks that spike"] += any(spikes.any() for spikes in recording.spikes.values())
        for lif in network.lif_layers:
            mems, spikes = recording.membranes[lif.name], recording.spikes[lif.name]
            self.counts["steps"] += mems.size
            self.counts["spikes"] += int(spikes.sum())
            self.counts["at an end of the range"] += int(((mems == lif.state.lowest) | (mems == lif.state.highest)).sum())
            self.counts["exactly on the threshold"] += int((mems == lif.theta).sum())
            self.counts["resets"] += int(spikes[:-1].sum()) if lif.reset_mechanism != "none" else 0

    def report(self) -> str:
        steps = self.counts["steps"]
        shares = [f"{name} {100 * self.counts[name] / steps:.2f} %" for name in self.counts if "network" not in name]
        networks = f"{self.counts['networks']} networks, {self.counts['networks that spike']} with spikes, {steps:,} steps"
        return f"{networks}: {', '.join(shares[1:])}"

    def check(self) -> None:
        """The campaign met every case often enough to mean something."""
        share = {name: count / self.counts["steps"] for name, count in self.counts.items()}
        assert self.counts["networks that spike"] >= 0.6 * self.counts["networks"]
        assert 0.05 <= share["spikes"] <= 0.8
        assert share["resets"] >= 0.02
        assert share["at an end of the range"] >= 0.005
        assert share["exactly on the threshold"] >= 0.0005


@pytest.fixture
def liveliness(capsys: pytest.CaptureFixture[str]) -> Iterator[Liveliness]:
    met = Liveliness()
    yield met
    with capsys.disabled():
        print(f"\n{met.report()}")
    met.check()


def compare_all(drawn: Drawn, folder: Path, liveliness: Liveliness, samples: int = 6) -> None:
    """The scalar reference on two samples, everything else on all of them."""
    network = qleaky.lower(drawn.net, drawn.sample, **drawn.arguments)
    assert isinstance(network, IntegerNetwork), getattr(network, "reasons", None)
    fmt, rng = network.input.format, np.random.default_rng(drawn.inputs)
    lead = (network.num_steps, samples) if network.input.time == "sequence" else (samples,)
    codes = rng.integers(fmt.lowest, fmt.highest + 1, (*lead, *network.input.shape))
    recording = run(network, codes)
    over_time = np.broadcast_to(codes, (network.num_steps, samples, *network.input.shape))
    for sample in range(2):
        expected = run_scalar(network, over_time[:, sample].tolist())
        for name in recording.membranes:
            assert recording.membranes[name][:, sample].tolist() == expected[f"{name}.mem"]
            assert recording.spikes[name][:, sample].tolist() == expected[f"{name}.spk"]
    qleaky.export_onnx(network, folder / "net.onnx")
    report = qleaky.verify(folder / "net.onnx", network, codes, module=drawn.net)
    assert report.mismatches == 0, str(report.first_divergence)
    assert report.reasons == network.proof.training_reasons
    assert report.verdict == ("measured" if report.reasons else "proved")
    synthetic = qleaky.verify(folder / "net.onnx", network)
    assert (synthetic.verdict, synthetic.mismatches) == ("proved", 0), str(synthetic.first_divergence)
    liveliness.watch(network, recording)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@seed(0)
@settings(max_examples=40, suppress_health_check=QUIET)
@given(drawn=networks())
def test_random_networks_agree_everywhere(drawn: Drawn, tmp_path: Path, liveliness: Liveliness) -> None:
    compare_all(drawn, tmp_path, liveliness)


@pytest.mark.nightly
@settings(max_examples=300, suppress_health_check=QUIET)
@given(drawn=networks())
def test_many_random_networks_agree_everywhere(drawn: Drawn, tmp_path: Path, liveliness: Liveliness) -> None:
    compare_all(drawn, tmp_path, liveliness)
