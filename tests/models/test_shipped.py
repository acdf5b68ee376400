"""Every model that ships, from its files alone, is proved, and is as good on the test set as its card says."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import qleaky
from qleaky import IntegerNetwork, models
from qleaky._share import shared_folder
from qleaky.datasets import DataSet, load
from qleaky.errors import InputError
from qleaky.export import onnx_bytes
from qleaky.integer.graph import samples as pick
from qleaky.model_reference import HowToLower, load_model
from qleaky.recipes import load_recipe
from qleaky.reference import Recording
from qleaky.releasing import FILES, Golden
from qleaky.releasing.golden import on_test_set, pieces
from qleaky.training import network_from_recipe
from qleaky.verification import Certificate, Runner, verify
from qleaky.verification.digests import state_digests, vectors_digest
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.vectors import vectors

NAMES = sorted(path.parent.name for path in shared_folder("models").glob("*/recipe.toml"))
IN_PACKAGE = ("digits", "japanese-vowels")


def folder_of(name: str) -> Path:
    return shared_folder("models") / name


def data_of(name: str, request: pytest.FixtureRequest) -> DataSet:
    """The data set of a recipe; skips where its files are not there."""
    wanted = load_recipe(shared_folder("models") / name / "recipe.toml").data.name
    return load(wanted) if wanted in IN_PACKAGE else load(wanted, request.getfixturevalue("shared") / "data")


@pytest.fixture(params=models.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(name: str) -> IntegerNetwork:
    found = load_model(name, HowToLower())
    assert isinstance(found, IntegerNetwork)
    return found


def test_there_are_the_models_that_are_promised() -> None:
    assert NAMES == ["digits", "fashion-mnist-conv", "fashion-mnist-dense", "fsdd", "japanese-vowels"]


def test_all_of_them_are_trained() -> None:
    assert list(models.names()) == NAMES


@pytest.mark.parametrize("recipe_name", NAMES)
def test_every_recipe_builds_a_network_for_its_data(recipe_name: str, request: pytest.FixtureRequest) -> None:
    recipe = load_recipe(shared_folder("models") / recipe_name / "recipe.toml")
    assert recipe.name == recipe_name
    assert recipe.quantization is not None
    network_from_recipe(recipe, data_of(recipe_name, request))


def test_all_files_are_there_and_together_below_a_megabyte(name: str) -> None:
    assert {path.name for path in folder_of(name).iterdir()} == {*FILES, "recipe.toml"}
    assert sum(path.stat().st_size for path in folder_of(name).iterdir()) < 1_000_000


def test_the_network_is_proved(name: str, network: IntegerNetwork) -> None:
    assert network.proof.exact


def test_the_certificate_is_of_this_network_and_its_onnx_file(name: str, network: IntegerNetwork, tmp_path: Path) -> None:
    certificate = Certificate.load(folder_of(name) / "certificate.json")
    assert certificate.verdict == "proved"
    assert certificate.contract_digest == network.digest
    if certificate.versions["onnx"] == onnx.__version__:
        assert certificate.artefact_sha256 == hashlib.sha256(onnx_bytes(network)).hexdigest()
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    golden = Golden.load(folder_of(name) / "golden.npz")
    report = verify(tmp_path / "net.onnx", network, golden.inputs, module=models.load(name).network)
    assert (report.verdict, report.mismatches) == ("proved", 0)


def test_the_certificate_is_of_the_vectors_that_this_version_searches(name: str, network: IntegerNetwork) -> None:
    held, made = Certificate.load(folder_of(name) / "certificate.json").vectors, vectors(network)
    assert [(group.name, group.count) for group in held] == [("given", 16), *((g.name, g.count) for g in made.groups)]
    for group, ran in zip(made.groups, held[1:], strict=True):
        codes = pick(network.inputs, made.codes, np.arange(group.first, group.first + group.count))
        assert ran.sha256 == vectors_digest(codes)


def test_onnx_runtime_finds_every_golden_vector(name: str, network: IntegerNetwork) -> None:
    golden = Golden.load(folder_of(name) / "golden.npz")
    model = onnx.load_model_from_string(onnx_bytes(network))
    recording, outputs = ProbedRunner(model, network).record({network.input.name: golden.inputs})
    for output, expected in golden.outputs.items():
        assert np.array_equal(outputs[output], expected)
    found = state_digests(recording)
    assert found.keys() == golden.digests.keys()
    for place, digests in found.items():
        assert np.array_equal(digests, golden.digests[place]), place


def test_the_accuracy_on_the_test_set_is_that_of_the_card(
    name: str, network: IntegerNetwork, request: pytest.FixtureRequest
) -> None:
    golden, data = Golden.load(folder_of(name) / "golden.npz"), data_of(name, request)
    runner = Runner(onnx_bytes(network))
    classes = np.concatenate([runner.run(codes)["class"] for codes in pieces(data)])
    assert np.array_equal(classes, golden.test_classes)
    card = (folder_of(name) / "README.md").read_text()
    said = re.search(r"([\d.]+) % on the test set: (\d+) of (\d+)\.", card)
    assert said is not None
    correct, count = int((classes == data.test_labels).sum()), len(data.test_labels)
    assert said.groups() == (f"{100 * correct / count:.2f}", str(correct), str(count))


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.nightly if "fashion" in name else ()) for name in models.names()]
)
def test_every_state_on_the_whole_test_set_has_its_digest(model: str, request: pytest.FixtureRequest) -> None:
    network = load_model(model, HowToLower())
    assert isinstance(network, IntegerNetwork)
    golden, data = Golden.load(folder_of(model) / "golden.npz"), data_of(model, request)
    probed = ProbedRunner(onnx.load_model_from_string(onnx_bytes(network)), network)

    def execute(codes: Any) -> Recording:
        recording, outputs = probed.record({network.input.name: codes})
        return replace(recording, outputs=outputs)

    classes, digests = on_test_set(data, execute)
    assert np.array_equal(classes, golden.test_classes)
    assert digests.keys() == golden.test_digests.keys()
    for place, found in digests.items():
        assert np.array_equal(found, golden.test_digests[place]), place


def test_the_card_has_the_digests_of_the_files(name: str) -> None:
    card = (folder_of(name) / "README.md").read_text()
    listed = re.findall(r"\| \[([^]]+)\]\(\1\) \| (\d+) \| `(\w{64})` \|", card)
    assert {file for file, _, _ in listed} == {"recipe.toml", "weights.safetensors", "golden.npz", "certificate.json"}
    for file, size, sha256 in listed:
        data = (folder_of(name) / file).read_bytes()
        assert (str(len(data)), hashlib.sha256(data).hexdigest()) == (size, sha256)


def test_a_shipped_network_is_exported_by_its_name(name: str, network: IntegerNetwork) -> None:
    trained = models.load(name)
    other = load_model(name, HowToLower(readout="spike_count"))
    assert [readout.kind for readout in other.readouts] == ["spike_count"]
    assert trained.recipe.name == name
    with pytest.raises(InputError, match=f"--num-steps: {name} is a reference model, which brings them itself; leave them out"):
        load_model(name, HowToLower(num_steps=3))


def test_networks_that_do_not_ship() -> None:
    with pytest.raises(InputError, match=r"There is no trained network 'resnet'\. (Choose one of|None ships)"):
        models.load("resnet")
    for missing in set(NAMES) - set(models.names()):
        with pytest.raises(
            InputError, match=rf"no trained network '{missing}'\. Its recipe ships without weights; train it: qlea"
        ):
            models.load(missing)
        with pytest.raises(InputError, match=rf"no trained network '{missing}'"):
            load_model(missing, HowToLower())
