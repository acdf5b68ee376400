"""Proofs for all inputs, with z3, of the C that is emitted for a network (docs/c-proofs.md)."""

from qleaky.verification.c_proofs.proving import prove_c, prove_model, runtime_text
from qleaky.verification.c_proofs.reading import UnreadableError
from qleaky.verification.c_proofs.results import CProofs, Open, Proved, Refuted

__all__ = ["CProofs", "Open", "Proved", "Refuted", "UnreadableError", "prove_c", "prove_model", "runtime_text"]
