"""``Leaky`` is a drop-in for snntorch's: the shared differential fuzzer finds no difference in float32."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from snntorch.functional import quant

import qleaky


def fuzz(shared: Path, seeds: int, *options: str) -> str:
    """The fuzzer's output on random configurations, each compared bit for bit with snntorch."""
    command = [sys.executable, str(shared / "tools" / "parity_fuzz.py"), "qleaky", "-n", str(seeds), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600).stdout


def test_300_random_configurations_equal_snntorch(shared: Path) -> None:
    assert "\n300 passed, 0 failed" in "\n" + fuzz(shared, 300)


@pytest.mark.nightly
@pytest.mark.parametrize("options", [(), ("--own-surrogates",)])
def test_2000_random_configurations_equal_snntorch(shared: Path, options: tuple[str, ...]) -> None:
    assert "\n2000 passed, 0 failed" in "\n" + fuzz(shared, 2000, *options)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "quantized"])
@pytest.mark.parametrize("reset_delay", [True, False], ids=["delayed", "undelayed"])
@pytest.mark.parametrize("reset_mechanism", ["subtract", "zero", "none"])
def test_every_reset_equals_snntorch(reset_mechanism: str, reset_delay: bool, quantized: bool) -> None:
    """A small sample of what the fuzzer draws, for clones without the shared folder."""
    results = [play(layer, reset_mechanism, reset_delay, quantized) for layer in (snntorch.Leaky, qleaky.Leaky)]
    for theirs, ours in zip(*results, strict=True):
        assert torch.equal(theirs, ours)


def play(kind: Any, reset_mechanism: str, reset_delay: bool, quantized: bool) -> list[torch.Tensor]:
    """Spikes, membranes and all gradients of eight random steps."""
    torch.manual_seed(0)
    beta, threshold, graded = torch.rand(5), torch.rand(5) + 0.2, torch.rand(5) + 0.5
    learned = {"learn_beta": True, "learn_threshold": True, "learn_graded_spikes_factor": True}
    quantizer = quant.state_quant(4) if quantized else False
    layer = kind(
        beta,
        threshold,
        state_quant=quantizer,
        reset_mechanism=reset_mechanism,
        reset_delay=reset_delay,
        graded_spikes_factor=graded,
        **learned,
    )
    currents, start = torch.randn(8, 3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    mem, out = start * 1.0, []
    for current in currents.unbind(0):
        spk, mem = layer(current, mem)
        out += [spk, mem]
    loss = sum((tensor * torch.randn(3, 5)).sum() for tensor in out)
    gradients = torch.autograd.grad(loss, [currents, start, *layer.parameters()])  # type: ignore[arg-type]
    return [*(tensor.detach() for tensor in out), *gradients]
