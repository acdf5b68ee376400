"""Which kernel computes :meth:`qleaky.Leaky.sequence`, and why; loading the compiled one and checking it before first use."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from qleaky.kernels.build import UnavailableError, build

if TYPE_CHECKING:
    import torch

    from qleaky.kernels.compiled import Kernel
    from qleaky.kernels.triton_kernel import TritonKernel

SWITCH = "QLEAKY_NO_COMPILE"
CUDA_SWITCH = "QLEAKY_TRITON"
CHECKED = "checked in Triton's interpreter; not yet run on a GPU"


@dataclass(frozen=True)
class Backend:
    """What computes sequences of float32 on the CPU: ``name`` is "c" or "torch"; prints as a sentence.

    ``reason`` says why it is not "c"; ``compiler`` is the first line that the compiler says of itself, and ``path`` the file
    that it made, where there is one. ``cuda`` says what computes tensors on CUDA: "a Triton kernel" or "torch operations", and
    why; empty where there is no CUDA device and nobody asked.
    """

    name: str
    reason: str = ""
    compiler: str = ""
    path: str = ""
    cuda: str = ""

    def __str__(self) -> str:
        if self.name == "c":
            sentence = f"Sequences are computed by a C kernel, built by {self.compiler} into {self.path}."
        else:
            sentence = f"Sequences are computed by torch operations: {self.reason}."
        return f"{sentence} On CUDA they are computed by {self.cuda}." if self.cuda else sentence


@dataclass(frozen=True)
class Loaded:
    """The backend, and its library where it has one."""

    backend: Backend
    kernel: Kernel | None = None


def backend() -> Backend:
    """What computes :meth:`qleaky.Leaky.sequence` in float32 on the CPU, building the C kernel first if it is not built yet.

    Both backends give the same bits. "torch" where there is no C compiler, no private folder for what it builds
    ($XDG_CACHE_HOME or ~/.cache), the kernel fails its check, or QLEAKY_NO_COMPILE=1.

    Tensors on CUDA are computed by torch operations; with QLEAKY_TRITON=1 by a Triton kernel, which has been checked in
    Triton's interpreter but not yet run on a GPU. It has to agree with torch on the device before it is used, and torch
    operations go on wherever it does not, or fails.

    >>> backend().name in ("c", "torch")
    True
    """
    return replace(loaded().backend, cuda=_cuda_backend())


def kernel() -> Kernel | None:
    """The compiled kernel, built on first use; None where there is none."""
    return loaded().kernel


def loaded() -> Loaded:
    """The same and why; the environment's switch is read at each call."""
    if _on(SWITCH):
        return Loaded(Backend("torch", f"{SWITCH}={os.environ[SWITCH]} says so"))
    return _loaded()


def _on(switch: str) -> bool:
    return os.environ.get(switch, "0") not in ("", "0")


@cache
def _loaded() -> Loaded:
    return load()


def load(folder: Any = None) -> Loaded:
    """Build, load and check; what fails becomes the backend's reason."""
    from qleaky.kernels import compiled
    from qleaky.kernels.self_test import differs

    try:
        built = build(folder)
        library = compiled.declare(ctypes.CDLL(str(built.path)))
    except UnavailableError as error:
        return Loaded(Backend("torch", str(error)))
    except (OSError, AttributeError) as error:
        return Loaded(Backend("torch", f"the built kernel cannot be loaded: {error}"))
    if different := differs(library):
        reason = f"the kernel that {built.compiler} built differs from torch in its self-test ({different})"
        return Loaded(Backend("torch", reason, built.compiler, str(built.path)))
    return Loaded(Backend("c", "", built.compiler, str(built.path)), library)


def cuda_kernel(*tensors: torch.Tensor) -> TritonKernel | None:
    """The Triton kernel for these tensors, checked on their device at first use; None where torch computes them."""
    if not _on(CUDA_SWITCH):
        return None
    from qleaky.kernels import compiled

    if not compiled.fits(*tensors, device=_triton_device()):
        return None
    kernel, failure = _triton(tensors[0].device)
    return None if kernel is None or failure or kernel.failure else kernel


def _triton_device() -> str:
    """The type of the tensors that Triton takes; its interpreter, which is for tests, takes those on the CPU."""
    return "cpu" if _on("TRITON_INTERPRET") else "cuda"


@cache
def _triton(device: torch.device) -> tuple[TritonKernel | None, str]:
    """The kernel, and why it is not to be trusted."""
    from qleaky.kernels.self_test import first_difference

    try:
        from qleaky.kernels.triton_kernel import TritonKernel

        kernel = TritonKernel()
        different = first_difference(kernel.compute, device)
    except Exception as error:  # whatever Triton, its compilers or the driver raise: torch operations can do without them
        return None, f"the Triton kernel failed with {type(error).__name__}: {str(error).strip()[:200]}"
    return kernel, f"the Triton kernel differs from torch in its self-test ({different})" if different else ""


def _cuda_backend() -> str:
    import torch

    present = torch.cuda.is_available()
    if not _on(CUDA_SWITCH):
        return f"torch operations: {CUDA_SWITCH}=1 asks for a Triton kernel, {CHECKED}" if present else ""
    if _triton_device() == "cuda" and not present:
        return "torch operations: there is no CUDA device"
    current = torch.device("cuda", torch.cuda.current_device()) if _triton_device() == "cuda" else torch.device("cpu")
    kernel, failure = _triton(current)
    failure = failure or (kernel.failure if kernel is not None else "")
    return f"torch operations: {failure}" if failure else f"a Triton kernel, {CHECKED}"
