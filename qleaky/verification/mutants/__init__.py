"""Artefacts with one fault each: would these vectors catch it? (docs/mutations.md)"""

from qleaky.verification.mutants.catalogue import OPERATORS, Mutant, mutants

__all__ = ["OPERATORS", "Mutant", "mutants"]
