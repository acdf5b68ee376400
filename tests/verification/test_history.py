"""The story of a divergence: the neuron's last steps as two simulations written here have them, and how to replay it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from qleaky import FixedPoint, FloatNetwork, IntegerNetwork, Leaky, QFormat, QuantLinear, export_onnx, verify
from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.integer import LIF, Conv, Input, Linear, Readout, Reshape, Synapse
from qleaky.verification.divergence import Divergence, HistoryStep, Term, history_table
from qleaky.verification.vectors import vectors

T, SAMPLES, THETA = 15, 5, 40
RNG = np.random.default_rng(2)
WEIGHTS = [RNG.integers(-60, 61, shape).astype(np.int8) for shape in ((6, 3), (4, 6))]
INPUTS = RNG.integers(-40, 41, (T, SAMPLES, 3)).astype(np.int8)


def contract(**last: Any) -> IntegerNetwork:
    layers: list[Any] = []
    for i, weight in enumerate(WEIGHTS, start=1):
        layers.append(Linear(name=f"fc{i}", input="input" if i == 1 else "lif1", weight=weight, weight_frac_bits=5))
        decay = {"decay": MulShift(n=8), "multiplier": np.array(230)} | (last if i == 2 else {})
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", state=QFormat(8, 5), theta=np.array(THETA), **decay))
    parts: dict[str, Any] = {"num_steps": T, "readouts": (Readout("lif2", "spike_count"),)}
    return IntegerNetwork(inputs=(Input((3,), QFormat(8, 5)),), layers=tuple(layers), **parts)


def simulate(change: int) -> dict[str, Any]:
    """Currents, membranes and spikes (T, B, 4) of lif2, where weight [2, 1] of fc2 is larger by ``change``; spikes of lif1."""
    x: Any = INPUTS.astype(int)
    found: dict[str, Any] = {}
    for i, shift in ((1, 5), (2, 0)):
        weight = WEIGHTS[i - 1].astype(int)
        if i == 2:
            weight[2, 1] += change
        currents = x @ weight.T
        mem, mems = np.zeros(currents.shape[1:], int), []
        for current in currents:
            total = 230 * mem + (current << 8 - shift) - 256 * THETA * (mem > THETA)
            mem = np.clip((total + 128) >> 8, -128, 127)
            mems.append(mem)
        x = (np.stack(mems) > THETA).astype(int)
        found |= {"currents": currents, "membranes": np.stack(mems), "spikes": x} if i == 2 else {"sources": x}
    return found


def change_weight(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc2.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[1 if array.shape[0] == 6 else 2, 2 if array.shape[0] == 6 else 1] += 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def changed(folder: Path, network: Any, change: Callable[[ModelProto], None], form: str = "scan") -> Path:
    export_onnx(network, folder / "net.onnx", form)
    model = onnx.load(folder / "net.onnx")
    change(model)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def first(a: Any, b: Any) -> tuple[int, int]:
    """Step and sample of the first difference."""
    step, sample = (int(i) for i in np.argwhere(a["membranes"] != b["membranes"])[0][:2])
    return step, sample


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_the_last_steps_are_told_as_expected_and_as_found(form: str, tmp_path: Path) -> None:
    found = verify(changed(tmp_path, contract(), change_weight, form), contract(), INPUTS[:, 3:]).first_divergence
    assert found is not None
    before, after = simulate(0), simulate(1)
    sample = found.sample + 3
    assert (found.layer, found.kind, found.element) == ("lif2", "mem", (2,))
    assert [row.step for row in found.history] == list(range(max(0, found.step - 7), found.step + 1))
    assert len(found.history) == 8  # the weight's change shows late: there is more than the story tells
    for row in found.history:
        place = (row.step, sample, 2)
        assert row == HistoryStep(
            step=row.step,
            current=int(before["currents"][place]),
            membrane_expected=int(before["membranes"][place]),
            membrane_found=int(after["membranes"][place]),
            spike_expected=int(before["spikes"][place]),
            spike_found=int(after["spikes"][place]),
        )
    assert found.history[-1].membrane_expected != found.history[-1].membrane_found


def test_the_current_is_explained_by_its_largest_addends(tmp_path: Path) -> None:
    found = verify(changed(tmp_path, contract(), change_weight), contract(), INPUTS).first_divergence
    assert found is not None
    spikes = simulate(0)["sources"][found.step, found.sample]
    expected = [Term(source="lif1", element=(i,), value=1, weight=int(WEIGHTS[1][2, i])) for i in np.flatnonzero(spikes)]
    assert found.terms == tuple(sorted(expected, key=lambda term: -abs(term.weight)))
    assert sum(term.value * term.weight for term in found.terms) == found.history[-1].current


def test_a_replay_of_the_sample_alone_tells_all_steps(tmp_path: Path) -> None:
    path = changed(tmp_path, contract(), change_weight)
    whole = verify(path, contract(), INPUTS).first_divergence
    assert whole is not None
    report = verify(path, contract(), INPUTS, sample=whole.sample)
    again = report.first_divergence
    assert again is not None
    assert (report.samples, [(g.name, g.first, g.count) for g in report.vectors]) == (1, [("given", 0, 1)])
    assert again.history[-8:] == whole.history
    assert [row.step for row in again.history] == list(range(whole.step + 1))
    assert (again.sample, again.step, again.expected, again.got) == (whole.sample, whole.step, whole.expected, whole.got)


def test_a_sample_of_the_vectors_behind_given_ones_is_replayed_by_its_number(tmp_path: Path) -> None:
    path = changed(tmp_path, contract(), change_weight)
    report = verify(path, contract(), INPUTS[:, :2] * 0, adversarial=True)
    found = report.first_divergence
    assert found is not None
    assert (report.samples, report.vectors[0].name, report.vectors[0].count) == (66, "given", 2)
    made = vectors(contract())
    assert [(g.name, g.first, g.count) for g in report.vectors[1:]] == [(g.name, g.first + 2, g.count) for g in made.groups]
    again = verify(path, contract(), INPUTS[:, :2] * 0, adversarial=True, sample=found.sample).first_divergence
    assert again is not None
    assert (again.sample, again.step, again.got) == (found.sample, found.step, found.got)


def test_samples_that_there_are_not(tmp_path: Path) -> None:
    export_onnx(contract(), tmp_path / "net.onnx")
    for sample in (-1, 5):
        with pytest.raises(InputError, match=rf"sample={sample}: the check has 5 samples, numbered from 0 to 4"):
            verify(tmp_path / "net.onnx", contract(), INPUTS, sample=sample)
    with pytest.raises(InputError, match="adversarial=False without inputs leaves nothing to check"):
        verify(tmp_path / "net.onnx", contract(), adversarial=False)


def test_a_synaptic_current_has_its_columns(tmp_path: Path) -> None:
    synapse = Synapse(state=QFormat(10, 6), decay=MulShift(n=4), multiplier=np.array(11))
    network = contract(synapse=synapse)
    found = verify(changed(tmp_path, network, change_weight), network, INPUTS).first_divergence
    assert found is not None
    assert found.kind == "syn"
    last = found.history[-1]
    assert (last.synapse_expected, last.synapse_found) == (found.expected, found.got)
    before = found.history[-2].synapse_expected if len(found.history) > 1 else 0
    assert isinstance(before, int)
    assert isinstance(last.current, int)
    assert last.synapse_expected == (11 * before + (last.current << 5) + 8) >> 4
    assert "synapse expected" in "\n".join(history_table(found))


def test_the_current_of_a_convolution_is_explained_too(tmp_path: Path) -> None:
    weight = np.array([[[1, -2, 3]], [[-4, 5, -6]]], np.int8)
    window: dict[str, Any] = {"stride": (1,), "pads": ((1, 1),), "dilation": (1,)}
    layers = (
        Conv(name="conv", input="input", weight=weight, weight_frac_bits=0, **window),
        Reshape(name="flat", input="conv", shape=(8,)),
        LIF(name="lif", input="flat", state=QFormat(8, 0), theta=np.array(9)),
    )
    parts: dict[str, Any] = {"num_steps": 1, "layers": layers, "readouts": (Readout("lif"),)}
    network = IntegerNetwork(inputs=(Input((1, 4), QFormat(6, 0)),), **parts)

    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "conv.weight")
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[4] += 1
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    found = verify(changed(tmp_path, network, change, "unrolled"), network, np.array([[[[1, 0, 2, 3]]]])).first_divergence
    assert found is not None
    assert found.element == (4,)  # channel 1, position 0: its window is a zero of padding, 1 and 0
    assert found.terms == (Term(source="input", element=(0, 0), value=1, weight=5),)


def test_an_output_that_diverges_alone_has_no_story(tmp_path: Path) -> None:
    def change(model: ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "ReduceSum").op_type = "ReduceMax"

    found = verify(changed(tmp_path, contract(), change, "unrolled"), contract(), INPUTS).first_divergence
    assert found is not None
    assert (found.kind, found.history, found.terms) == ("out", (), ())


class Loop(nn.Module):
    """Begins with mem=None, or with zeros."""

    def __init__(self, fresh: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif, self.fresh = QuantLinear(3, 4), Leaky(0.5, 0.25, state_quant=FixedPoint(8, 5)), fresh

    def forward(self, x: Tensor) -> Tensor:
        mem = self.lif.reset_mem() if self.fresh else None
        spikes = []
        for x_t in x:
            spk, mem = self.lif(self.fc(x_t), mem)
            spikes.append(spk)
        return torch.stack(spikes)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_module_that_goes_on_from_what_it_kept_is_noted(fresh: bool, tmp_path: Path) -> None:
    net = Loop(fresh)
    network = export_onnx(net, tmp_path / "net.onnx", sample_input=torch.zeros(T, 2, 3), input_format=QFormat(8, 5))
    report = verify(tmp_path / "net.onnx", network, INPUTS, module=net)
    assert (report.verdict, report.reasons) == ("proved", ())
    assert len(report.notes) == (not fresh)
    assert all("goes on from the membranes that it kept" in note and note in str(report) for note in report.notes)
    assert report.certificate().notes == report.notes


def test_torchs_own_divergence_has_its_story(tmp_path: Path) -> None:
    net, other = Loop(True), Loop(True)
    network = export_onnx(net, tmp_path / "net.onnx", sample_input=torch.zeros(T, 2, 3), input_format=QFormat(8, 5))
    with torch.no_grad():
        other.fc.weight.mul_(-1)
    report = verify(tmp_path / "net.onnx", network, INPUTS, module=other)
    assert report.artefact_verdict == "proved"
    found = report.first_divergence
    assert found is not None
    assert (found.history[-1].membrane_expected, found.history[-1].membrane_found) == (found.expected, found.got)


def test_a_float_networks_story_has_no_currents(tmp_path: Path) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = Leaky(0.9, 0.5)

        def forward(self, x: Any) -> Any:
            return self.lif.sequence(x)

    torch.manual_seed(0)
    network = export_onnx(Single(), tmp_path / "net.onnx", sample_input=torch.rand(T, 4, 3))
    assert isinstance(network, FloatNetwork)
    model = onnx.load(tmp_path / "net.onnx")
    for node in model.graph.node:
        node.op_type = "Less" if node.op_type == "Greater" else node.op_type
    onnx.save(model, tmp_path / "net.onnx")
    report = verify(tmp_path / "net.onnx", network)
    found = report.first_divergence
    assert found is not None
    assert found.history[-1].current is None
    name = {"mem": "membrane", "spk": "spike"}[found.kind]
    last = found.history[-1]
    assert (getattr(last, f"{name}_expected"), getattr(last, f"{name}_found")) == (found.expected, found.got)
    assert "(by their recorded codes)" in str(report)
    alone = verify(tmp_path / "net.onnx", network, sample=2)
    assert (alone.samples, alone.first_divergence is not None and alone.first_divergence.sample) == (1, 2)


# Text


def test_a_report_is_a_few_lines_and_its_repr_one(tmp_path: Path) -> None:
    export_onnx(contract(), tmp_path / "net.onnx")
    report = verify(tmp_path / "net.onnx", contract(), INPUTS)
    sentence, covered = str(report).splitlines()
    assert sentence.startswith("proved: the artefact is bit-exact to the contract for all inputs in the declared range; ")
    low, high = (sum(getattr(c, f"saturated_{end}") for c in report.coverage) for end in ("low", "high"))
    spiked, met = (sum(getattr(c, name) for c in report.coverage) for name in ("fired", "threshold"))
    assert covered == (
        f"  coverage: of 10 neurons {spiked} spiked, {met} were exactly at the threshold, {low} saturated at the lowest and "
        f"{high} at the highest code."
    )
    counts = f"{report.compared:,} numbers compared, 0 differ, 5 samples, 8 runs"
    assert repr(report) == f"Report('proved', {counts})"


def test_the_table_of_a_story() -> None:
    steps = (
        HistoryStep(step=9, current=-15, membrane_expected=3, membrane_found=3, spike_expected=0, spike_found=0),
        HistoryStep(step=10, membrane_expected=120, membrane_found="nan", spike_expected=1),
    )
    term = Term(source="li\x1bf", element=(2, 0), value=1, weight=-15)
    table = history_table(Divergence("lif", "mem", 10, 0, (1,), 120.0, float("nan"), steps, (term,), 2))
    assert list(table) == [
        "step  input  membrane expected  membrane found  spike expected  spike found",
        "   9    -15                  3               3               0            0",
        "  10      -                120            nan*               1            -",
        "input of step 10 is the sum of 'li\\x1bf'[2, 0] 1 * -15 and 2 more",
    ]
    assert list(history_table(Divergence("class", "out", 0, 0, (), 1.0, 2.0))) == []
