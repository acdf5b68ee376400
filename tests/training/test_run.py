"""``train``: the same recipe and seed give the same weights, interrupted or not, and folders of others are left alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import QUANTIZED, RECIPE, rows, tiny, weights

import qleaky
from qleaky.datasets import japanese_vowels
from qleaky.errors import ArtefactError, InputError, OutputError
from qleaky.layers import QuantizedLayer
from qleaky.models import build
from qleaky.models.shipped import load_folder
from qleaky.recipes import Recipe, parse_recipe
from qleaky.training import Result, train
from qleaky.training.metrics import Row
from qleaky.training.progress import Silent


class Stop(Silent):
    """Interrupts a training after some epochs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def row(self, row: Row, epochs: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def assert_same(first: Path, second: Path) -> None:
    found, expected = weights(first), weights(second)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert rows(first) == rows(second)


def interrupted(recipe: Recipe, folder: Path, after: int, **options: Any) -> Result:
    """A training that is stopped after so many epochs, and then goes on."""
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder=folder, progress=Stop(after), **options)
    assert len(rows(folder)) == after
    assert not (folder / "result.json").exists()
    return train(recipe, folder=folder, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return train(tiny(), folder=tmp_path_factory.mktemp("whole"))


# The same weights


def test_training_writes_its_results(whole: Result) -> None:
    assert {path.name for path in whole.folder.iterdir()} >= {path.name for path in whole.files} | {"checkpoint.pt"}
    assert (whole.folder / "recipe.toml").read_text() == RECIPE
    found = json.loads((whole.folder / "result.json").read_text())
    assert found["float"] == vars(whole.float_accuracy)
    assert (found["seed"], found["recipe"], found["quantized"]) == (0, tiny().digest, None)
    assert found["versions"]["torch"] == torch.__version__
    assert [(row["phase"], row["epoch"]) for row in rows(whole.folder)] == [("float", "1"), ("float", "2"), ("float", "3")]


def test_training_lowers_the_loss(whole: Result) -> None:
    losses = [float(row["loss"]) for row in rows(whole.folder)]
    assert losses[0] > losses[1] > losses[2]


def test_accuracies_are_those_of_the_saved_weights(whole: Result) -> None:
    data = japanese_vowels()
    net = build(whole.recipe.model, data)
    net.load_state_dict(weights(whole.folder))
    with torch.no_grad():
        _, membranes = net(torch.from_numpy(data.format.decode(data.test_codes)))
    right = membranes.double().sum(0).argmax(-1).numpy() == data.test_labels
    assert whole.float_accuracy.test == 100 * right.sum() / len(right)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(whole: Result, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what others drew makes no difference
    train(tiny(), folder=tmp_path / "again")
    assert_same(whole.folder, tmp_path / "again")
    train(tiny(), folder=tmp_path / "other", seed=1)
    assert not torch.equal(weights(tmp_path / "other")["fc1.weight"], weights(whole.folder)["fc1.weight"])


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_weights(after: int, whole: Result, tmp_path: Path) -> None:
    interrupted(tiny(), tmp_path, after)
    assert_same(tmp_path, whole.folder)


def test_the_best_epoch_survives_an_interruption(tmp_path: Path) -> None:
    recipe = tiny("epochs = 3", 'epochs = 5\nlearning_rate = 0.2\nkeep = "best"')
    train(recipe, folder=tmp_path / "whole")
    found = rows(tmp_path / "whole")
    best = max(found, key=lambda row: (float(row["validation_accuracy"]), -float(row["validation_loss"])))
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert result["float"]["validation"] == float(best["validation_accuracy"])
    interrupted(recipe, tmp_path / "twice", 4)
    assert_same(tmp_path / "twice", tmp_path / "whole")


def test_a_finished_training_is_read_again(whole: Result) -> None:
    before = weights(whole.folder)
    again = train(tiny(), folder=whole.folder)
    assert again.float_accuracy == whole.float_accuracy
    assert all(torch.equal(tensor, before[name]) for name, tensor in again.network.state_dict().items())


# The quantized phase


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return train(parse_recipe(RECIPE + QUANTIZED), folder=tmp_path_factory.mktemp("quantized"))


@pytest.mark.parametrize("after", [3, 4, 5])
def test_a_quantized_training_goes_on_in_its_phase(after: int, quantized: Result, tmp_path: Path) -> None:
    interrupted(quantized.recipe, tmp_path, after)
    assert_same(tmp_path, quantized.folder)


def test_the_quantized_network_is_proved(quantized: Result) -> None:
    assert quantized.report is not None
    assert (quantized.report.verdict, quantized.report.mismatches) == ("proved", 0)
    assert {path.name for path in quantized.folder.iterdir()} >= {path.name for path in quantized.files}
    classes = qleaky.Runner(quantized.folder / "model.onnx").run(quantized.data.test_codes)["class"]
    assert quantized.quantized_accuracy is not None
    assert quantized.quantized_accuracy.test == 100 * (classes == quantized.data.test_labels).sum() / len(classes)


def test_the_float_weights_stay_beside_the_quantized_ones(quantized: Result, whole: Result) -> None:
    found, expected = weights(quantized.folder, "float.safetensors"), weights(whole.folder)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_network_is_built_again_from_its_folder(quantized: Result) -> None:
    loaded = load_folder(quantized.folder)
    x = torch.from_numpy(quantized.data.format.decode(quantized.data.test_codes[:, :9]))
    with torch.no_grad():
        for found, expected in zip(loaded.network(x), quantized.network(x), strict=True):
            assert torch.equal(found, expected)


def test_the_last_epochs_freeze_the_scales(quantized: Result) -> None:
    assert all(bool(layer.scales_frozen) for layer in quantized.network.modules() if isinstance(layer, QuantizedLayer))


def test_quantization_without_epochs_is_calibration_alone(tmp_path: Path) -> None:
    result = train(parse_recipe(RECIPE + "[quantization]\nepochs = 0\n"), folder=tmp_path)
    assert [row["phase"] for row in rows(tmp_path)] == ["float"] * 3
    assert result.report is not None
    assert result.report.verdict == "proved"


def test_static_inputs(tmp_path: Path) -> None:
    text = RECIPE.replace("japanese-vowels", "digits").replace("[12, 8, 9]", "[64, 8, 10]\nnum_steps = 4")
    result = train(parse_recipe(text.replace("epochs = 3", "epochs = 1") + "[quantization]\nepochs = 1\n"), folder=tmp_path)
    assert result.report is not None
    assert result.report.verdict == "proved"


def test_the_caller_s_settings_come_back(tmp_path: Path) -> None:
    torch.manual_seed(5)
    threads, expected = torch.get_num_threads(), torch.rand(3, generator=torch.Generator().manual_seed(5))
    train(tiny("epochs = 3", "epochs = 1"), folder=tmp_path)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), expected)


# What is refused before any training


def test_a_checkpoint_of_another_recipe_or_seed_is_refused(whole: Result) -> None:
    before = (whole.folder / "checkpoint.pt").read_bytes()
    with pytest.raises(ArtefactError, match=r"is of recipe 'tiny' .* with seed 0; this is 'tiny' .* with seed 1.*--restart"):
        train(tiny(), folder=whole.folder, seed=1)
    with pytest.raises(ArtefactError, match=r"checkpoint\.pt is of recipe .*Choose another folder with -o, or .*--restart"):
        train(tiny("epochs = 3", "epochs = 4"), folder=whole.folder)
    assert (whole.folder / "checkpoint.pt").read_bytes() == before
    assert (whole.folder / "recipe.toml").read_text() == RECIPE


def test_restart_begins_anew(tmp_path: Path) -> None:
    train(tiny("epochs = 3", "epochs = 1"), folder=tmp_path)
    train(tiny("epochs = 3", "epochs = 2"), folder=tmp_path, restart=True)
    assert len(rows(tmp_path)) == 2


def test_another_recipe_in_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("mine")
    with pytest.raises(InputError, match=r"recipe\.toml is another recipe, and would be overwritten"):
        train(tiny(), folder=tmp_path)
    assert (tmp_path / "recipe.toml").read_text() == "mine"


@pytest.mark.parametrize("data", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"checkpoint\.pt is no checkpoint of qleaky-train, or is damaged"):
        train(tiny(), folder=tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    code = "import qleaky.models\ndef net(recipe):\n    return qleaky.models.FeedForward([12, {}, 9], None)\n"
    (tmp_path / "nets.py").write_text(code.format(8))
    recipe = tiny("layers = [12, 8, 9]", 'build = "nets.py:net"', folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder=tmp_path / "out", progress=Stop(1))
    (tmp_path / "nets.py").write_text(code.format(6))
    with pytest.raises(
        ArtefactError, match=r"of another network: fc1\.weight is of shape \(8, 12\) there and of shape \(6, 12\)"
    ):
        train(recipe, folder=tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"Cannot write to folder .*file"):
        train(tiny(), folder=tmp_path / "file")


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("japanese-vowels", "vowels", InputError, "There is no data set 'vowels'. Choose one of .*japanese-vowels"),
        ("japanese-vowels", "fashion-mnist", ArtefactError, "fashion-mnist|Fashion-MNIST"),
        ("[12, 8, 9]", "[12, 8, 10]", InputError, r"layers ends with 10; japanese-vowels has 9 classes"),
        ("[12, 8, 9]", "[16, 8, 9]", InputError, r"takes samples of shape \(16,\), japanese-vowels has \(12,\)"),
    ],
)
def test_data_and_network_must_fit(old: str, new: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        train(tiny(old, new), tmp_path, folder=tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("net = 3", r'model\.build = "nets\.py:net" is a int; name a function'),
        ("other = 3", r"nets\.py has no 'net'; name a function in it"),
        ("def net(recipe): return 3", r"returned a int; return a torch\.nn\.Module"),
        ("def net(recipe): return recipe.absent", "failed: AttributeError"),
        ("def net(recipe):", r"nets\.py cannot be imported: (SyntaxError|IndentationError)"),
        (
            "import torch\ndef net(recipe): return torch.nn.Linear(12, 9)",
            r"returns Tensor; training needs \(spikes, membranes\)",
        ),
        ("import torch\ndef net(recipe): return torch.nn.Linear(3, 9)", r"The network fails on samples of shape \(29, 2, 12\)"),
    ],
)
def test_code_that_builds_no_network_is_refused(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(code)
    recipe = tiny("layers = [12, 8, 9]", 'build = "nets.py:net"', folder=tmp_path)
    with pytest.raises(InputError, match=message):
        train(recipe, folder=tmp_path / "out")


def test_code_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*nets\.py; files are looked up from the recipe's folder"):
        train(tiny("layers = [12, 8, 9]", 'build = "nets.py:net"', folder=tmp_path), folder=tmp_path / "out")


DATA = """
import numpy as np
from qleaky.datasets import DataSet
from qleaky.fixed import QFormat
def data(folder):
    codes = np.arange(2 * 6 * 12).reshape(2, 6, 12) % 7
    labels = np.array([0, 1, 2, 0, 1, {label}])
    return DataSet("own", codes, labels, codes, labels, QFormat(8, 4), "sequence", 2, 3)
"""


def test_a_loader_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(DATA.format(label=2))
    text = RECIPE.replace('"japanese-vowels"', '"own"\nbuild = "own.py:data"\nvalidation = 0').replace("8, 9", "8, 3")
    result = train(parse_recipe(text, folder=tmp_path), folder=tmp_path / "out")
    assert result.float_accuracy.validation is None
    assert [row["validation_accuracy"] for row in rows(tmp_path / "out")] == [""] * 3
    (tmp_path / "own.py").write_text(DATA.format(label=3))
    with pytest.raises(InputError, match=r"labels are int64 from 0 to 3; they are int64 from 0 to 2, for 3 classes"):
        train(parse_recipe(text, folder=tmp_path), folder=tmp_path / "other")


def test_a_recipe_with_replaced_values_leaves_a_recipe_with_them(tmp_path: Path) -> None:
    recipe = tiny()
    shorter = replace(recipe, training=replace(recipe.training, epochs=1))
    train(shorter, folder=tmp_path)
    assert parse_recipe((tmp_path / "recipe.toml").read_text()).digest == shorter.digest
