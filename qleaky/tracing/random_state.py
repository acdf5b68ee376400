"""The random generators of the process, which tracing leaves as it found them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Give torch's, NumPy's and Python's global generators back as they were, and keep warnings of the network's own back."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(list(devices)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def generators() -> bytes:
    """Their states on the processor, to see whether somebody drew numbers."""
    return repr((torch.random.get_rng_state().numpy().tobytes(), np.random.get_state(), random.getstate())).encode()
