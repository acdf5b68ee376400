"""Artefacts with one fault each: would these vectors catch it? (docs/mutations.md)"""

from qleaky.verification.mutants.catalogue import OPERATORS, Mutant, mutants
from qleaky.verification.mutants.examining import Examination, Survey, survey

__all__ = ["OPERATORS", "Examination", "Mutant", "Survey", "mutants", "survey"]
