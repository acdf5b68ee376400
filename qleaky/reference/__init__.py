"""The executable specification: one LIF step and whole networks, on Python integers and on NumPy int64."""

from qleaky.reference.arrays import run
from qleaky.reference.recording import Recording
from qleaky.reference.scalar import lif_step, run_scalar

__all__ = ["Recording", "lif_step", "run", "run_scalar"]
