"""Recipes: what to train, on what, and how, as a TOML file that is checked in full before anything runs. No torch here."""

from qleaky.recipes.reading import Recipe, load_recipe, parse_recipe
from qleaky.recipes.tables import DataTable, ModelTable, QuantizationTable, TrainingTable

__all__ = ["DataTable", "ModelTable", "QuantizationTable", "Recipe", "TrainingTable", "load_recipe", "parse_recipe"]
