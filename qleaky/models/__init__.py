"""Architectures of the reference networks; their trained weights are in the top-level folder ``models/``."""

from qleaky.models.feedforward import FeedForward, LIFSettings

__all__ = ["FeedForward", "LIFSettings"]
