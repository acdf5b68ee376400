"""What cannot be lowered: every problem is named with its place and its fix, and all of them at once."""

from collections.abc import Callable
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, QFormat, QuantLinear, lower
from qleaky.errors import LoweringError

B, T = 3, 5
INPUT, HIDDEN, OUTPUT = 3, 4, 2
Forward = Callable[..., Any]


class Custom(nn.Module):
    """Two linear layers, two Leaky layers, perhaps another one, and a forward that is a function of (layers, x, ...)."""

    def __init__(self, function: Forward, extra: nn.Module | None = None, **settings: Any) -> None:
        super().__init__()
        settings = {"beta": 0.5, "state_quant": FixedPoint(8, 5), "init_hidden": True} | settings
        self.fc1, self.lif1 = QuantLinear(INPUT, HIDDEN), Leaky(**settings)
        self.fc2, self.lif2 = QuantLinear(HIDDEN, OUTPUT), Leaky(**settings)
        self.function, self.extra = [function], extra

    def forward(self, *x: Tensor) -> Any:
        return self.function[0](self, *x)


def step() -> Tensor:
    return torch.zeros(B, INPUT)


def lowered(net: nn.Module, sample: Any = None, **arguments: Any) -> Any:
    return lower(net, step() if sample is None else sample, **{"num_steps": T, "input_format": QFormat(8, 4)} | arguments)


def refusal(net: nn.Module, sample: Any = None, **arguments: Any) -> str:
    with pytest.raises(LoweringError) as caught:
        lowered(net, sample, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), r"layer 'extra' is a ReLU, which cannot be lowered; spikes need none; drop it\."),
        (
            nn.BatchNorm1d(HIDDEN),
            r"'extra' is a BatchNorm1d, which cannot be lowered; fold it into the layer before it\.",
        ),
        (
            nn.LayerNorm(HIDDEN),
            r"'extra' is a LayerNorm, which cannot be lowered; use Linear, QuantLinear and Leaky layers",
        ),
        (nn.Conv1d(HIDDEN, HIDDEN, 1), r"forward failed on sample_input|is a Conv1d.*use Linear layers"),
        (nn.AvgPool1d(1), r"layer 'extra' is a AvgPool1d, which cannot be lowered; pooling is not supported yet"),
        (nn.Unflatten(1, (2, 2)), r"layer 'extra' is a Unflatten|forward failed"),
        (FixedPoint(8, 4), r"layer 'extra' quantizes what 'fc1' emits; only the input and the states may be quantized"),
        (qnn.QuantIdentity(), r"layer 'extra' quantizes what 'fc1' emits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_that_cannot_be_lowered(module: nn.Module, message: str) -> None:
    net = Custom(lambda layers, x: layers.lif1(layers.extra(layers.fc1(x))), module)
    with pytest.raises(LoweringError, match=message):
        lowered(net)


def test_a_layer_of_snntorch_is_told_from_our_own() -> None:
    theirs = pytest.importorskip("snntorch").Leaky(beta=0.5, init_hidden=True)
    with pytest.raises(LoweringError, match=r"layer 'extra' is a .*snntorch"):
        lowered(Custom(lambda layers, x: layers.extra(layers.fc1(x)), theirs))


def setitem(layers: Any, x: Tensor) -> Any:
    currents = layers.fc1(x)
    currents[:, 0] = 0
    return layers.lif1(currents)


def through_a_view(layers: Any, x: Tensor) -> Any:
    currents = layers.fc1(x)
    currents[:, 0].mul_(2)
    return layers.lif1(currents)


def through_data(layers: Any, x: Tensor) -> Any:
    currents = layers.fc1(x)
    currents.data.clamp_(min=0)
    return layers.lif1(currents)


def in_place(layers: Any, x: Tensor) -> Any:
    currents = layers.fc1(x)
    currents.clamp_(min=0)
    return layers.lif1(currents)


@pytest.mark.parametrize(
    "function",
    [
        lambda layers, x: layers.lif1(torch.relu(layers.fc1(x))),
        lambda layers, x: layers.lif1(layers.fc1(x) + 1),
        lambda layers, x: layers.lif1(2 * layers.fc1(x)),
        lambda layers, x: layers.lif1(layers.fc1(x[:, [1, 0, 2]])),
        lambda layers, x: layers.lif1(layers.fc1(x.T)),  # the sample is square
        lambda layers, x: layers.lif1(torch.nn.functional.linear(x, layers.fc1.weight)),
        lambda layers, x: layers.lif1(layers.fc1(torch.cat([x[:, :1], x[:, 1:]], 1))),
        lambda layers, x: layers.lif2(layers.fc2(layers.lif1(layers.fc1(x)) - 0)),
        in_place,
        setitem,
        through_a_view,
        through_data,
    ],
    ids=["relu", "add", "mul", "index", "transpose", "linear", "cat", "sub", "in-place", "setitem", "view", "data"],
)
def test_torch_functions_between_layers_are_refused_with_their_line(function: Forward) -> None:
    message = refusal(Custom(function))
    assert "stands between layers and cannot be lowered; use layers only." in message
    assert "test_chain.py:" in message


def test_the_line_of_an_operation_is_quoted() -> None:
    def function(layers: Any, x: Tensor) -> Any:
        return layers.lif1(torch.relu(layers.fc1(x)))  # here

    line = function.__code__.co_firstlineno + 1
    quoted = f"torch.relu at 'test_chain.py:{line}: return layers.lif1(torch.relu(layers.fc1(x)))"
    assert quoted in refusal(Custom(function))


def assigns(layers: Any, x: Tensor) -> Any:
    layers.lif1.mem = torch.zeros(B, HIDDEN)
    return layers.lif1(layers.fc1(x))


def resets(layers: Any, x: Tensor) -> Any:
    layers.lif1.reset_mem()
    return layers.lif1(layers.fc1(x))


@pytest.mark.parametrize(
    ("function", "settings", "arguments", "message"),
    [
        (
            lambda layers, x: layers.lif1(layers.fc1(layers.lif1(layers.fc1(x))[:, :3])),
            {},
            {},
            r"layer 'fc1' is called 2 times in one forward\. Let forward compute one step and pass num_steps=T, or call",
        ),
        (
            lambda layers, x: layers.lif1(layers.fc1(x), torch.zeros(B, HIDDEN)),
            {"init_hidden": False},
            {},
            r"the membrane passed to 'lif1' is made inside forward, so its state is lost after each step\. Take it as an",
        ),
        (resets, {}, {}, r"lif1.*(reset|state is lost)"),
        (assigns, {}, {}, r"lif1.*(reset|state is lost)"),
        (
            lambda layers, x, mem: layers.lif1(layers.fc1(x), mem)[0],
            {"init_hidden": False},
            {"sample": (step(), torch.zeros(B, HIDDEN))},
            r"forward takes the membrane of 'lif1' but does not return the new one; return it\.",
        ),
        (
            lambda layers, x: layers.lif1(layers.fc1(x)).sum(-1),
            {},
            {},
            r"forward returns the result of torch\.Tensor\.sum at .*Say what leaves the network with readout='spikes'",
        ),
        (
            lambda layers, x, y: layers.lif2(layers.fc2(y)) + layers.lif1(layers.fc1(x)).sum(),
            {},
            {"sample": (step(), torch.zeros(B, HIDDEN))},
            r"forward reads 2 tensors as data; a network has one input",
        ),
        (
            lambda layers, x: layers.lif1.sequence(layers.fc1(x)),
            {},
            {},
            r"layer 'lif1' runs a whole sequence, but num_steps is given, which says forward is one step\. Leave it out",
        ),
        (
            lambda layers, x: layers.lif1(layers.fc1(x)),
            {},
            {"num_steps": None, "sample": torch.zeros(T, B, INPUT)},
            r"layer 'lif1' computes one step, but num_steps is not given\. Pass num_steps=T and one step's input, or call",
        ),
        (
            lambda layers, x: layers.lif1.sequence(layers.fc1(x), torch.ones(B, HIDDEN)),
            {"init_hidden": False},
            {"num_steps": None, "sample": torch.zeros(T, B, INPUT)},
            r"layer 'lif1' starts from a membrane that is not zero; an exported network starts at zero\.",
        ),
        (
            lambda layers, x: layers.lif2(layers.fc2(layers.lif1(layers.fc1(x))[1])),
            {"output": True},
            {},
            r"layer 'fc2' takes the membrane of 'lif1' as data; pass its spikes\.",
        ),
        (
            lambda layers, x: layers.lif1(layers.fc1(torch.ones(B, INPUT))),
            {},
            {},
            r"forward reads 0 tensors as data",
        ),
        (lambda layers, x: layers.fc1(x), {}, {}, r"the network ends in 0 Leaky layers \[\]; it must end in one"),
        (
            lambda layers, x: (layers.lif1(layers.fc1(x)), layers.lif2(layers.extra(x))),
            {"extra": QuantLinear(INPUT, OUTPUT)},
            {},
            r"the network ends in 2 Leaky layers \['lif1', 'lif2'\]; it must end in one, which is read out\.",
        ),
        (lambda layers, x: layers.fc2(x), {}, {}, r"forward failed on sample_input with shapes \(3, 3\): .*Pass what forward"),
        (lambda layers, x: {}["missing"], {}, {}, r"forward failed on sample_input"),
    ],
)
def test_networks_that_cannot_be_lowered(function: Forward, settings: Any, arguments: Any, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lowered(Custom(function, **settings), **arguments)


def test_a_readout_says_what_leaves_the_network_where_forward_computes_on() -> None:
    net = Custom(lambda layers, x: layers.lif1(layers.fc1(x)).sum(-1))
    assert lowered(net, readout="spike_count").readout.kind == "spike_count"


def test_all_problems_are_listed_at_once() -> None:
    def forward(layers: Any, x: Tensor, mem: Tensor) -> Any:
        x = layers.extra[0](torch.abs(layers.fc1(x)))
        spikes = layers.extra[1](layers.lif1(x, mem)[0])
        return layers.lif2(layers.fc2(layers.fc2(spikes).repeat(1, 2)), torch.zeros(B, OUTPUT))[0]

    extra = nn.ModuleList([nn.BatchNorm1d(HIDDEN), nn.ReLU()])
    message = refusal(Custom(forward, extra, init_hidden=False), (step(), torch.zeros(B, HIDDEN)))
    assert message.startswith("The network cannot be lowered:\n  - ")
    parts = ("extra.0", "extra.1", "torch.abs", "repeat", "'fc2' is called 2 times", "'lif1' but does not", "'lif2' is made")
    for part in parts:
        assert part in message
    assert message.count("\n  - ") == len(parts)
