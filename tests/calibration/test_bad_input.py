"""What ``quantize`` and ``sensitivity`` refuse, with what is wrong, where, the rule, and the fix."""

from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from networks import INPUT, OUTPUT, B, Sequence, T, bits, lif, values
from torch import nn

from qleaky import FixedPoint, QFormat, QuantLinear, quantize, sensitivity
from qleaky.errors import InputError, LoweringError, UsageError

LABELS = torch.arange(B) % OUTPUT


def silent(**settings: Any) -> nn.Module:
    net = Sequence(**settings)
    with torch.no_grad():
        net.fc1.bias.fill_(-100.0)
    return net


def with_nan() -> torch.Tensor:
    x = bits(T, B, INPUT)
    x[2, 3, 1] = torch.nan
    return x


def quantized(net: Any = None, inputs: Any = None, *positional: Any, **arguments: Any) -> nn.Module:
    torch.manual_seed(3)
    return quantize(net or Sequence(), bits(T, B, INPUT) if inputs is None else inputs, *positional, **arguments)


@pytest.mark.parametrize(("name", "number"), [("fc2.weight", torch.nan), ("fc1.bias", torch.inf)])
def test_a_network_that_diverged_is_named_by_its_weights(name: str, number: float) -> None:
    net = Sequence()
    with torch.no_grad():
        net.get_parameter(name).view(-1)[1] = number
    with pytest.raises(InputError, match=rf"quantize: {name} holds 1 numbers that are NaN or infinite; look for a diverged"):
        quantized(net)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "loihi"}, "target='loihi' is unknown; no device profiles are known yet. Leave target out"),
        ({"weight_bits": 9}, "weight_bits=9; choose 2 to 8, 'ternary' or 'binary'"),
        ({"weight_bits": "four"}, "weight_bits='four'; choose 2 to 8"),
        ({"state_bits": 1}, "state_bits=1; choose 2 to 24"),
        ({"state_bits": 25}, "state_bits=25; choose 2 to 24"),
        ({"state_bits": "8"}, "state_bits='8'; choose 2 to 24"),
        ({"weight_bits": {"fc9": 4}}, r"weight_bits names \['fc9'\]; the layers are 'fc1', 'fc2'"),
        ({"state_bits": {"fc1": 4}}, r"state_bits names \['fc1'\]; the layers are 'lif1', 'lif2'"),
        ({"rounding": "up"}, "rounding='up' is unknown. Choose one of 'floor', 'half_up'"),
        ({"threshold_steps": 0}, "threshold_steps=0; it is a whole number of steps of the state, at least 1"),
        ({"threshold_steps": True}, "threshold_steps=True; it is a whole number"),
        ({"readout": "mean"}, "readout='mean' is unknown. Choose one of"),
        ({"readout": {"lif9": "spike_count"}}, r"readout names \['lif9'\]; the network's Leaky layers are lif1, lif2"),
        ({"input_format": "binary"}, "input_format='binary'; pass 'spikes' or a qleaky.QFormat"),
        ({"labels": LABELS[:5]}, rf"labels have dtype int64 and shape \(5,\); pass {B} class indices"),
        ({"labels": LABELS.float()}, "labels have dtype float32 .* as whole numbers"),
        ({"labels": LABELS - 1}, "labels hold -1; classes are numbered from 0"),
        ({"labels": LABELS + 1}, "labels hold class 3, but the readout layer 'lif2' has 3 neurons, for classes 0 to 2"),
        ({"labels": [[0], [1, 2]]}, "labels cannot be read as an array"),
        ({"accumulator_bits": 3}, "accumulator_bits=3 holds at most 3, but one weight code of 127"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantized(**arguments)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(T, 0, INPUT), r"shape \(6, 0, 5\), so there is nothing to choose formats from; pass at least one sample"),
        (with_nan(), "argument 0 holds 1 numbers that are NaN or infinite; remove or repair"),
        ("file.npy", "the first argument is a str; pass a tensor of samples"),
        ((), "the first argument is a NoneType; pass a tensor of samples"),
    ],
)
def test_calibration_inputs_that_hold_nothing_to_calibrate_with_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantized(None, inputs)


def test_values_are_no_spikes() -> None:
    with pytest.raises(InputError, match=r"input 'input' holds .*, but input_format is 'spikes', which are 0 or 1"):
        quantized(None, values(T, B, INPUT), input_format="spikes")


def test_inputs_that_forward_does_not_take_are_refused_by_tracing() -> None:
    with pytest.raises(LoweringError, match="forward failed on sample_input"):
        quantized(None, bits(T, B, INPUT + 1))


def test_a_sequence_that_is_none_is_refused() -> None:
    net = nn.Sequential(nn.Linear(INPUT, OUTPUT), lif(init_hidden=True))
    with pytest.raises(UsageError, match=r"time='sequence', but calibration_inputs of shape \(24, 5\) are not 6 steps"):
        quantized(net, bits(B, INPUT), num_steps=T, time="sequence")


def test_a_hidden_layer_that_never_spikes_is_an_error() -> None:
    with pytest.raises(InputError, match=r"layer 'lif1' never spikes on any of the 24 samples.*Check that they are scaled"):
        quantized(silent())


def quiet_end() -> nn.Module:
    net = Sequence()
    net.lif2.threshold.fill_(1e6)
    return net


def test_a_last_layer_that_never_spikes_is_a_warning_if_its_readout_is_not_known() -> None:
    with pytest.warns(UserWarning, match="layer 'lif2' never spikes on the calibration samples"):
        result: Any = quantized(quiet_end())
    assert "layer 'lif2' never spikes" in str(result.quantization_report)


def test_a_last_layer_that_never_spikes_is_an_error_if_its_spikes_are_read() -> None:
    with pytest.raises(InputError, match=r"'lif2' never spikes .* its spikes are the readout. Read its membranes"):
        quantized(quiet_end(), readout="spike_count")


def test_a_last_layer_need_not_spike_if_its_membranes_are_read() -> None:
    quantized(quiet_end(), readout="membrane_mean:argmax")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(5, 3), "the network Linear holds no qleaky.Leaky"),
        (nn.Sequential(nn.Linear(5, 3), snntorch.Leaky(0.9)), "layer '1' is snntorch's Leaky; convert the network first"),
        (lambda x: x, "net is a function; pass the torch.nn.Module itself"),
    ],
)
def test_networks_without_neurons_are_refused(net: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize(net, bits(T, B, INPUT))


class Subclass(nn.Linear):
    """A layer that might compute anything."""


class Tied(Sequence):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.lif3 = nn.Linear(INPUT, 8), lif()
        self.again.weight = self.fc1.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.lif1.sequence(self.fc1(x))[0] + self.lif3.sequence(self.again(x))[0]
        return self.lif2.sequence(self.fc2(spikes))[0]


def test_tied_weights_are_kept() -> None:
    torch.manual_seed(3)
    report: Any = quantize(Tied(), bits(T, B, INPUT)).quantization_report
    assert [path for path, why in report.kept if "it shares a parameter with another layer" in why] == ["fc1", "again"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net: setattr(net, "fc1", Subclass(5, 8)), "a Subclass is a subclass that may compute something else"),
        (lambda net: nn.utils.parametrizations.weight_norm(net.fc1), "computes its weight"),
        (lambda net: setattr(net, "fc1", QuantLinear(5, 8)), "its weights are quantized already"),
        (lambda net: setattr(net.lif1, "state_quant", FixedPoint(8, 5)), "its state is quantized already"),
        (lambda net: setattr(net, "scale", nn.PReLU()), "a PReLU has parameters that are no weights"),
    ],
)
def test_layers_that_cannot_be_quantized_are_kept_with_the_reason(change: Any, reason: str) -> None:
    torch.manual_seed(3)
    net = Sequence()
    change(net)
    result: Any = quantize(net, bits(T, B, INPUT))
    assert any(reason in why for _, why in result.quantization_report.kept)
    assert reason[:30] in str(result.quantization_report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": None}, "sensitivity: labels=None; accuracy needs the class of every sample"),
        ({"labels": LABELS, "bits": ()}, r"bits=\(\); pass the widths to try"),
        ({"labels": LABELS, "bits": 8}, "bits=8; pass the widths to try"),
        ({"labels": LABELS, "bits": (8, 1)}, "weight_bits=1; choose 2 to 8"),
    ],
)
def test_a_scan_without_labels_or_widths_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sensitivity(Sequence(), bits(T, B, INPUT), **arguments)


def test_a_declared_format_must_not_contradict_codes() -> None:
    codes = torch.from_numpy(np.full((T, B, INPUT), 300))
    with pytest.raises(InputError, match=r"hold code 300, outside Q3\.4"):
        quantized(None, codes, input_format=QFormat(8, 4))
