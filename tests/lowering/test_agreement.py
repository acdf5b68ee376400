"""What one trace cannot show is refused, or found by running torch against the contract."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QuantLinear, lower, surrogate
from qleaky.errors import LoweringError

Forward = Callable[[Any, Tensor], Any]


class Net(nn.Module):
    def __init__(self, forward: Forward, lif: Leaky | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = [forward]
        self.fc = QuantLinear(12, 9)
        self.fc2 = QuantLinear(12, 9)
        self.drop = nn.Dropout(0.5)
        self.lif = lif if lif is not None else Leaky(230 / 256, state_quant=FixedPoint(8, 5))
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        return self.function[0](self, x)


def lowered(net: nn.Module) -> Any:
    return lower(net, torch.zeros(4, 3, 12), input_format="spikes")


def plain(net: Any, x: Tensor) -> Any:
    return net.lif.sequence(net.fc(x))


def branches(net: Any, x: Tensor) -> Any:
    return net.lif.sequence(net.fc(x) if x.sum() < x.numel() else net.fc2(x))


def reads_an_item(net: Any, x: Tensor) -> Any:
    return net.lif.sequence(net.fc(x) if x[0, 0, 0].item() == 0 else net.fc2(x))


def writes_through_numpy(net: Any, x: Tensor) -> Any:
    currents = net.fc(x)
    currents.numpy()[...] *= 2
    return net.lif.sequence(currents)


def assigns_data(net: Any, x: Tensor) -> Any:
    currents = net.fc(x)
    currents.data = currents.data * 2
    return net.lif.sequence(currents)


def writes_out(net: Any, x: Tensor) -> Any:
    currents = net.fc(x)
    torch.mul(x[..., :5], 3, out=currents[..., :5])
    return net.lif.sequence(currents)


def in_place_by_argument(net: Any, x: Tensor) -> Any:
    currents = net.fc(x)
    F.relu(currents.view(-1), True)
    return net.lif.sequence(currents)


def counts(net: Any, x: Tensor) -> Any:
    net.calls += 1
    return net.lif.sequence((net.fc2 if net.calls > 5 else net.fc)(x))


def adapts_its_threshold(net: Any, x: Tensor) -> Any:
    result = plain(net, x)
    net.lif.threshold = net.lif.threshold + 0.25
    return result


def depends_on_the_batch(net: Any, x: Tensor) -> Any:
    return net.lif.sequence((net.fc if x.shape[1] == 3 else net.fc2)(x))


def drops(net: Any, x: Tensor) -> Any:
    net.drop.train()
    return net.lif.sequence(net.fc(net.drop(x)))


def autocasts(net: Any, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return net.lif.sequence(net.fc(x))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (branches, r"'test_agreement.py:.*__bool__ reads the values of the data"),
        (reads_an_item, r"Tensor.item reads the values of the data"),
        (writes_through_numpy, r"Tensor.numpy reads the values of the data"),
        (assigns_data, r"test_agreement.py:\d+: currents.data = "),
        (writes_out, r"in-place write cannot be exported"),
        (in_place_by_argument, r"in-place write cannot be exported"),
        (counts, r"forward changes calls; a network to export must not depend on how often it ran"),
        (adapts_its_threshold, r"forward changes lif\.threshold"),
        (depends_on_the_batch, r"for a batch of 6 than for one of 3; it must do the same"),
        (drops, r"layer 'drop' is in training mode"),
        (autocasts, r"layer 'lif' computes in torch\.bfloat16"),
    ],
)
def test_what_a_second_run_would_do_otherwise_is_refused(forward: Forward, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lowered(Net(forward))


@pytest.mark.parametrize("edit", [lambda mem: mem.clamp(min=-1), lambda mem: mem.clamp_(min=-1)])
def test_a_membrane_edited_after_the_call_is_refused(edit: Any) -> None:
    def forward(net: Any, x: Tensor) -> Any:
        spikes = net.lif(net.fc(x))
        net.lif.mem = edit(net.lif.mem)
        return spikes

    lif = Leaky(230 / 256, state_quant=FixedPoint(8, 5), init_hidden=True)
    with pytest.raises(LoweringError, match="forward sets the membrane of 'lif' itself"):
        lower(Net(forward, lif), torch.zeros(1, 12), num_steps=3, input_format="spikes")


class Clamped(Leaky):
    def sequence(self, currents: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().sequence(currents.clamp(max=1), mem)


class Halved(FixedPoint):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 0.5)


class Early(surrogate.ATan):
    def __call__(self, x: Tensor) -> Tensor:
        return (x > -0.5).to(x.dtype)


def hooked() -> FixedPoint:
    quantizer = FixedPoint(8, 5)
    quantizer.register_forward_hook(lambda module, inputs, output: output * 2)
    return quantizer


@pytest.mark.parametrize(
    ("lif", "message"),
    [
        (lambda: Clamped(0.5, state_quant=FixedPoint(8, 5)), "Clamped overrides sequence of Leaky"),
        (lambda: Leaky(0.5, state_quant=Halved(8, 5)), "Halved overrides forward of FixedPoint"),
        (lambda: Leaky(0.5, state_quant=hooked()), "its state quantizer has hooks"),
        (lambda: Leaky(0.5, spike_grad=Early(), state_quant=FixedPoint(8, 5)), "Early replaces the Heaviside step"),
    ],
)
def test_layers_that_do_not_compute_their_settings_are_refused(lif: Any, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lowered(Net(plain, lif()))


class Named(Leaky):
    """A subclass that only chooses its settings."""

    def __init__(self) -> None:
        super().__init__(0.5, state_quant=FixedPoint(8, 5))


def test_a_subclass_with_settings_of_its_own_lowers() -> None:
    assert isinstance(lowered(Net(plain, Named())), IntegerNetwork)


def test_a_network_that_the_trace_misreads_is_found_by_running_it() -> None:
    """A closure keeps state that no trace sees: the contract is compared with torch before anyone gets it."""
    seen: list[int] = []

    def forward(net: Any, x: Tensor) -> Any:
        seen.append(1)
        return net.lif.sequence((net.fc if len(seen) < 3 else net.fc2)(x))

    with pytest.raises(LoweringError, match="layer 'lif' computes something else in torch than its settings say"):
        lowered(Net(forward))


@pytest.mark.parametrize("settings", [{"state_quant": FixedPoint(8, 5)}, {}])
def test_a_state_that_forward_keeps_in_an_attribute_is_named(settings: Any) -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.spk = net.lif(net.fc(x) + net.spk)
        return net.spk

    net = Net(forward, Leaky(0.5, init_hidden=True, **settings))
    net.spk = torch.zeros(1, 9)
    message = r"forward stores tensors in spk, .* Take it as an argument, such as forward\(self, x, spk\)"
    with pytest.raises(LoweringError, match=message):
        lower(net, torch.zeros(2, 12), num_steps=4, input_format="spikes")


def test_what_forward_only_notes_in_an_attribute_does_not_matter() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        net.noted, _ = net.lif.sequence(net.fc(x))
        return net.noted

    assert isinstance(lowered(Net(forward)), IntegerNetwork)
