"""The model card of a released network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from qleaky._version import VERSION
from qleaky.errors import InputError
from qleaky.integer import IntegerNetwork
from qleaky.models import Trained
from qleaky.recipes import Recipe
from qleaky.summary import rows


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, as its card says it."""

    title: str
    authors: str
    link: str
    licence: str


@dataclass(frozen=True)
class Scores:
    """One training: its seed, and accuracies in percent as (validation, test); no validation where nothing was held back."""

    seed: int
    float_accuracy: tuple[float | None, float]
    quantized_accuracy: tuple[float | None, float]


def origin(name: str) -> Origin:
    """Title, authors, address and licence of a data set.

    Raises:
        InputError: its card has not been written.
    """
    known = {
        "digits": Origin(
            *("Optical Recognition of Handwritten Digits (its published test set, split anew)", "E. Alpaydin, C. Kaynak, 1998"),
            *("https://doi.org/10.24432/C50P49", "CC BY 4.0"),
        ),
        "japanese-vowels": Origin(
            *("Japanese Vowels", "M. Kudo, J. Toyama, M. Shimbo, 1999", "https://doi.org/10.24432/C5NS47", "CC BY 4.0")
        ),
        "fsdd": Origin(
            *("Free Spoken Digit Dataset, as 32 log-mel bands", "Z. Jackson et al."),
            *("https://github.com/Jakobovski/free-spoken-digit-dataset", "CC BY-SA 4.0"),
        ),
        "fashion-mnist": Origin(
            *("Fashion-MNIST", "H. Xiao, K. Rasul, R. Vollgraf, 2017"),
            *("https://github.com/zalandoresearch/fashion-mnist", "MIT, Copyright 2017 Zalando SE"),
        ),
    }
    if name not in known:
        raise InputError(f"No model card knows the data set {name!r}; there are cards for {', '.join(known)}.")
    return known[name]


def render(
    trained: Trained,
    network: IntegerNetwork,
    scores: Sequence[Scores],
    *,
    correct: tuple[int, int],
    contents: Mapping[str, bytes],
) -> str:
    """The card in Markdown.

    Args:
        trained: the network.
        network: its contract.
        scores: of all trainings; the first one's is the network that is released.
        correct: test samples classified rightly, and how many there are.
        contents: of the files beside the card, by name.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    template = files("qleaky.releasing").joinpath("card.md.jinja").read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "name": trained.recipe.name,
        "origin": origin(trained.recipe.data.name),
        "architecture": _architecture(trained.recipe, trained.network.input_shape),
        "trained": trained,
        "recipe": trained.recipe,
        "scores": scores,
        "spread": _spread(scores),
        "validated": all(each is not None for s in scores for each in (s.float_accuracy[0], s.quantized_accuracy[0])),
        "correct": correct,
        "rows": list(rows(network)),
        "bounds": [bounds for bounds in network.proof.layers if bounds.kind],
        "licence": _licence(origin(trained.recipe.data.name).licence),
        "digest": network.digest,
        "files": [(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()],
        "version": VERSION,
    }
    return environment.from_string(template).render(values)


def _architecture(recipe: Recipe, shape: tuple[int, ...]) -> str:
    first = "" if recipe.model.input is None else "x".join(map(str, shape)) + "-"
    return first + "-".join(map(str, recipe.model.layers))


def _licence(data: str) -> str:
    """Of the files: the data's own where that asks for it (share alike), else the project's."""
    return data if "-SA" in data else "Apache-2.0"


def _spread(scores: Sequence[Scores]) -> dict[str, tuple[float, float]]:
    """Mean and minimum of the test accuracies."""
    columns = {"float": [s.float_accuracy[1] for s in scores], "quantized": [s.quantized_accuracy[1] for s in scores]}
    return {name: (sum(values) / len(values), min(values)) for name, values in columns.items()}
