"""Evidence is taken where a check says that it is: that sample, that neuron, those steps."""

from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QuantLinear, lower, run, verify
from qleaky.errors import InputError
from qleaky.export import onnx_bytes
from qleaky.verification.compare import Comparison, Divergence
from qleaky.verification.evidence import collect
from qleaky.verification.runtimes.ort import OnnxRuntime
from qleaky.verification.runtimes.protocol import Setting


class Net(nn.Module):
    def __init__(self, beta: float = 230 / 256, threshold: float = 0.25) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = QuantLinear(12, 9), Leaky(beta, threshold, state_quant=FixedPoint(8, 5))

    def forward(self, x: torch.Tensor) -> Any:
        return self.lif.sequence(self.fc(x))


INPUTS = np.random.default_rng(0).integers(0, 2, (20, 7, 12)).astype(np.uint8)
# The neuron whose weight is changed gets a spike through it in sample 4 alone, at step 16.
QUIET = INPUTS.copy()
QUIET[:, :, 3] = 0
QUIET[16, 4, 3] = 1


def lowered(net: nn.Module) -> Any:
    return lower(net, torch.zeros(20, 1, 12), input_format="spikes")


def changed(network: IntegerNetwork) -> bytes:
    """A file whose weight from channel 3 to neuron 5 is larger."""
    model = onnx.load_model_from_string(onnx_bytes(network))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[(3, 5) if array.shape == (12, 9) else (5, 3)] -= 90
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    data: bytes = model.SerializeToString()
    return data


def gathered(tmp_path: Any, data: bytes, network: Any, inputs: Any, module: Any = None) -> Any:
    (tmp_path / "net.onnx").write_bytes(data)
    report = verify(tmp_path / "net.onnx", network, inputs, module=module)
    return report, collect(data, network, report, inputs=inputs, module=module)


def test_the_median_sample_is_shown_where_nothing_differs(tmp_path: Any) -> None:
    network = lowered(Net())
    inputs = np.zeros((20, 5, 12), np.uint8)
    for sample, rate in enumerate((0.9, 0.1, 0.5, 0.05, 0.7)):
        inputs[:, sample] = np.random.default_rng(1).random((20, 12)) < rate
    _, evidence = gathered(tmp_path, onnx_bytes(network), network, inputs, Net())
    (sample,) = evidence.samples
    spikes = [int(run(network, inputs[:, [i]]).spikes["lif"].sum()) for i in range(5)]
    assert spikes[sample.index] == sorted(spikes)[2]
    assert list(sample.runs) == ["reference", "ONNX Runtime", "torch"]
    expected = run(network, inputs[:, [sample.index]])
    for found in sample.runs.values():
        assert np.array_equal(found.spikes["lif"], expected.spikes["lif"])
        assert np.array_equal(found.membranes["lif"], expected.membranes["lif"])
    assert np.array_equal(sample.codes[network.input.name], inputs[:, sample.index])
    assert evidence.got_by is None


def test_the_most_active_and_a_silent_neuron_are_chosen(tmp_path: Any) -> None:
    network = lowered(Net(threshold=1.0))
    _, evidence = gathered(tmp_path, onnx_bytes(network), network, INPUTS)
    (sample,) = evidence.samples
    recording = sample.runs["reference"]
    counts = recording.spikes["lif"][:, 0].sum(axis=0)
    active, silent = sample.neurons
    assert counts[active.element] == counts.max() > 0
    assert counts[silent.element] == 0
    peaks = recording.membranes["lif"][:, 0].max(axis=0)
    assert peaks[silent.element] == peaks[counts == 0].max()


def test_the_sample_and_neuron_of_the_first_divergence_are_shown(tmp_path: Any) -> None:
    network = lowered(Net())
    report, evidence = gathered(tmp_path, changed(network), network, QUIET)
    found, (sample,) = report.first_divergence, evidence.samples
    assert (found.layer, found.step, found.sample, found.element) == ("lif", 16, 4, (5,))
    assert (sample.index, sample.neurons[0].element, evidence.got_by) == (4, (5,), "ONNX Runtime")
    expected = run(network, QUIET[:, [4]]).membranes["lif"]
    assert np.array_equal(sample.runs["reference"].membranes["lif"], expected)
    apart = sample.runs["ONNX Runtime"].membranes["lif"] != expected
    assert not apart[:16].any()
    assert np.argwhere(apart[16]).tolist() == [[0, 5]]


def test_a_sample_that_ran_alone_keeps_its_number(tmp_path: Any) -> None:
    network = lowered(Net())
    (tmp_path / "net.onnx").write_bytes(changed(network))
    report = verify(tmp_path / "net.onnx", network, QUIET, sample=4)
    evidence = collect(changed(network), network, report, inputs=QUIET, sample=4)
    assert evidence.samples[0].index == report.first_divergence.sample == 4  # type: ignore[union-attr]
    assert report.activity.samples == 1


def test_a_torch_network_that_parts_is_the_run_that_is_shown(tmp_path: Any) -> None:
    network = lowered(Net())
    other = Net(beta=0.5)
    other.fc.load_state_dict(Net().fc.state_dict())
    report, evidence = gathered(tmp_path, onnx_bytes(network), network, INPUTS, other)
    assert (report.artefact_verdict, report.torch_verdict) == ("proved", "differs")
    assert evidence.got_by == "torch"
    assert (evidence.samples[0].runs["torch"].membranes["lif"] != evidence.samples[0].runs["reference"].membranes["lif"]).any()


def test_a_divergence_in_a_batch_filled_up_is_of_the_sample_that_filled_it(tmp_path: Any) -> None:
    network = lowered(Net())
    report, _ = gathered(tmp_path, onnx_bytes(network), network, INPUTS)
    for first in (Divergence("spikes", "out", 3, 9, (2,), 5.0, 6.0), Divergence("lif", "mem", 3, 9, (2,), 5.0, 6.0)):
        comparison = Comparison(outputs=9, output_mismatches=1, first_divergence=first)
        changed_report = msgspec.structs.replace(report, runs=(msgspec.structs.replace(report.runs[0], comparison=comparison),))
        assert collect(onnx_bytes(network), network, changed_report, inputs=INPUTS).samples[0].index == 9 % 7


def test_activity_is_that_of_the_given_inputs(tmp_path: Any) -> None:
    network = lowered(Net())
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(network))
    report = verify(tmp_path / "net.onnx", network, INPUTS, adversarial=True)
    evidence = collect(onnx_bytes(network), network, report, inputs=INPUTS, adversarial=True)
    assert report.samples > 7
    assert (report.activity.samples, report.activity.groups) == (7, ("given",))
    assert report.activity.spiking[0].active == int((run(network, INPUTS).spikes["lif"] != 0).sum())
    assert report.activity.synaptic[0].acs == int(INPUTS.sum((0, 1)) @ (network.layers[0].weight != 0).sum(0))
    assert evidence.samples[0].index < 7


def test_without_given_inputs_a_random_vector_is_shown(tmp_path: Any) -> None:
    network = lowered(Net())
    report, evidence = gathered(tmp_path, onnx_bytes(network), network, None)
    random = next(group for group in report.vectors if group.name == "random")
    assert random.first <= evidence.samples[0].index < random.first + random.count
    assert report.activity.samples == report.samples
    assert "all_spikes" in report.activity.groups


class Drifting(OnnxRuntime):
    """ONNX Runtime under another name, and the spikes of the fourth neuron turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "drifting"

    def runner(self, data: bytes, setting: Setting) -> Any:
        return Turned(super().runner(data, setting))


class Turned:
    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def run(self, arrays: Any) -> Any:
        found = self._runner.run(arrays)
        for name, array in found.items():
            if "lif/spk" in name:
                found[name] = array.copy()
                found[name][..., 3] = 1 - array[..., 3].astype(int)
        return found


def test_the_runtime_that_parts_is_the_one_that_is_shown(tmp_path: Any) -> None:
    network = lowered(Net())
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(network))
    runtimes = ("onnxruntime", Drifting())
    report = verify(tmp_path / "net.onnx", network, INPUTS, runtime=runtimes)
    assert report.first_divergence is not None
    assert (report.first_divergence.step, report.first_divergence.element) == (0, (3,))
    evidence = collect(onnx_bytes(network), network, report, inputs=INPUTS, runtime=runtimes)
    (sample,) = evidence.samples
    assert evidence.got_by == "drifting"
    assert list(sample.runs) == ["reference", "drifting"]
    apart = sample.runs["drifting"].spikes["lif"] != sample.runs["reference"].spikes["lif"]
    assert np.array_equal(apart, np.broadcast_to(np.arange(9) == 3, apart.shape))


def test_a_runtime_that_was_not_given_is_refused(tmp_path: Any) -> None:
    network = lowered(Net())
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(network))
    report = verify(tmp_path / "net.onnx", network, INPUTS, runtime=Drifting())
    with pytest.raises(InputError, match=r"the check ran in 'drifting'.* Pass runtime as verify took it"):
        collect(onnx_bytes(network), network, report, inputs=INPUTS)


def test_other_inputs_than_those_of_the_check_are_refused(tmp_path: Any) -> None:
    network = lowered(Net())
    report, _ = gathered(tmp_path, onnx_bytes(network), network, INPUTS)
    for given in ({"inputs": QUIET}, {"inputs": INPUTS, "adversarial": True}, {}):
        with pytest.raises(InputError, match="Pass inputs, adversarial and sample as verify took them"):
            collect(onnx_bytes(network), network, report, **given)  # type: ignore[arg-type]


def test_a_float_network_is_shown_beside_what_torch_recorded(tmp_path: Any) -> None:
    network = lowered(Net(beta=0.9))
    report, evidence = gathered(tmp_path, onnx_bytes(network), network, None)
    (sample,) = evidence.samples
    assert list(sample.runs) == ["torch", "ONNX Runtime"]
    assert np.array_equal(sample.runs["torch"].membranes["lif"][:, 0], network.golden.membranes["lif"][:, sample.index])
    assert report.activity.spiking[0].at_lowest is None
    assert report.torch is None


@pytest.mark.parametrize("metadata", ["", "[", '{"fc": 3}', "null"])
def test_a_file_that_says_nonsense_of_itself_is_shown_without_it(metadata: str, tmp_path: Any) -> None:
    network = lowered(Net())
    model = onnx.load_model_from_string(onnx_bytes(network))
    next(entry for entry in model.metadata_props if entry.key == "qleaky.carried").value = metadata
    _, evidence = gathered(tmp_path, model.SerializeToString(), network, INPUTS)
    assert evidence.carried == {}
