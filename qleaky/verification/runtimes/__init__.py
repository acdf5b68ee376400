"""Runtimes that a check can run an artefact in, by name; docs/runtimes.md says how to add one."""

from qleaky.verification.runtimes.protocol import Executor, Runtime, Setting
from qleaky.verification.runtimes.requirements import require

__all__ = ["Executor", "Runtime", "Setting", "require"]
