"""Architectures of the reference networks; their trained weights are in the top-level folder ``models/``."""

from qleaky.models.building import build
from qleaky.models.feedforward import FeedForward, LIFSettings

__all__ = ["FeedForward", "LIFSettings", "build"]
