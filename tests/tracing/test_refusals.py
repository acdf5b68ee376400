"""What cannot be exported: every problem with module path, source line, operation and what to use instead, all at once."""

from typing import Any

import brevitas.nn as qnn
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from written import HIDDEN, INPUT, OUTPUT, B, T, Written, refusal, sequence, step, zeros

from qleaky import FixedPoint, QuantLinear, lower


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), r"relu cannot be exported; spikes need none; drop it."),
        (nn.Sigmoid(), r"sigmoid cannot be exported; only Leaky layers fire; drop it."),
        (
            nn.BatchNorm1d(HIDDEN),
            r"batch_norm cannot be exported; fold it into the layer before it with qleaky.fold_batch_norm(net).",
        ),
        (nn.LayerNorm(HIDDEN), r"layer_norm cannot be exported; it has no integer form; train with BatchNorm and fold it."),
        (nn.LSTM(HIDDEN, HIDDEN), r"lstm cannot be exported; only Leaky layers keep a state."),
        (nn.Softmax(-1), r"softmax cannot be exported; read out spike counts or membranes; the largest is the same class."),
        (FixedPoint(8, 4), r"a quantizer on what 'fc1' computes; only the inputs and the states may be quantized."),
        (qnn.QuantIdentity(), r"a quantizer on what 'fc1' computes; only the inputs and the states may be quantized."),
        (qnn.QuantReLU(), r"a quantizer on what 'fc1' computes; only the inputs and the states may be quantized."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_that_cannot_be_exported(module: nn.Module, message: str) -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        found = layers.extra(layers.fc1(x))
        return layers.lif1(found[0] if isinstance(found, tuple) else found)

    found = refusal(Written(forward, hidden=True, extra=module), step(), num_steps=T)
    assert message in found
    assert "layer 'extra', 'test_refusals.py:" in found
    assert "found = layers.extra(layers.fc1(x))'" in found


def test_a_layer_of_snntorch_is_told_from_our_own() -> None:
    theirs = pytest.importorskip("snntorch").Leaky(beta=0.5, init_hidden=True)
    net = Written(lambda layers, x: layers.extra(layers.fc1(x)), extra=theirs)
    assert "snntorch.Leaky cannot be exported; convert the network with qleaky.from_snntorch(net)" in refusal(
        net, step(), num_steps=T
    )


def loud(layers: Any, x: Tensor) -> Any:
    if x.any():
        x = x + 1
    return layers.lif1(layers.fc1(x))


def asks(layers: Any, x: Tensor) -> Any:
    return layers.lif1(layers.fc1(x * x[0, 0].item()))


def slices(layers: Any, x: Tensor) -> Any:
    currents = layers.fc1(x)
    currents[:, 0] = 0
    return layers.lif1(currents)


def noisy(layers: Any, x: Tensor) -> Any:
    return layers.lif1(layers.fc1(x) + torch.randn_like(layers.fc1(x)))


def noisy_in_place(layers: Any, x: Tensor) -> Any:
    return layers.lif1(layers.fc1(x) * torch.ones(HIDDEN).uniform_())


def drops_always(layers: Any, x: Tensor) -> Any:
    return layers.lif1(F.dropout(layers.fc1(x), 0.5))


def half_precision(layers: Any, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return layers.lif1(layers.fc1(x))


def counts_calls(layers: Any, x: Tensor) -> Any:
    layers.calls += 1
    return layers.lif1(layers.fc1(x))


def weights_from_data(layers: Any, x: Tensor) -> Any:
    return layers.lif1(F.linear(x, layers.fc1(x)[:1].expand(4, 4)[:, :1].expand(4, INPUT)))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (loud, r"if x.any():': torch.Tensor.__bool__ reads the values of the data, so forward may do"),
        (asks, r"torch.Tensor.item reads the values of the data"),
        (
            slices,
            r"currents[:, 0] = 0': it writes into a part of the data; write whole steps, x[t] = ..., or make a new tensor",
        ),
        (noisy, r"torch.randn_like draws random numbers, which cannot be exported; encode the input before the network"),
        (noisy_in_place, r"forward draws random numbers, which cannot be exported; encode the input before the network"),
        (drops_always, r"dropout is applied in evaluation too (training=True), which is random; use nn.Dropout"),
        (half_precision, r"computes in torch.bfloat16; leave autocast out of forward, and call net.float()"),
        (counts_calls, r"forward changes calls; a network to export must not depend on how often it ran"),
        (weights_from_data, r"the weights depend on the data; a layer's weights are constants"),
        (
            lambda layers, x: layers.lif1(layers.fc1(x) + layers.lif1.mem.sum()),
            r"layer 'lif1': mem cannot be exported; a layer's membrane is no data; pass its spikes",
        ),
        (lambda layers, x: layers.lif1(F.interpolate(layers.fc1(x)[:, None], 4)[:, 0]), r"interpolate cannot be exported"),
        (lambda layers, x: layers.fc1(x), r"the network has no Leaky layer that takes its input"),
        (lambda layers, x: layers.lif1(layers.fc1(torch.ones(len(x), INPUT))), r"it is not fed by the network's input"),
        (lambda layers, x: layers.lif1(layers.fc1(torch.zeros_like(x))), r"are data in every step; leave them out"),
        (lambda layers, x: layers.fc2(x), r"forward failed on sample_input with shapes (3, 5)"),
        (lambda layers, x: {}["missing"], r"forward failed on sample_input with shapes (3, 5): 'missing'"),
    ],
)
def test_forwards_that_cannot_be_exported(forward: Any, message: str) -> None:
    net = Written(forward, hidden=True)
    net.calls = 0
    found = refusal(net, step(), num_steps=T)
    assert any(part in found for part in message.split("|")), found


def test_the_membrane_of_a_layer_is_no_data() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        _, mem = layers.lif1.sequence(layers.fc1(x))
        return layers.lif2.sequence(layers.fc2(mem))

    assert "the membrane of 'lif1' is data of another layer; pass its spikes" in refusal(Written(forward), sequence())


def edits_by_argument(layers: Any, x: Tensor, mem: Tensor) -> Any:
    spk, mem = layers.lif1(layers.fc1(x), mem * 0.5)
    return spk, mem


def loses(layers: Any, x: Tensor, mem: Tensor) -> Any:
    return layers.lif1(layers.fc1(x), mem)[0]


def makes_its_own(layers: Any, x: Tensor, mem: Tensor) -> Any:
    return layers.lif1(layers.fc1(x), zeros(layers, x))


def uses_it_twice(layers: Any, x: Tensor, mem: Tensor) -> Any:
    _, new = layers.lif1(layers.fc1(x), mem)
    second, other = layers.lif1(layers.fc1(x), mem)
    return second, new, other


def reads_it(layers: Any, x: Tensor, mem: Tensor) -> Any:
    spk, new = layers.lif1(layers.fc1(x) - mem, mem)
    return spk, new


def runs_all_steps(layers: Any, x: Tensor, mem: Tensor) -> Any:
    return layers.lif1.sequence(layers.fc1(x).unsqueeze(0), mem)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (edits_by_argument, "its mem is not what it returned one step before, but something else; pass its own on unchanged"),
        (loses, "forward takes the membrane of 'lif1' but does not return the new one; return it"),
        (
            makes_its_own,
            "the membrane passed to 'lif1' is made inside forward, so its state is lost after each step. Take it as",
        ),
        (uses_it_twice, "the membrane that 'lif1' takes already; give each a membrane of its own"),
        (reads_it, "is the membrane of a layer, and data too; pass the layer's spikes"),
        (runs_all_steps, "it runs a whole sequence, but num_steps is given, which says forward is one step. Leave it out"),
    ],
)
def test_states_of_steps_that_go_astray(forward: Any, message: str) -> None:
    assert message in refusal(Written(forward), (step(), torch.zeros(B, HIDDEN)), num_steps=T)


def test_states_in_a_list_are_refused() -> None:
    net = Written(lambda layers, x, mems: layers.lif1(layers.fc1(x), mems[0]))
    message = refusal(net, (step(), [torch.zeros(B, HIDDEN)]), num_steps=T)
    assert "holds several tensors; make each an argument of forward of its own" in message


def assigns(layers: Any, x: Tensor) -> Any:
    layers.lif1.mem = torch.zeros(len(x), HIDDEN)
    return layers.lif1(layers.fc1(x))


def resets(layers: Any, x: Tensor) -> Any:
    layers.lif1.reset_mem()
    return layers.lif1(layers.fc1(x))


def decays(layers: Any, x: Tensor) -> Any:
    spikes = layers.lif1(layers.fc1(x))
    layers.lif1.mem.mul_(0.5)
    return spikes


@pytest.mark.parametrize("forward", [assigns, resets, decays])
def test_a_membrane_that_forward_sets_is_refused(forward: Any) -> None:
    assert "forward sets the membrane of 'lif1' itself" in refusal(Written(forward, hidden=True), step(), num_steps=T)


def test_a_step_without_num_steps_says_so() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x)), hidden=True)
    message = "layer 'lif1' computes one step, but num_steps is not given. Pass num_steps=T and one step's input"
    assert message in refusal(net, sequence())
    assert message in refusal(net, step())


def test_a_membrane_that_is_not_zero_at_first_is_refused() -> None:
    net = Written(lambda layers, x: layers.lif1.sequence(layers.fc1(x), torch.ones(x.shape[1], HIDDEN)))
    assert "it starts from a membrane that is not zero; an exported network starts at zero" in refusal(net, sequence())


def test_all_problems_are_listed_at_once() -> None:
    def forward(layers: Any, x: Tensor, mem: Tensor) -> Any:
        x = layers.extra[0](torch.abs(layers.fc1(x)))
        spikes = layers.extra[1](layers.lif1(x, mem)[0])
        return layers.lif2(layers.fc2(layers.other(spikes).repeat(1, 2)), zeros(layers, x, OUTPUT))[0]

    net = Written(forward, extra=nn.ModuleList([nn.BatchNorm1d(HIDDEN), nn.ReLU()]), other=QuantLinear(HIDDEN, 2))
    message = refusal(net, (step(), torch.zeros(B, HIDDEN)), num_steps=T)
    assert message.startswith("The network cannot be lowered:\n  - ")
    parts = ("torch.abs", "layer 'extra.0'", "layer 'extra.1'", "'lif1' but does not", "passed to 'lif2' is made")
    assert [part for part in parts if part not in message] == []
    assert message.count("\n  - ") == len(parts)


def test_what_nothing_depends_on_need_not_be_exportable() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        layers.log = torch.relu(layers.fc1(x))
        return layers.lif1(layers.fc1(x)), torch.softmax(layers.fc1(x), -1)

    assert lower(Written(forward, hidden=True), step(), num_steps=T, input_format="spikes").num_steps == T
