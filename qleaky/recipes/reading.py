"""TOML -> Recipe, with every error of a file said at once."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from qleaky._files import read_file
from qleaky.errors import InputError
from qleaky.recipes.tables import NAME, DataTable, ModelTable, QuantizationTable, TrainingTable

TABLES: dict[str, Any] = {
    "data": DataTable,
    "model": ModelTable,
    "training": TrainingTable,
    "quantization": QuantizationTable,
}
REQUIRED = ("data", "model", "training")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. ``folder`` holds its file, and "file.py:callable" is looked up there; ``text`` is the file itself."""

    name: str
    data: DataTable
    model: ModelTable
    training: TrainingTable
    quantization: QuantizationTable | None = None
    folder: Path = field(default=Path(), compare=False)
    text: str = field(default="", compare=False, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the values that are no defaults: comments, order and spelling of the file do not matter, and neither
        does a key that a later version adds.
        """
        tables = {key: None if (table := getattr(self, key)) is None else _chosen(table) for key in TABLES}
        return hashlib.sha256(json.dumps({"name": self.name, **tables}, sort_keys=True).encode()).hexdigest()

    @property
    def toml(self) -> str:
        """A file with these values: the one that was read, or, where values were replaced since, a plain list of them."""
        return self.text if self.text and parse_recipe(self.text).digest == self.digest else _written(self)


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a recipe file.

    Raises:
        ArtefactError: the file is missing or unreadable.
        InputError: as :func:`parse_recipe`.
    """
    data = read_file(path, "recipe")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text (byte {error.start}); a recipe is a TOML file.") from error
    return parse_recipe(text, name=str(path), folder=Path(path).resolve().parent)


def parse_recipe(text: str, *, name: str = "the recipe", folder: Path = Path()) -> Recipe:
    """Check a recipe's text: unknown keys, types, ranges and contradictions, all of them at once.

    Raises:
        InputError: with the key, its value, the rule and the fix of every error.

    >>> recipe = parse_recipe('''
    ...     name = "vowels"
    ...     data = { name = "japanese-vowels" }
    ...     model = { layers = [12, 64, 9], readout = "membrane_mean" }
    ...     training = { epochs = 2 }
    ... ''')
    >>> recipe.model.layers, recipe.training.batch_size, recipe.quantization
    ((12, 64, 9), 64, None)
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is no TOML: {error}. Strings stand in quotes, tables in [brackets].") from error
    except (ValueError, RecursionError) as error:  # a whole number of thousands of digits, or lists that deep
        raise InputError(f"{name} holds a value that no recipe has: {error}.") from error
    errors: list[str] = []
    known = ("name", *TABLES)
    errors += [_unknown(key, values[key], known, "") for key in values if key not in known]
    title = _value(values, "name", NAME, errors)
    tables = {key: _table(key, values, errors) for key in TABLES}
    if not errors:
        recipe = Recipe(title, **tables, folder=folder, text=text)
        errors += _contradictions(recipe)
    if errors:
        count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
        raise InputError(f"{name} has {count}:\n" + "\n".join(f"  {error}" for error in errors))
    return recipe


def _chosen(table: Any) -> dict[str, Any]:
    """The values of a table that are not its defaults."""
    return {part.name: value for part in fields(table) if (value := getattr(table, part.name)) != part.default}


def _table(key: str, values: dict[str, Any], errors: list[str]) -> Any:
    """One table's dataclass, or None where it is absent or wrong."""
    given = values.get(key)
    if given is None:
        if key in REQUIRED:
            errors.append(f"[{key}] is missing; every recipe has the tables [data], [model] and [training].")
        return None
    if not isinstance(given, dict):
        errors.append(f"{key} = {_shown(given)}: it must be a table; write [{key}] and its keys below.")
        return None
    known = {part.name: part for part in fields(TABLES[key])}
    errors += [_unknown(name, given[name], tuple(known), f"{key}.") for name in given if name not in known]
    before = len(errors)
    read = {name: _value(given, name, part, errors, f"{key}.") for name, part in known.items()}
    return TABLES[key](**read) if len(errors) == before else None


def _value(given: dict[str, Any], name: str, part: Any, errors: list[str], prefix: str = "") -> Any:
    rule = part.metadata["rule"] if isinstance(part, Field) else part
    if name not in given:
        if isinstance(part, Field) and part.default is not MISSING:
            return part.default
        errors.append(f"{prefix}{name} is missing; it must be {rule.words}.")
        return None
    try:
        return rule.read(given[name])
    except ValueError as error:
        errors.append(f"{prefix}{name} = {_shown(given[name])}: it must be {error if error.args else rule.words}.")
        return None


def _unknown(name: str, value: Any, known: tuple[str, ...], prefix: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    elsewhere = [f"{key}.{name}" for key, table in TABLES.items() if name in {part.name for part in fields(table)}]
    if near:
        fix = f"did you mean {prefix}{near[0]}?"
    elif elsewhere:
        fix = f"did you mean {' or '.join(elsewhere)}?"
    else:
        fix = f"there are {', '.join(known)}."
    shown = f"[{prefix}{name}]" if isinstance(value, dict) else f"{prefix}{name} = {_shown(value)}"
    return f"{shown}: there is no such key; {fix}"


def _contradictions(recipe: Recipe) -> Iterator[str]:
    model, training, quantization = recipe.model, recipe.training, recipe.quantization
    if model.build is None and not model.layers:
        yield "model.layers is missing; list the layers, or name the function that builds the network with model.build."
    if model.build is not None and model.layers:
        yield f"model.build = {_shown(model.build)} and model.layers = {_shown(list(model.layers))}: give one of the two."
    if model.build is not None and model.input is not None:
        yield f"model.input = {_shown(list(model.input))}: model.build says what it takes itself; leave input out."
    if model.layers and model.input is None:
        if any(isinstance(layer, str) for layer in model.layers):
            yield (
                f"model.layers = {_shown(list(model.layers))}: convolutions and pools need the shape of a sample; add for "
                f"example input = [1, 28, 28]."
            )
        elif len(model.layers) == 1:
            yield (
                f"model.layers = {_shown(list(model.layers))}: without model.input the first number is the input's size; add "
                f"a layer."
            )
    if model.surrogate_slope is not None and model.surrogate == "straight_through_estimator":
        yield (
            f"model.surrogate_slope = {model.surrogate_slope:g}: straight_through_estimator has no parameter; leave it out, or "
            f"choose another surrogate."
        )
    if training.keep == "best" and recipe.data.validation == 0:
        yield (
            'training.keep = "best": epochs are chosen by validation accuracy, but data.validation = 0; hold back a share such '
            'as 0.15, or keep = "last".'
        )
    if quantization is not None and quantization.frozen_epochs > quantization.epochs:
        yield (
            f"quantization.frozen_epochs = {quantization.frozen_epochs}: they are the last of quantization.epochs = "
            f"{quantization.epochs}; choose at most that."
        )


def _written(recipe: Recipe) -> str:
    """TOML of every value that is not None."""
    lines = [f"name = {json.dumps(recipe.name)}"]
    for key in TABLES:
        table = getattr(recipe, key)
        if table is not None:
            values = ((part.name, getattr(table, part.name)) for part in fields(table))
            lines += ["", f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in values if value not in (None, ()))]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A value as TOML would write it, cut where it is long."""
    plain = isinstance(value, (str, bool, int, float, list, dict))
    text = json.dumps(value, default=str) if plain else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
