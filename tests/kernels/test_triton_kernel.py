"""The Triton kernels give what torch operations give: in Triton's interpreter, and where there is one on a GPU.

The interpreter computes with NumPy, so it shows neither fused products nor subnormal numbers flushed to zero: those are
looked for in what the compiler makes of the kernels.
"""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import qleaky
from qleaky.kernels import library

HAS_TRITON = importlib.util.find_spec("triton") is not None
VERSION = tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) if HAS_TRITON else (0, 0)
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed (pip install --no-deps triton)")
# Interpreters of 3.2 to 3.6 do not run with NumPy 2.4; compilers of 3.2 and 3.4 flush subnormal quotients to zero.
needs_new_triton = pytest.mark.skipif(
    HAS_TRITON and VERSION < (3, 9), reason=f"triton is of version {VERSION}, older than (3, 9)"
)
CHECKS = Path(__file__).parent / "triton_checks.py"
SURROGATES, RESETS = range(8), [(1, 0, False), (2, 0, False), (0, 1, True), (1, 1, False), (2, 2, False)]
INEXACT = re.compile(r"\S*(?:fma|mad\.f|mad\.rn|ftz|approx|div\.full|rcp)\S*")


def assert_checks_pass(interpret: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@needs_triton
@needs_new_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass("1")


@pytest.mark.gpu
@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu() -> None:
    assert_checks_pass("0")


@pytest.fixture
def assembly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """PTX of a kernel with constants, compiled for compute capability 9.0, which needs no GPU."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    numbers = dict.fromkeys(("scale", "step", "lowest", "highest", "shift", "a", "b"), "fp32")
    types = {**numbers, **dict.fromkeys(("steps", "neurons", "term_row"), "i32"), "masks": "*u8"}

    def assemble(kernel: Any, constants: dict[str, Any]) -> str:
        signature = {name: "constexpr" if name in constants else types.get(name, "*fp32") for name in kernel.arg_names}
        options = {"num_warps": 4, "enable_fp_fusion": False}
        built = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32), options=options)
        return str(built.asm["ptx"])

    return assemble


def constants_of(reset: tuple[int, int, bool]) -> dict[str, Any]:
    early, late, same_step = reset
    rule = {"EARLY": early, "LATE": late, "SAME_STEP": same_step, "INCLUSIVE": False}
    return {"BETAS": True, "THETAS": False, "FACTORS": True, "BLOCK": 128, **rule}


def forward_constants() -> Iterator[dict[str, Any]]:
    for reset in RESETS:
        for decay, rounding in [(0, 1), (1, 2), (3, 3), (2, 0)]:
            yield constants_of(reset) | {"DECAY": decay, "DECAY_ROUNDING": rounding, "QUANTIZED": True, "ROUNDING": rounding}


@needs_triton
@needs_new_triton
def test_the_compiled_kernels_fuse_flush_and_approximate_nothing(assembly: Any) -> None:
    from qleaky.kernels.triton_backward import lif_backward
    from qleaky.kernels.triton_forward import lif_forward

    texts = [assembly(lif_forward, constants) for constants in forward_constants()]
    texts += [assembly(lif_backward, constants_of(reset) | {"SURROGATE": kind}) for reset in RESETS for kind in SURROGATES]
    assert {found for text in texts for found in INEXACT.findall(text)} == set()
    assert all("mul.rn.f32" in text or "mul.f32" in text for text in texts)
    assert any("div.rn.f32" in text for text in texts)


def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLEAKY_TRITON", raising=False)
    assert library.cuda_kernel(torch.ones(3)) is None
    if torch.cuda.is_available():
        assert library.cuda_kernel(torch.ones(3, device="cuda")) is None
        assert qleaky.backend().cuda.startswith("torch operations: QLEAKY_TRITON=1 asks for a Triton kernel, checked in")
    else:
        assert qleaky.backend().cuda == ""


def test_without_a_gpu_the_backend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLEAKY_TRITON", "1")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert qleaky.backend().cuda == "torch operations: there is no CUDA device"
    assert library.cuda_kernel(torch.ones(3)) is None


@pytest.mark.skipif(HAS_TRITON, reason="triton is installed")
def test_without_triton_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, failure = library._triton(torch.device("cpu"))
    assert kernel is None
    assert failure == "the Triton kernel failed with ModuleNotFoundError: No module named 'triton'"
