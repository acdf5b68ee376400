"""``quantize`` on networks as people write them: the result lowers, is proved, keeps its names, and can be trained on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import CASES, INPUT, OUTPUT, B, T, bits, network
from torch import nn

import qleaky
from qleaky import IntegerNetwork, Leaky, QFormat, lower, quantize, verify
from qleaky.layers import QuantizedLayer

EVERY = pytest.mark.parametrize("name", CASES)
WIDTHS = pytest.mark.parametrize(
    ("weight_bits", "state_bits", "per_channel"), [(8, 8, False), (4, 4, True), ("ternary", 6, False)]
)


def input_format(quantized: Any) -> Any:
    (fmt,) = dict(quantized.quantization_report.inputs).values()
    return "spikes" if fmt == QFormat(1, 0, signed=False) else fmt


@EVERY
@WIDTHS
def test_a_quantized_network_lowers_and_is_proved(
    name: str, weight_bits: Any, state_bits: int, per_channel: bool, tmp_path: Path
) -> None:
    case, net = CASES[name], network(name)
    quantized = quantize(net, case.inputs(), weight_bits, state_bits, per_channel=per_channel, **case.arguments)
    sample = case.sample(case.inputs())
    contract = lower(quantized, sample, input_format=input_format(quantized), readout="spike_count:argmax", **case.arguments)
    assert isinstance(contract, IntegerNetwork), contract.reasons
    assert contract.proof.exact, contract.proof.reasons
    assert {lif.state.bits for lif in contract.lif_layers} == {state_bits}
    qleaky.export_onnx(contract, tmp_path / "net.onnx")
    source = contract.input
    shape = (*((contract.num_steps,) if source.time == "sequence" else ()), 3, *source.shape)
    codes = torch.randint(source.format.lowest, source.format.highest + 1, shape).numpy().astype(source.format.dtype)
    report = verify(tmp_path / "net.onnx", contract, codes, module=quantized)
    assert (report.verdict, report.mismatches) == ("proved", 0)


@EVERY
def test_names_modes_and_the_network_itself_stay(name: str) -> None:
    case, net = CASES[name], network(name)
    net.train(name != "batch norm")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    kinds = {path: type(module) for path, module in net.named_modules()}
    quantized = quantize(net, case.inputs(), **case.arguments)
    assert {path: type(module) for path, module in net.named_modules()} == kinds
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(module.training == net.training for module in net.modules())
    for path, module in net.named_modules():
        assert quantized.get_submodule(path).training == net.training
        assert isinstance(quantized.get_submodule(path), QuantizedLayer) == isinstance(
            module, nn.Linear | nn.Conv1d | nn.Conv2d
        )


@EVERY
def test_a_quantized_network_can_be_trained_on(name: str) -> None:
    case = CASES[name]
    quantized = quantize(network(name), case.inputs(), 4, 6, **case.arguments).train()
    optimizer = torch.optim.SGD(quantized.parameters(), 1e-3)
    inputs = case.inputs()
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    if "num_steps" in case.arguments and case.arguments.get("time") != "static":
        arguments = (arguments[0][0], *arguments[1:])
    result = quantized(*arguments)
    sum(part.sum() for part in (result if isinstance(result, tuple) else (result,))).backward()
    assert all(parameter.is_leaf for parameter in quantized.parameters())
    weighted = [module for module in quantized.modules() if isinstance(module, QuantizedLayer)]
    assert any(bool(layer.weight.grad.any()) for layer in weighted if layer.weight.grad is not None)
    optimizer.step()
    for module in quantized.modules():
        if isinstance(module, Leaky):
            assert module.state_quant.format.bits == 6


def test_a_quantized_network_begins_with_empty_membranes() -> None:
    """Those of the float network, from whatever it computed last, are on no grid."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUT, OUTPUT), Leaky(0.9, 0.3, init_hidden=True))
    x = bits(T, B, INPUT)
    for step in x:
        net(step)
    before = net[1].mem.clone()
    quantized = quantize(net, x, 8, 8, num_steps=T)
    assert torch.equal(net[1].mem, before)
    assert quantized[1].mem.shape == (0,)
