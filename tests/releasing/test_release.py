"""A released model, from its files alone, is the network that was trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save

import qleaky
import qleaky.model_reference
from qleaky.datasets import digits
from qleaky.errors import ArtefactError, InputError
from qleaky.export import onnx_bytes
from qleaky.model_reference import HowToLower, load_model
from qleaky.models.shipped import load_folder, read_header
from qleaky.recipes import load_recipe
from qleaky.releasing import FILES, Golden, release
from qleaky.training import train
from qleaky.verification import Certificate, Runner

RECIPE = """
name = "small-digits"
data = { name = "digits", validation = 0.2 }
model = { layers = [64, 12, 10], num_steps = 4, beta = 0.9, readout = "membrane_mean" }
training = { epochs = 2, batch_size = 64, learning_rate = 1e-2 }
quantization = { weight_bits = 8, epochs = 1 }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], Any]:
    """A model's folder, two finished trainings of its recipe, and their results."""
    root = tmp_path_factory.mktemp("model")
    (root / "model").mkdir()
    (root / "model" / "recipe.toml").write_text(RECIPE)
    recipe = load_recipe(root / "model" / "recipe.toml")
    runs = [root / "seed0", root / "seed1"]
    return root / "model", runs, [train(recipe, seed=seed, folder=run) for seed, run in enumerate(runs)]


@pytest.fixture(scope="module")
def released(trained: tuple[Path, list[Path], Any]) -> tuple[Path, Any]:
    folder, runs, results = trained
    release(folder, runs)
    return folder, max(results, key=lambda result: (result.quantized_accuracy.validation, -result.seed))


def test_everything_is_written_and_small(released: tuple[Path, Any]) -> None:
    folder, _ = released
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, "recipe.toml"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000


def test_the_network_of_the_best_validation_accuracy_comes_back(released: tuple[Path, Any]) -> None:
    folder, best = released
    loaded = load_folder(folder)
    contracts = [
        qleaky.lower(net, loaded.sample_input, input_format=loaded.input_format, readout=loaded.readout)
        for net in (loaded.network, best.network)
    ]
    assert contracts[0].digest == contracts[1].digest
    assert isinstance(contracts[0], qleaky.IntegerNetwork)
    assert contracts[0].proof.exact
    certificate = Certificate.load(folder / "certificate.json")
    assert (certificate.verdict, certificate.contract_digest) == ("proved", contracts[0].digest)


def test_onnx_runtime_finds_the_golden_vectors(released: tuple[Path, Any]) -> None:
    folder, _ = released
    loaded, golden = load_folder(folder), Golden.load(folder / "golden.npz")
    network = qleaky.lower(loaded.network, loaded.sample_input, input_format=loaded.input_format, readout=loaded.readout)
    runner = Runner(onnx_bytes(network))
    found = runner.run(golden.inputs)
    for name, expected in golden.outputs.items():
        assert np.array_equal(found[name], expected)
    assert set(golden.digests) == {(layer, kind) for layer in ("lif1", "lif2") for kind in ("mem", "spk")}
    data = digits()
    assert np.array_equal(runner.run(data.test_codes)["class"], golden.test_classes)


def test_the_card_names_what_was_measured(released: tuple[Path, Any]) -> None:
    folder, best = released
    card, golden = (folder / "README.md").read_text(), Golden.load(folder / "golden.npz")
    correct = golden.correct(digits().test_labels)
    assert best.quantized_accuracy.test == pytest.approx(100 * correct / 450)
    assert f"{100 * correct / 450:.2f} % on the test set: {correct} of 450" in card
    assert "64-12-10, T=4" in card
    assert "CC BY 4.0" in card
    for name in ("weights.safetensors", "golden.npz", "certificate.json"):
        assert f"[{name}]({name}) | {(folder / name).stat().st_size} |" in card
    assert "{" not in card
    assert "\nLoss and class are of the readout" in card


def test_weights_that_were_changed_are_not_exported(
    released: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(released[0], tmp_path / "small-digits")
    for module in (qleaky.model_reference, qleaky.models.shipped):
        monkeypatch.setattr(module, "shared_folder", lambda _: tmp_path)
    whole = load_model("small-digits", HowToLower())
    assert whole.digest == Certificate.load(folder / "certificate.json").contract_digest
    state = load_file(folder / "weights.safetensors")
    state["fc2.weight"][3, 4] += 0.5
    header = {"qleaky": json.dumps(read_header(folder / "weights.safetensors"))}
    (folder / "weights.safetensors").write_bytes(save(state, header))
    with pytest.raises(ArtefactError, match=r"certificate\.json is of contract .* the weights beside it give .* was changed"):
        load_model("small-digits", HowToLower())


def test_releasing_again_writes_the_same_bytes(released: tuple[Path, Any], trained: tuple[Path, list[Path], Any]) -> None:
    folder, _ = released
    before = {name: (folder / name).read_bytes() for name in FILES}
    release(folder, trained[1])
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_without_validation_samples_the_smallest_seed_is_released(tmp_path: Path) -> None:
    """Choosing by anything else would be choosing on the test set."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "recipe.toml").write_text(RECIPE.replace("validation = 0.2", "validation = 0.0"))
    recipe = load_recipe(tmp_path / "model" / "recipe.toml")
    for seed in (4, 3):
        train(recipe, seed=seed, folder=tmp_path / str(seed))
    release(tmp_path / "model", [tmp_path / "4", tmp_path / "3"])
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Seed 3, the first of 2 trainings." in card
    assert "| seed | float, test | quantized, test |\n|---|---|---|\n| 3 |" in card


def test_runs_that_are_none(trained: tuple[Path, list[Path], Any], tmp_path: Path) -> None:
    folder, runs, _ = trained
    with pytest.raises(InputError, match="pass one finished training of small-digits for each seed, at least one"):
        release(folder, [])
    with pytest.raises(InputError, match="pass one finished training of small-digits for each seed"):
        release(folder, [runs[0], runs[0]])
    with pytest.raises(ArtefactError, match=r"Cannot read result .*result\.json"):
        release(folder, [tmp_path])
    values = json.loads((runs[0] / "result.json").read_text())
    for changes, message in [
        ({"recipe": "0" * 64}, r"is of recipe 000000000000, the model's is"),
        ({"quantized": None}, "is no result of a training with quantization: "),
        ({"float": {"test": 3.0}}, "is no result of a training with quantization: KeyError"),
    ]:
        (tmp_path / "result.json").write_text(json.dumps(values | changes))
        with pytest.raises(InputError, match=message):
            release(folder, [tmp_path])


def test_a_recipe_beside_other_weights_is_seen(released: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = released
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(ArtefactError, match=r"is of recipe \w{12}, recipe\.toml beside it is \w{12}; they belong together"):
        load_folder(tmp_path)


@pytest.mark.parametrize("data", [b"", b"nothing at all", b"\x10\0\0\0\0\0\0\0{}              "])
def test_damaged_files_are_seen(data: bytes, released: tuple[Path, Any], tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(data)
    (tmp_path / "golden.npz").write_bytes(data)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(ArtefactError, match="is no weights file of a released network, or is damaged"):
        load_folder(tmp_path)
    with pytest.raises(ArtefactError, match="holds no golden vectors, or is damaged"):
        Golden.load(tmp_path / "golden.npz")
