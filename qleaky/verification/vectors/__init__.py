"""Adversarial vectors: the inputs at which arithmetic breaks first, found by search and chosen by what they add."""

from qleaky.verification.vectors.choosing import VectorGroup, Vectors, vectors

__all__ = ["VectorGroup", "Vectors", "vectors"]
