"""What ``quantize`` chooses: rescaling changes no spike, thresholds lie on the grid, and the report says what was done."""

import copy
from typing import Any

import pytest
import torch
from networks import HIDDEN, INPUT, OUTPUT, B, Sequence, T, bits, lif, network, values
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, Leaky, MulShift, QFormat, quantize
from qleaky.calibration import QuantizationReport, snap_to_grid
from qleaky.calibration.states import candidates, snapped_threshold
from qleaky.calibration.weights import weighted_exponent
from qleaky.dynamics import Compare
from qleaky.layers import QuantizedLayer
from qleaky.layers.codes import codes_of


def quantized(net: nn.Module, *positional: Any, **arguments: Any) -> Any:
    return quantize(net, bits(T, B, INPUT), *positional, **arguments)


def report(net: nn.Module) -> QuantizationReport:
    found: Any = net.quantization_report
    assert isinstance(found, QuantizationReport)
    return found


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("timing", ["delayed", "same_step", "undelayed"])
def test_a_common_factor_of_two_changes_no_spike_of_any_rule(reset: str, timing: str) -> None:
    """The theorem behind rescaling, where float arithmetic is exact."""
    currents = values(T, B, INPUT)
    plain, scaled = (
        Leaky(0.875, threshold=0.5 * c, reset_mechanism=reset, reset_timing=timing).sequence(currents * c) for c in (1.0, 2.0)
    )
    assert torch.equal(plain[0], scaled[0])
    assert torch.equal(plain[1] * 2, scaled[1])


@pytest.mark.parametrize("state_bits", [3, 4, 5, 8, 12])
def test_a_rescaled_threshold_lies_on_the_grid_exactly(state_bits: int) -> None:
    """In float the factor puts it on a code; what is left is the rounding of that one product."""
    net = network("sequence")
    result = quantized(net, 8, state_bits, readout="spike_count")
    for row in report(result).states:
        assert row.format is not None
        code = row.threshold_after[0] / row.format.step
        assert code == round(code)
        assert 0 < code < row.format.highest
        assert row.threshold_before[0] * row.factor == pytest.approx(row.threshold_after[0], rel=1e-6)
        assert 0.7 < row.factor < 1.42


def test_thresholds_per_neuron_snap_to_their_own_codes_without_a_second_factor() -> None:
    result = quantized(network("threshold per neuron"), 8, 6, readout="spike_count")
    step = result.lif1.state_quant.format.step
    codes = result.lif1.threshold.detach() / step
    assert torch.equal(codes, codes.round())
    assert len(set(codes.tolist())) > 1
    factor = report(result).states[0].factor
    assert (result.lif1.threshold - torch.linspace(0.2, 0.5, HIDDEN) * factor).abs().max() <= step / 2 + 1e-6


@pytest.mark.parametrize("name", ["graded", "shared"])
def test_graded_and_shared_neurons_are_not_rescaled(name: str) -> None:
    factors = {row.layer: row.factor for row in report(quantized(network(name), 4, 5)).weights}
    assert factors.pop("fc1", 1.0) == 1.0
    assert factors.pop("fc", 1.0) == 1.0


class Membranes(Sequence):
    def forward(self, x: Tensor) -> Any:
        spikes, _ = self.lif1.sequence(self.fc1(x))
        return self.lif2.sequence(self.fc2(spikes))


@pytest.mark.parametrize(
    ("arguments", "scaled"),
    [
        ({}, False),
        ({"readout": "membrane_mean"}, False),
        ({"readout": "membrane_mean:argmax"}, True),
        ({"readout": "spike_count"}, True),
    ],
)
def test_membranes_that_are_read_as_they_are_keep_their_scale(arguments: dict[str, Any], scaled: bool) -> None:
    torch.manual_seed(3)
    net = Membranes()
    net.lif2.threshold.fill_(0.3)  # 0.3 * 2**f is no integer, so that every candidate with a factor has one other than 1
    factor = report(quantized(net, 4, 4, **arguments)).states[1].factor
    assert (factor != 1.0) == scaled


def test_decays_snap_to_256ths() -> None:
    result = quantized(network("beta per neuron"))
    assert result.lif1.decay == MulShift(n=8)
    assert torch.equal(result.lif1.beta, torch.round(torch.linspace(0.5, 0.99, HIDDEN) * 256) / 256)
    assert isinstance(result.lif1.beta, nn.Parameter)


def test_spikes_hardly_change_with_many_bits_and_more_with_fewer() -> None:
    changed = [
        sum(row.spikes_changed for row in report(quantized(network("sequence"), w, s, readout="spike_count")).states)
        for w, s in ((8, 16), (4, 6), (2, 3))
    ]
    assert changed[0] < 0.02
    assert changed[0] <= changed[1] <= changed[2]


def test_the_report_counts_what_the_two_networks_do() -> None:
    net, x = network("sequence"), bits(T, B, INPUT)
    labels = torch.arange(B) % OUTPUT
    result = quantized(net, 4, 4, labels=labels)
    found = report(result)
    with torch.no_grad():
        before, after = net(x), result(x)
    row = found.states[1]
    assert row.spikes_changed == float((before != after).double().mean())
    assert (row.rate_before, row.rate_after) == (float(before.double().mean()), float(after.double().mean()))
    accuracies = [float((spikes.sum(0).argmax(-1) == labels).double().mean()) for spikes in (before, after)]
    assert [found.accuracy_before, found.accuracy_after] == accuracies
    layer, fmt = result.lif2, row.format
    with torch.no_grad():
        spikes, _ = result.lif1.sequence(result.fc1(x))
        membranes = layer.sequence(result.fc2(spikes))[1]
    assert fmt is not None
    at_an_end = (membranes == fmt.highest * fmt.step) | (membranes == fmt.lowest * fmt.step)
    assert row.saturated == float(at_an_end.double().mean())


def test_the_error_and_the_clipped_share_of_weights_are_those_of_the_layer() -> None:
    net = network("sequence")
    with torch.no_grad():
        net.fc1.weight[0, 0] = 40.0  # one outlier, not worth a coarser grid for all others
    result = quantized(net, 4, 8)
    row = report(result).weights[0]
    wanted = net.fc1.weight.detach() * row.factor
    found = result.fc1.quantized()[0].detach()
    assert row.error == pytest.approx(float((found - wanted).norm() / wanted.norm()), rel=1e-5)
    step = 2.0 ** row.exponents[0]
    assert row.clipped == float((wanted.abs() > 7.5 * step).double().mean())


def test_the_report_prints_within_120_columns() -> None:
    text = str(report(quantized(network("residual"), 4, 4, labels=torch.zeros(B, dtype=torch.int64), per_channel=True)))
    assert max(map(len, text.splitlines())) <= 120
    assert text.isascii()
    for part in ("fc1", "lif3", "input: 'spikes', chosen from the data", "accuracy:", "spike_count of lif2"):
        assert part in text


def test_a_float_layer_stays_float_where_bits_by_layer_say_so() -> None:
    result = quantized(network("sequence"), {"fc2": 4}, {"lif1": 6})
    assert type(result.fc1) is nn.Linear
    assert result.fc2.weight_bits == 4
    assert result.lif1.state_quant.format.bits == 6
    assert not result.lif2.state_quant
    assert torch.equal(result.lif2.threshold, network("sequence").lif2.threshold)


def test_hooks_requires_grad_and_shared_modules_are_kept() -> None:
    net, calls = network("shared"), []
    net.fc.register_forward_hook(lambda *_: calls.append("fc"))
    net.first.weight.requires_grad_(False)
    net.again = net.fc
    result = quantized(net)
    assert result.again is result.fc
    assert not result.first.weight.requires_grad
    assert result.first.bias.requires_grad
    calls.clear()
    result(bits(T, B, INPUT))
    assert calls == ["fc", "fc"]


@pytest.mark.parametrize("weight_bits", [2, 4, 8, "ternary", "binary"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_exponents_stay_when_training_begins(weight_bits: Any, per_channel: bool) -> None:
    result = quantized(network("sequence"), weight_bits, 6, per_channel=per_channel).train()
    layers = [module for module in result.modules() if isinstance(module, QuantizedLayer)]
    before = [(layer.weight_exponent.clone(), layer.quantized()[0].clone()) for layer in map(copy.deepcopy, layers)]
    result(bits(T, B, INPUT))
    for layer, (exponent, weight) in zip(layers, before, strict=True):
        assert torch.equal(layer.weight_exponent, exponent)
        assert torch.equal(layer.quantized()[0], weight)


def test_an_accumulator_holds_after_quantizing() -> None:
    result = quantized(network("sequence"), 4, 8, accumulator_bits=6)
    contract = qleaky.lower(result, bits(T, B, INPUT)[:, :2], input_format="spikes")
    assert isinstance(contract, qleaky.IntegerNetwork)
    bounds = {bound.layer: bound.accumulator_bits for bound in contract.proof.layers}
    assert max(bounds["fc1"], bounds["fc2"]) <= 6


def test_binary_inputs_are_spikes_and_others_get_eight_bits() -> None:
    spikes, unsigned, signed = (
        dict(report(quantize(network("sequence"), x)).inputs)["input"]
        for x in (bits(T, B, INPUT), values(T, B, INPUT).abs() * 0.7, values(T, B, INPUT))
    )
    assert (spikes, unsigned, signed) == (QFormat(1, 0, False), QFormat(8, 8, False), QFormat(8, 6))


def test_values_and_codes_of_a_format_calibrate_alike() -> None:
    fmt = QFormat(8, 6, signed=False, zero_point=128)
    codes = fmt.quantize(values(T, B, INPUT).numpy())
    by_codes, by_values = (
        quantize(network("sequence"), x, 4, 4, input_format=fmt).state_dict()
        for x in (torch.from_numpy(codes), torch.from_numpy(fmt.decode(codes)))
    )
    assert all(torch.equal(value, by_values[key]) for key, value in by_codes.items())


# The candidates


@pytest.mark.parametrize("bits_", [2, 3, 4, 6, 8, 16, 24])
@pytest.mark.parametrize("theta", [1.0, 0.3, 37.0])
@pytest.mark.parametrize("scalable", [False, True])
def test_every_candidate_can_represent_and_pass_the_threshold(bits_: int, theta: float, scalable: bool) -> None:
    module = lif(threshold=theta)
    for choice in candidates(module, bits_, 1.0, scalable):
        snapped = float(snapped_threshold(module.threshold * choice.factor, choice.format, module.compare))
        assert 0 < snapped < choice.format.highest * choice.format.step
        assert choice.format.bits == bits_


@pytest.mark.parametrize("scalable", [True, False])
def test_thresholds_have_the_steps_that_were_asked_for_or_the_most_there_are(scalable: bool) -> None:
    def codes(state_bits: int, steps: int) -> list[int]:
        found = candidates(lif(threshold=0.3), state_bits, 1.0, scalable, steps=steps)
        return [round(float(0.3 * each.factor) * 2**each.format.frac_bits) for each in found]

    assert min(codes(4, 1)) == 1
    assert min(codes(4, 3)) >= 3
    assert codes(3, 50) == [2]  # of -4..3 under a strict compare


def test_a_last_layer_whose_membranes_are_read_needs_no_steps_below_its_threshold() -> None:
    def code(readout: str, steps: int) -> float:
        net = quantized(Sequence(), 4, {"lif2": 4}, readout=readout, threshold_steps=steps)
        return float(net.lif2.threshold) * 2**net.lif2.state_quant.format.frac_bits

    assert code("membrane_mean", 6) == code("membrane_mean", 1) < 6
    assert code("spike_count", 6) == 6


def test_a_threshold_goes_to_the_nearest_code_that_a_membrane_can_pass() -> None:
    thresholds = torch.tensor([0.01, 0.3, 0.8, 5.0, -1.0, -9.0])
    strict = snapped_threshold(thresholds, QFormat(4, 2), Compare.STRICT)
    assert strict.tolist() == [0.25, 0.25, 0.75, 1.5, -1.0, -2.0]
    assert snapped_threshold(thresholds, QFormat(4, 2), Compare.INCLUSIVE)[3] == 1.75


def test_an_exponent_has_the_least_weighted_error() -> None:
    torch.manual_seed(0)
    rows, importance = torch.randn(3, 50), torch.rand(3, 50) ** 4
    codes = codes_of(4, "test")

    def error(exponent: Tensor) -> Tensor:
        step = 2.0 ** exponent.double().unsqueeze(1)
        rounded = (rows.double() / step).round().clamp(-7, 7) * step
        return (importance * (rounded - rows).square()).sum(1)

    chosen = weighted_exponent(rows, codes, importance)
    errors = torch.stack([error(torch.full((3,), e)) for e in range(-8, 4)])
    assert torch.equal(chosen.long(), errors.argmin(0) - 8)


# Snapping after training


def test_a_learned_threshold_is_put_back_on_the_grid_with_a_report() -> None:
    result = quantized(network("threshold per neuron"), 8, 6)
    step = result.lif1.state_quant.format.step
    before = result.lif1.threshold.detach().clone()
    with torch.no_grad():
        result.lif1.threshold += 0.2 * step
    assert isinstance(qleaky.lower(result, bits(T, B, INPUT)[:, :2], input_format="spikes"), qleaky.FloatNetwork)
    snaps = snap_to_grid(result)
    assert torch.equal(result.lif1.threshold, before)
    assert [row.layer for row in snaps.rows] == ["lif1", "lif2"]
    assert "->" in str(snaps).splitlines()[1]
    assert isinstance(qleaky.lower(result, bits(T, B, INPUT)[:, :2], input_format="spikes"), qleaky.IntegerNetwork)


def test_there_is_no_grid_to_snap_to_without_a_fixed_point_state() -> None:
    with pytest.raises(qleaky.QleakyError, match="no Leaky of Sequence has a FixedPoint state"):
        snap_to_grid(network("sequence"))


def test_a_state_that_is_quantized_already_is_left_alone() -> None:
    net = network("sequence")
    net.lif1.state_quant, net.lif1.threshold = FixedPoint(10, 7), torch.tensor(0.375)
    result = quantized(net, 4, 4)
    assert result.lif1.state_quant.format == QFormat(10, 7)
    assert result.lif1.threshold == 0.375
