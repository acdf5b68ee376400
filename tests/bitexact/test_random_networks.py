"""Random whole networks: scalar reference == NumPy reference == torch == ONNX Runtime in every form, spike by spike."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import Drawn, chains, networks
from hypothesis import HealthCheck, given, seed, settings

import qleaky
from qleaky import IntegerNetwork
from qleaky.export.artefact import CARRIERS
from qleaky.reference import Recording, run, run_scalar

FORMS = [*itertools.product(("unrolled", "scan", "step"), CARRIERS)]
MOST_SCALINGS = 6


@dataclass
class Liveliness:
    """How often the things that go wrong had a chance to."""

    counts: Counter[str] = field(default_factory=Counter)

    def watch(self, network: IntegerNetwork, recording: Recording) -> None:
        self.counts["networks"] += 1
        self.counts["networks that spike"] += any(spikes.any() for spikes in recording.spikes.values())
        for layer in network.layers:
            self.counts[f"{type(layer).__name__} layers"] += 1
        for lif in network.lif_layers:
            mems, spikes = recording.membranes[lif.name], recording.spikes[lif.name]
            self.counts["layers that spike"] += bool(spikes.any())
            self.counts["steps"] += mems.size
            self.counts["spikes"] += int((spikes != 0).sum())
            self.counts["at an end of the range"] += int(((mems == lif.state.lowest) | (mems == lif.state.highest)).sum())
            self.counts["exactly on the threshold"] += int((mems == lif.theta).sum())
            self.counts["resets"] += int((spikes[:-1] != 0).sum()) if lif.reset_mechanism != "none" else 0

    def share(self, name: str) -> float:
        return self.counts[name] / max(self.counts["steps"], 1)

    def report(self) -> str:
        names = ("spikes", "resets", "at an end of the range", "exactly on the threshold")
        shares = ", ".join(f"{name} {100 * self.share(name):.2f} %" for name in names)
        layers = ", ".join(
            f"{count} {name.removesuffix(' layers')}" for name, count in self.counts.items() if name.endswith(" layers")
        )
        spiking = f"{self.counts['networks that spike']} with spikes, {self.counts['layers that spike']} layers that spike"
        return f"{self.counts['networks']} networks, {spiking}, {self.counts['steps']:,} steps: {shares}\n  ({layers})"

    def check(self) -> None:
        """The campaign met every case often enough to mean something."""
        assert self.counts["networks that spike"] >= 0.8 * self.counts["networks"]
        assert self.counts["layers that spike"] >= 0.7 * self.counts["LIF layers"]
        assert 0.05 <= self.share("spikes") <= 0.8
        assert self.share("resets") >= 0.02
        assert self.share("at an end of the range") >= 0.005
        assert self.share("exactly on the threshold") >= 0.0005


@pytest.fixture
def liveliness(capsys: pytest.CaptureFixture[str]) -> Iterator[Liveliness]:
    met = Liveliness()
    yield met
    with capsys.disabled():
        print(f"\n{met.report()}")
    met.check()


def scaled_until_alive(drawn: Drawn, samples: int) -> tuple[IntegerNetwork, Any, Recording]:
    """The contract, random inputs, and what the reference makes of them; weights are doubled until every layer spikes."""
    for scaling in range(MOST_SCALINGS):
        network = qleaky.lower(drawn.net, drawn.sample, **drawn.arguments)
        assert isinstance(network, IntegerNetwork), getattr(network, "reasons", None)
        fmt, rng = network.input.format, np.random.default_rng(drawn.inputs)
        lead = (network.num_steps, samples) if network.input.time == "sequence" else (samples,)
        codes = rng.integers(fmt.lowest, fmt.highest + 1, (*lead, *network.input.shape))
        recording = run(network, codes)
        if all(spikes.any() for spikes in recording.spikes.values()) or scaling == MOST_SCALINGS - 1:
            break
        with torch.no_grad():
            for name, parameter in drawn.net.named_parameters():
                if name.endswith("weight"):
                    parameter.mul_(2)
    return network, codes, recording


def check_scalar(network: IntegerNetwork, codes: Any, recording: Recording, samples: int) -> None:
    sequence = network.input.time == "sequence"
    for sample in range(samples):
        expected = run_scalar(network, codes[:, sample] if sequence else codes[sample])
        for name in recording.membranes:
            assert np.array_equal(recording.membranes[name][:, sample], np.array(expected[f"{name}.mem"]).astype(np.int64))
            assert np.array_equal(recording.spikes[name][:, sample], np.array(expected[f"{name}.spk"]).astype(np.int64))


def compare_all(drawn: Drawn, folder: Path, liveliness: Liveliness, forms: Any, samples: int = 6) -> None:
    """The scalar reference on one sample, torch and every form on all of them."""
    network, codes, recording = scaled_until_alive(drawn, samples)
    check_scalar(network, codes, recording, 1)
    for index, (form, carrier) in enumerate(forms):
        qleaky.export_onnx(network, folder / "net.onnx", form=form, carrier=carrier)
        report = qleaky.verify(folder / "net.onnx", network, codes, module=drawn.net if index == 0 else None)
        where = f"{form}, {carrier}: {report.first_divergence}"
        assert report.mismatches == 0, where
        assert report.artefact_verdict == "proved", report.reasons
        if index == 0:
            assert report.reasons == network.proof.training_reasons
            assert report.verdict == ("measured" if report.reasons else "proved")
            synthetic = qleaky.verify(folder / "net.onnx", network)
            assert (synthetic.verdict, synthetic.mismatches) == ("proved", 0), str(synthetic.first_divergence)
    liveliness.watch(network, recording)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@seed(0)
@settings(max_examples=50, suppress_health_check=QUIET, deadline=None)
@given(drawn=networks() | networks() | chains())
def test_random_networks_agree_everywhere(drawn: Drawn, tmp_path: Path, liveliness: Liveliness) -> None:
    """Every network in all three forms, each in another carrier."""
    carriers = [CARRIERS[(drawn.inputs + form) % len(CARRIERS)] for form in range(3)]
    compare_all(drawn, tmp_path, liveliness, zip(("unrolled", "scan", "step"), carriers, strict=True))


@pytest.mark.nightly
@settings(max_examples=500, suppress_health_check=QUIET, deadline=None)
@given(drawn=networks() | networks() | chains())
def test_many_random_networks_agree_everywhere(drawn: Drawn, tmp_path: Path, liveliness: Liveliness) -> None:
    compare_all(drawn, tmp_path, liveliness, FORMS)
