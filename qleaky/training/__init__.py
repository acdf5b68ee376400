"""Training from a recipe: the Python side of ``qleaky-train``."""

from qleaky.training.building import data_from_recipe, network_from_recipe
from qleaky.training.diagnosis import find_nonfinite
from qleaky.training.results import Accuracy, Result
from qleaky.training.run import train

__all__ = ["Accuracy", "Result", "data_from_recipe", "find_nonfinite", "network_from_recipe", "train"]
