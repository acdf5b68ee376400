"""``release``: the files of one model, made from its finished trainings."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from qleaky._files import read_file, write_atomically
from qleaky.datasets import DataSet
from qleaky.errors import ArtefactError, InputError
from qleaky.export import onnx_bytes
from qleaky.integer import IntegerNetwork
from qleaky.lowering import lower
from qleaky.models import FeedForward, Trained
from qleaky.models.shipped import RECIPE, WEIGHTS, header_of, load_folder
from qleaky.models.structure import describe
from qleaky.recipes import load_recipe
from qleaky.releasing.card import Scores, render
from qleaky.releasing.golden import Golden
from qleaky.training import data_from_recipe, train
from qleaky.verification import verify

GOLDEN, CERTIFICATE, CARD = "golden.npz", "certificate.json", "README.md"
FILES = (WEIGHTS, GOLDEN, CERTIFICATE, CARD)
LARGEST = 1_000_000
Folder = str | os.PathLike[str]


def release(
    folder: Folder, runs: Sequence[Folder], data_folder: Folder | None = None, tell: Callable[[str], None] | None = None
) -> Trained:
    """Write weights, golden vectors, certificate and model card beside the recipe in ``folder``.

    Of several trainings, which differ in their seeds, the one with the best validation accuracy is released, among equals, and
    where nothing was held back to validate with, the one with the smallest seed; the card names them all.

    Args:
        folder: holds ``recipe.toml``.
        runs: folders of finished trainings of that recipe.
        data_folder: where the files of data sets are that do not ship with the package.
        tell: called with a line of text before each step.

    Returns:
        The network, loaded from the files that were written.

    Raises:
        InputError: runs of another recipe, unfinished ones, or a network that is too large to ship.
        ArtefactError: a network that is not proved, or a run that does not lead to it again.
    """
    say, target = tell or (lambda _: None), Path(folder)
    recipe = load_recipe(target / RECIPE)
    scores = sorted((_scores(Path(run), recipe.digest) for run in runs), key=_rank)
    if not scores or len({s.seed for s, _ in scores}) != len(scores):
        raise InputError(
            f"runs={[str(run) for run in runs]}: pass one finished training of {recipe.name} for each seed, at least one."
        )
    chosen, run_folder = scores[0]
    say(f"rebuilding the network of seed {chosen.seed}")
    data = data_from_recipe(recipe, data_folder)
    result = train(recipe, data_folder, seed=chosen.seed, folder=run_folder, device="cpu")
    if not isinstance(result.network, FeedForward):
        raise InputError(
            f"{recipe.name}: only networks that [model] layers describe are released, not {type(result.network).__name__}."
        )
    steps = result.network.num_steps or data.num_steps
    header = header_of(recipe, describe(result.network), data.format, data.time, steps or 0)
    state = {name: tensor.detach().contiguous() for name, tensor in result.network.state_dict().items()}
    return _write(target, [s for s, _ in scores], save(state, header), data, say)


def _rank(found: tuple[Scores, Path]) -> tuple[float, int]:
    scores, _ = found
    return -(scores.quantized_accuracy[0] or 0.0), scores.seed


def _scores(run: Path, recipe: str) -> tuple[Scores, Path]:
    path = run / "result.json"
    try:
        values = json.loads(read_file(path, "result"))
        found = Scores(int(values["seed"]), *(_pair(values[phase]) for phase in ("float", "quantized")))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no result of a training with quantization: {type(error).__name__}: {error}.") from error
    if values.get("recipe") != recipe:
        raise InputError(
            f"{path} is of recipe {str(values.get('recipe'))[:12]}, the model's is {recipe[:12]}. Train it with that one."
        )
    return found, run


def _pair(accuracy: dict[str, Any]) -> tuple[float | None, float]:
    validation = accuracy["validation"]
    return None if validation is None else float(validation), float(accuracy["test"])


def _write(target: Path, scores: list[Scores], weights: bytes, data: DataSet, say: Callable[[str], None]) -> Trained:
    """Check everything in a temporary folder, then write it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_atomically(place / RECIPE, read_file(target / RECIPE, "recipe"))
        write_atomically(place / WEIGHTS, weights)
        trained = load_folder(place)
        network = lower(trained.network, trained.sample_input, input_format=trained.input_format, readout=trained.readout)
        if not isinstance(network, IntegerNetwork) or not network.proof.exact:
            reasons = network.reasons if not isinstance(network, IntegerNetwork) else network.proof.reasons
            raise ArtefactError(f"{trained.recipe.name} is not proved: {' '.join(reasons)}")
        say("golden vectors by the reference, on the whole test set")
        golden = Golden.record(network, data)
        say("verifying")
        write_atomically(place / "model.onnx", onnx_bytes(network))
        report = verify(place / "model.onnx", network, golden.inputs, module=trained.network, adversarial=True)
        report.certificate().save(place / CERTIFICATE)
        correct = golden.correct(data.test_labels)
        _check_accuracy(100 * correct / len(data.test_labels), scores[0])
        contents = {RECIPE: read_file(place / RECIPE, "recipe"), WEIGHTS: weights, GOLDEN: golden.encode()}
        contents[CERTIFICATE] = read_file(place / CERTIFICATE, "certificate")
        card = render(trained, network, scores, correct=(correct, len(data.test_labels)), contents=contents)
    contents[CARD] = card.encode()
    size = sum(map(len, contents.values()))
    if size > LARGEST:
        raise InputError(f"{trained.recipe.name} has {size:,} bytes, more than {LARGEST:,}; it is too large to ship.")
    for file in FILES:
        write_atomically(target / file, contents[file])
    return load_folder(target)


def _check_accuracy(found: float, scores: Scores) -> None:
    """The reference classifies as the training said that torch does."""
    if abs(found - scores.quantized_accuracy[1]) > 1e-9:
        raise ArtefactError(
            f"The reference is right for {found:.4f} % of the test samples, the training with seed {scores.seed} says "
            f"{scores.quantized_accuracy[1]:.4f} %. Train again with these versions."
        )
