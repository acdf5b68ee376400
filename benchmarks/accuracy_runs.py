"""One row of the accuracy table with one seed: trained, then run in torch and in ONNX Runtime on the whole test set."""

from __future__ import annotations

import contextlib
import fcntl
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qleaky import IntegerNetwork, Runner, lower
from qleaky._files import write_atomically
from qleaky.export import onnx_bytes
from qleaky.recipes import Recipe, load_recipe, parse_recipe
from qleaky.training import Result, checkpoints, train

ROOT = Path(__file__).resolve().parent.parent
CHANGES = Path(__file__).with_name("accuracy.toml")
ROWS: dict[str, dict[str, Any] | None] = {
    "float": None,
    "W8/U8": {"weight_bits": 8, "state_bits": 8, "per_channel": False},
    "W4/U4": {"weight_bits": 4, "state_bits": 4, "per_channel": True},
    "W2/U4": {"weight_bits": 2, "state_bits": 4, "per_channel": True},
}
PIECE = 100


@dataclass(frozen=True)
class Score:
    """One trained network: accuracies in percent, and how many predictions and output numbers differ between the runtimes."""

    model: str
    row: str
    seed: int
    validation: float | None
    torch_accuracy: float
    runtime_accuracy: float
    samples: int
    predictions_differ: int
    outputs: int
    outputs_differ: int
    proved: bool
    recipe: str


def recipe_of(model: str, row: str) -> Recipe:
    """The model's recipe with the row's bits, and with what accuracy.toml changes for this row."""
    base = load_recipe(ROOT / "models" / model / "recipe.toml")
    changes, own = ROWS[row], tomllib.loads(CHANGES.read_text()).get(model, {}).get(row, {})
    if changes is None:
        return _written(replace(base, quantization=None))
    assert base.quantization is not None, f"{model}: its recipe has no [quantization]"
    quantization = replace(base.quantization, **changes, **own)
    return base if quantization == base.quantization else _written(replace(base, quantization=quantization))


def _written(recipe: Recipe) -> Recipe:
    """The recipe, as the text that says it."""
    tables = {key: value for key, value in asdict(recipe).items() if isinstance(value, dict)}
    lines = [f"name = {json.dumps(recipe.name)}"]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items() if v is not None and v != ())]
    return parse_recipe("\n".join(lines) + "\n", folder=recipe.folder)


def folder_of(runs: Path, model: str, row: str, seed: int) -> Path:
    return runs / model / row.replace("/", "").lower() / f"seed{seed}"


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether this process has the folder for itself; a process that dies lets it go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def finished(runs: Path, model: str, row: str, seed: int) -> Score | None:
    """The score of a run that is done, of the recipe as it is now."""
    path = folder_of(runs, model, row, seed) / "score.json"
    score = Score(**json.loads(path.read_text())) if path.is_file() else None
    return score if score is not None and score.recipe == recipe_of(model, row).digest else None


def score(runs: Path, model: str, row: str, seed: int, data: str | None) -> Score:
    """Train what is left of a run, evaluate it, and keep the score beside it."""
    recipe, folder = recipe_of(model, row), folder_of(runs, model, row, seed)
    if recipe.quantization is not None:
        _take_float_phase(runs, model, seed, recipe, folder)
    result = train(recipe, data, seed=seed, folder=folder, device="cpu", restart=_is_of_another_recipe(folder, recipe, seed))
    found = evaluate(result, model, row)
    write_atomically(folder / "score.json", (json.dumps(asdict(found), indent=2) + "\n").encode())
    return found


def _take_float_phase(runs: Path, model: str, seed: int, recipe: Recipe, folder: Path) -> None:
    """Go on from the float run of the same seed, whose recipe differs in nothing but quantization."""
    source, own = recipe_of(model, "float"), folder / checkpoints.NAME
    held = folder_of(runs, model, "float", seed) / checkpoints.NAME
    if (own.exists() and not _is_of_another_recipe(folder, recipe, seed)) or not held.exists():
        return
    if finished(runs, model, "float", seed) is not None and _trains_alike(source, recipe):
        done = checkpoints.decode(held.read_bytes(), held, source, seed)
        write_atomically(own, done.encode(recipe, seed))


def _trains_alike(one: Recipe, other: Recipe) -> bool:
    return (one.data, one.model, one.training) == (other.data, other.model, other.training)


def _is_of_another_recipe(folder: Path, recipe: Recipe, seed: int) -> bool:
    path = folder / checkpoints.NAME
    if not path.exists():
        return (folder / "recipe.toml").exists()
    try:
        checkpoints.decode(path.read_bytes(), path, recipe, seed)
    except checkpoints.ArtefactError:
        return True
    return False


def evaluate(result: Result, model: str, row: str) -> Score:
    """Both runtimes on the whole test set."""
    data, readout = result.data, result.recipe.model.readout
    values = torch.from_numpy(data.format.decode(data.test_codes))
    pieces = values.split(PIECE, 1 if data.time == "sequence" else 0)  # type: ignore[no-untyped-call]
    sample = pieces[0][:, :2] if data.time == "sequence" else pieces[0][:2]
    network = lower(result.network, sample, input_format=data.format, readout=f"{readout}:argmax")
    exact = isinstance(network, IntegerNetwork)
    runner, found = Runner(onnx_bytes(network)), []
    (source,) = network.inputs
    for piece in pieces:
        ran = runner.run(source.format.encode(piece) if exact and source.format is not None else piece.numpy())
        found.append((ran["class"], ran[network.output_name(network.readouts[0])]))
    frac_bits = network.lif_layers[-1].state.frac_bits if isinstance(network, IntegerNetwork) else 0
    expected = [_torch_outputs(result.network, piece, readout, frac_bits if exact else None) for piece in pieces]
    classes, outputs = (np.concatenate([part[index] for part in found]) for index in (0, 1))
    torch_classes, torch_outputs = (np.concatenate([part[index] for part in expected]) for index in (0, 1))
    accuracy = result.float_accuracy if result.quantized_accuracy is None else result.quantized_accuracy
    return Score(
        *(model, row, result.seed, accuracy.validation),
        *(100 * float((each == data.test_labels).mean()) for each in (torch_classes, classes)),
        *(len(classes), int((classes != torch_classes).sum()), outputs.size, int((outputs != torch_outputs).sum())),
        isinstance(network, IntegerNetwork) and network.proof.exact,
        result.recipe.digest,
    )


def _torch_outputs(
    net: torch.nn.Module, values: torch.Tensor, readout: str, frac_bits: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes and the readout's numbers: integers of a quantized network (``frac_bits`` of its membrane), else float32."""
    with torch.no_grad():
        spikes, membranes = net(values)
    states = spikes if readout == "spike_count" else membranes
    numbers = states[-1].double() if readout == "last_membrane" else states.sum(0, dtype=torch.float64)
    if frac_bits is None:
        return numbers.argmax(-1).numpy(), numbers.float().numpy()
    codes = np.ldexp(numbers.numpy(), 0 if readout == "spike_count" else frac_bits)
    return numbers.argmax(-1).numpy(), codes
