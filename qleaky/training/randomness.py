"""Random numbers that depend on the seed, the phase and the epoch alone.

Every epoch seeds its own generators when it begins. So a run that goes on at an epoch draws what the uninterrupted run drew,
and no generator's state has to be kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: the head of SHA-256 over the seed and the words."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator of its own for one purpose."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed torch, NumPy's and Python's own generators, which layers such as Dropout and a network's own code draw from."""
    value = derived_seed(seed, *purpose)
    torch.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    random.seed(value)


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Deterministic algorithms, and one thread unless OMP_NUM_THREADS says otherwise; the caller's settings come back.

    Threads divide sums, and other partial sums round differently: the same bits need the same number of threads.
    """
    settings: Any = torch.utils.deterministic  # a module with properties
    threads, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, fills = torch.is_deterministic_algorithms_warn_only_enabled(), settings.fill_uninitialized_memory
    states = random.getstate(), np.random.get_state()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # it costs a pass over every fresh tensor, and none here is read unwritten
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warn_only)
        settings.fill_uninitialized_memory = fills
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
