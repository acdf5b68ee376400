"""The executable specification: one LIF step and whole networks, on Python integers and on NumPy int64."""

from qleaky.reference.recording import Recording
from qleaky.reference.scalar import lif_step
from qleaky.reference.scalar_network import run_scalar
from qleaky.reference.stepper import States, Stepper, run

__all__ = ["Recording", "States", "Stepper", "lif_step", "run", "run_scalar"]
