"""Architectures of the reference networks, and the trained ones, whose files are in the top-level folder ``models/``."""

from qleaky.models.building import build
from qleaky.models.feedforward import FeedForward, LIFSettings
from qleaky.models.shipped import Trained, load, names

__all__ = ["FeedForward", "LIFSettings", "Trained", "build", "load", "names"]
