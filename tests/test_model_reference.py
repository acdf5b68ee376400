"""MODEL on the command line: code that builds a network, weights without unpickling, saved contracts."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from qleaky import IntegerNetwork, QFormat, lower
from qleaky._weights import load_weights
from qleaky.errors import ArtefactError, FormatError, InputError, LoweringError
from qleaky.model_reference import HowToLower, load_model, parse_format

CODE = """
import torch
from torch import nn
from qleaky import FixedPoint, Leaky, QuantLinear

def lif(**settings):
    return Leaky(230 / 256, state_quant=FixedPoint(8, 5), **settings)

class Step(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1, self.fc2, self.lif2 = QuantLinear(6, 5), lif(), QuantLinear(5, 3), lif()

    def forward(self, x, mem1, spk1, mem2):
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return mem1, spk1, mem2, spk2

class Whole(Step):
    def forward(self, x):
        return self.lif2.sequence(self.fc2(self.lif1.sequence(self.fc1(x))[0]))

class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lif = nn.Conv2d(1, 2, 3), lif(init_hidden=True)
        nn.init.constant_(self.conv.weight, 0.25), nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.lif(self.conv(x))

class BatchFirst(Whole):
    def forward(self, x):
        return super().forward(x.transpose(0, 1))

class Static(Whole):
    def forward(self, x):
        return super().forward(x.expand(7, *x.shape))

class Optional(Step):
    def forward(self, x, mem1=None, spk1=None, mem2=None):
        mem1 = torch.zeros(len(x), 5) if mem1 is None else mem1
        return super().forward(x, mem1, spk1, torch.zeros(len(x), 3) if mem2 is None else mem2)

def with_sample():
    return Whole(), torch.zeros(7, 2, 6)

def fails():
    raise RuntimeError("no data here")

def number():
    return 3

network = Whole()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "user_nets.py"
    path.write_text(CODE)
    return str(path)


def load(reference: str, **options: Any) -> Any:
    return load_model(reference, HowToLower(**{"input_format": "spikes"} | options))


def test_step_networks_whole_networks_and_samples_are_one_contract(file: str) -> None:
    networks = [
        load(f"{file}:Step", num_steps=7),
        load(f"{file}:Whole", num_steps=7, readout="spikes"),
        load(f"{file}:with_sample", readout="spikes"),
        load(f"{file}:network", num_steps=7, readout="spikes"),
    ]
    assert all(isinstance(network, IntegerNetwork) and network.num_steps == 7 for network in networks)
    assert networks[1].digest == networks[2].digest
    assert [layer.name for layer in networks[0].layers] == ["fc1", "lif1", "fc2", "lif2"]


def test_a_module_is_found_in_the_current_folder(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(file).parent)
    before = list(sys.path)
    assert load("user_nets:Step", num_steps=3).num_steps == 3
    assert sys.path == before


def test_the_shape_of_a_sample_is_asked_for_where_the_network_does_not_show_it(file: str) -> None:
    with pytest.raises(InputError, match=r"The shape of one sample is not known; pass --input-shape"):
        load(f"{file}:Image", num_steps=3)
    assert load(f"{file}:Image", num_steps=3, input_shape=(1, 5, 5)).input.shape == (1, 5, 5)


def test_a_static_input_stays_one(file: str) -> None:
    assert load(f"{file}:Step", num_steps=4, time="static").input.time == "static"


def test_a_saved_contract_is_taken_as_it_is(file: str, tmp_path: Path) -> None:
    network = load(f"{file}:Step", num_steps=7)
    network.save(tmp_path / "net.qleaky")
    path = str(tmp_path / "net.qleaky")
    assert load_model(path, HowToLower()).digest == network.digest
    with pytest.raises(InputError, match=r"--num-steps, --readout: .*net\.qleaky is lowered already; leave them out"):
        load_model(path, HowToLower(num_steps=3, readout="spikes"))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "nested.pt"])
def test_weights_are_loaded_from_tensors_alone(file: str, tmp_path: Path, name: str) -> None:
    plain = load(f"{file}:Step", num_steps=3)
    sys.path.insert(0, str(Path(file).parent))
    import user_nets  # type: ignore[import-not-found]

    sys.path.pop(0)
    net = user_nets.Step()
    with torch.no_grad():
        net.fc1.weight.mul_(2).add_(0.3)
    path, state = tmp_path / name, net.state_dict()
    if name.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if name == "nested.pt" else state, path)
    loaded = load(f"{file}:Step", num_steps=3, weights=str(path))
    sample = (torch.zeros(2, 6), torch.zeros(2, 5), torch.zeros(2, 5), torch.zeros(2, 3))
    assert loaded.digest == lower(net, sample, num_steps=3, input_format="spikes").digest != plain.digest


class Evil:
    def __reduce__(self) -> Any:
        return (open, ("/tmp/qleaky-should-never-exist", "w"))


def test_nothing_is_ever_unpickled(file: str, tmp_path: Path) -> None:
    for index, value in enumerate((Evil(), {"fc1.weight": Evil()})):
        path = tmp_path / f"{index}.pt"
        torch.save(value, path)
        with pytest.raises(ArtefactError, match=r"safetensors\.torch\.save_file\(net\.state_dict\(\)"):
            load(f"{file}:Step", num_steps=3, weights=str(path))
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ArtefactError, match="nothing else in it is run"):
        load(f"{file}:Step", num_steps=3, weights=str(tmp_path / "raw.pt"))
    assert not Path("/tmp/qleaky-should-never-exist").exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2))
    save_file({"0.weight": torch.zeros(2, 4)}, tmp_path / "w.safetensors")
    with pytest.raises(ArtefactError, match=r"does not fit the network: .*0\.bias.*size mismatch for 0\.weight"):
        load_weights(net, str(tmp_path / "w.safetensors"))
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(ArtefactError, match="holds a Tensor, not a state dict"):
        load_weights(net, str(tmp_path / "tensor.pt"))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match="is no safetensors file, or is damaged"):
        load_weights(net, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ArtefactError, match="Cannot read weights file"):
        load_weights(net, str(tmp_path / "missing.pt"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("resnet", r"MODEL 'resnet' is unknown: .*Pass a \.qleaky file, or module:callable or file\.py:callable"),
        ("no_such_module:net", r"module 'no_such_module' cannot be imported: ModuleNotFoundError"),
        ("no_such_file.py:net", r"no_such_file\.py is no Python file"),
        ("{file}:missing", r"has no 'missing'; MODEL is .*:callable"),
        ("{file}:fails", r"fails\(\) failed: RuntimeError: no data here"),
        ("{file}:number", r"gives a int; return the torch\.nn\.Module"),
        ("{file}:Step", r"How many time steps\? Pass --num-steps T"),
    ],
)
def test_models_that_do_not_exist(file: str, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(reference.format(file=file))


def test_code_that_does_not_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 +")
    with pytest.raises(InputError, match=r"broken\.py cannot be run: SyntaxError"):
        load(f"{tmp_path / 'broken.py'}:net", num_steps=1)


def test_the_first_reason_is_told_where_neither_steps_nor_sequences_run(file: str) -> None:
    with pytest.raises(LoweringError, match="forward failed on sample_input"):
        load(f"{file}:Step", num_steps=3, input_shape=(9,))


@pytest.mark.parametrize(
    "fmt", [QFormat(8, 5), QFormat(8, 6, False, 128), QFormat(8, 0, narrow=True), QFormat(1, 0, signed=False), QFormat(8, 12)]
)
def test_formats_are_read_as_they_are_printed(fmt: QFormat) -> None:
    assert parse_format(repr(fmt)) == fmt
    assert parse_format("spikes") == "spikes"


@pytest.mark.parametrize("text", ["", "u8", "Q8", "Q2.5.1", "UQ2.6(zero_point=)", "q2.5"])
def test_other_formats_are_errors(text: str) -> None:
    with pytest.raises(FormatError, match=r"is no format; write Q<int>\.<frac>"):
        parse_format(text)


@pytest.mark.parametrize("name", ["BatchFirst", "Static", "Optional"])
def test_forwards_of_every_kind_are_one_contract_for_the_same_steps(file: str, name: str) -> None:
    network = load(f"{file}:{name}", num_steps=7, readout="spikes")
    assert (network.num_steps, network.inputs[0].shape) == (7, (6,))
    layers = load(f"{file}:Whole", num_steps=7).lif_layers
    assert [lif.name for lif in network.lif_layers] == [lif.name for lif in layers]


def test_steps_that_forward_does_not_make_are_an_error(file: str) -> None:
    """Nothing that happens to run with other numbers of steps or shapes is taken for the network."""
    with pytest.raises(LoweringError, match="forward runs 7 steps by itself on sample_input, but num_steps=4"):
        load(f"{file}:Static", num_steps=4)


def test_a_misuse_is_told_before_what_cannot_be_lowered(file: str) -> None:
    with pytest.raises(InputError, match="readout='count' is unknown"):
        load(f"{file}:Whole", num_steps=3, readout="count")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_weights_saved_inside_a_data_parallel(file: str, tmp_path: Path, name: str) -> None:
    net = nn.Linear(3, 2)
    state = {f"module.{key}": tensor for key, tensor in net.state_dict().items()}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    loaded = nn.Linear(3, 2)
    load_weights(loaded, str(tmp_path / name))
    assert torch.equal(loaded.weight, net.weight)
    load_weights(nn.DataParallel(loaded), str(tmp_path / name))


@pytest.mark.parametrize(("reference", "code"), [("net.pt", "net.py"), ("w.safetensors", "net.py"), ("my.py", r"my\.py")])
def test_weights_or_code_alone_are_no_model(reference: str, code: str) -> None:
    with pytest.raises(InputError, match=f"names no network: pass the code that builds it, as {code}:callable, and"):
        load(reference)
