"""``qleaky.backend()`` says what computes sequences; the switch in the environment turns the C kernel off at any time."""

import pytest
import torch

import qleaky
from qleaky.kernels import library


def test_the_switch_turns_the_kernel_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLEAKY_NO_COMPILE", "1")
    assert library.kernel() is None
    assert str(qleaky.backend()).startswith("Sequences are computed by torch operations: QLEAKY_NO_COMPILE=1 says so.")


def test_the_backend_names_its_compiler_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLEAKY_NO_COMPILE", raising=False)
    backend = qleaky.backend()
    if backend.name != "c":
        pytest.skip(str(backend))
    assert str(backend).startswith(f"Sequences are computed by a C kernel, built by {backend.compiler} into {backend.path}.")
    assert library.kernel() is not None


def test_both_backends_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, currents = qleaky.Leaky(0.9, learn_beta=True), torch.randn(7, 3, 11)
    first = layer.sequence(currents)
    monkeypatch.setenv("QLEAKY_NO_COMPILE", "1")
    for ours, theirs in zip(first, layer.sequence(currents), strict=True):
        assert torch.equal(ours, theirs)
