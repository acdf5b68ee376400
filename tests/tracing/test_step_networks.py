"""Networks whose forward is one time step: states threaded through arguments, or hidden in the layers."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import HIDDEN, INPUT, OUTPUT, B, T, Written, compared, layers_of, lif, refusal, step, steps, threaded

from qleaky import FixedPoint, QFormat, QuantLinear, lower
from qleaky.integer import Delay


class Example(nn.Module):
    """The example of the snntorch documentation: spk1 is an argument that forward never reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = QuantLinear(INPUT, HIDDEN), lif(threshold=0.25)
        self.fc2, self.lif2 = QuantLinear(HIDDEN, OUTPUT), lif(threshold=0.25)

    def forward(self, x: Tensor, mem1: Tensor, spk1: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        cur1 = self.fc1(x)
        spk1, mem1 = self.lif1(cur1, mem1)
        cur2 = self.fc2(spk1)
        spk2, mem2 = self.lif2(cur2, mem2)
        return mem1, spk1, mem2, spk2


def test_threaded_states_with_an_argument_that_is_never_read() -> None:
    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN), torch.zeros(B, OUTPUT))
    network = compared(Example(), sample, threaded(HIDDEN, HIDDEN, OUTPUT, back=[0, 1, 2]), num_steps=T)
    assert layers_of(network) == [("fc1", "Linear"), ("lif1", "LIF"), ("fc2", "Linear"), ("lif2", "LIF")]


def test_a_sequential_of_layers_that_keep_their_states() -> None:
    net = Written(lambda layers, x: None, hidden=True)
    chain = nn.Sequential(OrderedDict(fc1=net.fc1, lif1=net.lif1, fc2=net.fc2, lif2=net.lif2))
    assert compared(chain, step(), steps, num_steps=T).num_steps == T


def test_layers_in_lists_dicts_and_modules_of_modules() -> None:
    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"linear": QuantLinear(inputs, outputs), "neurons": lif(init_hidden=True)})

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["neurons"](self.parts["linear"](x))  # type: ignore[no-any-return]

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.blocks = nn.ModuleList([Block(INPUT, HIDDEN), Block(HIDDEN, OUTPUT)])
            for block in self.blocks:
                block.parts["linear"].weight.data.abs_().mul_(2)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return x

    names = [name for name, _ in layers_of(compared(Deep(), step(), steps, num_steps=T))]
    assert names == [f"blocks.{i}.parts.{part}" for i in range(2) for part in ("linear", "neurons")]


def test_a_membrane_may_be_detached_on_its_way_in_and_out() -> None:
    def forward(layers: Any, x: Tensor, mem: Tensor) -> Any:
        spk, mem = layers.lif1(layers.fc1(x), mem.detach())
        return spk, mem.detach()

    compared(Written(forward), (step(), torch.zeros(B, HIDDEN)), threaded(HIDDEN, back=[1]), num_steps=T)


def recurrent(layers: Any, x: Tensor, mem: Tensor, spk: Tensor) -> Any:
    spk, mem = layers.lif1(layers.fc1(x) + layers.back(spk), mem)
    return mem, spk


def test_spikes_of_the_step_before_may_be_an_argument() -> None:
    def forward(layers: Any, x: Tensor, mem: Tensor, spk: Tensor) -> Any:
        return recurrent(layers, x, mem, spk)

    class Named(Written):
        def forward(self, x: Tensor, mem: Tensor, spk: Tensor) -> Any:
            return forward(self, x, mem, spk)

    net = Named(forward, back=QuantLinear(HIDDEN, HIDDEN))
    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN))
    network = compared(net, sample, threaded(HIDDEN, HIDDEN, back=[0, 1]), num_steps=T)
    assert [layer.name for layer in network.layers if isinstance(layer, Delay)] == ["lif1_delayed"]
    assert [source.name for source in network.inputs] == ["input"]


class FedBack(nn.Module):
    """What comes back is not the spikes themselves, but what a layer made of them."""

    def __init__(self, bias: bool, lonely: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.back, self.lif = QuantLinear(INPUT, HIDDEN), QuantLinear(HIDDEN, HIDDEN, bias=bias), lif()
        self.lonely = lonely

    def forward(self, x: Tensor, mem: Tensor, rec: Tensor) -> Any:
        spk, mem = self.lif(self.fc(x) + rec, mem)
        back = self.back(spk)
        return spk, mem, back + rec if self.lonely else back


def test_what_a_layer_makes_of_spikes_may_come_back_if_it_starts_at_zero() -> None:
    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN))
    drive = threaded(HIDDEN, HIDDEN, back=[1, 2])

    class Shifted(FedBack):
        def forward(self, x: Tensor, mem: Tensor, rec: Tensor) -> Any:
            spk, mem, back = super().forward(x, mem, rec)
            return spk, mem, back

    compared(Shifted(bias=False), (sample[0], *sample[1:]), drive, num_steps=T)
    message = refusal(FedBack(bias=True), sample, num_steps=T)
    assert "state 'rec' starts at zero, but what feeds it does not" in message
    assert "depends on its own value of the step before" in refusal(FedBack(bias=False, lonely=True), sample, num_steps=T)


def test_an_argument_that_may_be_an_input_or_a_state_is_refused_until_it_is_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.lif = QuantLinear(INPUT, HIDDEN), lif()

        def forward(self, x: Tensor, mem: Tensor, context: Tensor) -> Any:
            spk, mem = self.lif(self.fc(x) + context, mem)
            return mem, spk

    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN))
    message = refusal(Two(), sample, num_steps=T)
    assert "argument 'context' of forward may be a second input or a state of the step before" in message
    network = lower(Two(), sample, num_steps=T, input_format={"x": QFormat(6, 2), "context": QFormat(6, 2)})
    assert [source.name for source in network.inputs] == ["x", "context"]


def test_a_word_inside_another_word_does_not_make_a_state() -> None:
    class Recording(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = QuantLinear(INPUT, HIDDEN), lif()

        def forward(self, x: Tensor, mem: Tensor, recording: Tensor) -> Any:
            spk, mem = self.lif(self.fc(x) + recording, mem)
            return mem, spk

    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN))
    assert "argument 'recording' of forward may be a second input" in refusal(Recording(), sample, num_steps=T)


def test_one_input_for_all_steps() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x)), hidden=True)
    network = compared(net, step(), lambda net, x: [net(x) for _ in range(T)], num_steps=T, time="static")
    assert network.input.time == "static"


def test_a_layer_used_twice_has_two_states() -> None:
    def forward(layers: Any, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:
        first, mem1 = layers.lif1(layers.fc1(x), mem1)
        second, mem2 = layers.lif1(layers.inner(first), mem2)
        return second, mem1, mem2

    net = Written(forward, inner=QuantLinear(HIDDEN, HIDDEN))
    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, HIDDEN))
    drive = threaded(HIDDEN, HIDDEN, back=[1, 2])
    network = compared(net, sample, drive, {"lif1": ["lif1", "lif1_2"]}, num_steps=T)
    assert [layer.name for layer in network.lif_layers] == ["lif1", "lif1_2"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_precision_mode_gradients_and_buffers_of_the_network_do_not_matter(dtype: torch.dtype, training: bool) -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        return layers.lif1(layers.fc1(layers.drop(x)) + layers.offset)

    net = Written(forward, hidden=True, drop=nn.Dropout(0.5))
    net.register_buffer("offset", torch.tensor([0.5, 0.0, -0.5, 1.0]))
    net = net.to(dtype).train(training)
    compared(net, step().to(dtype).requires_grad_(), steps, num_steps=T)


@pytest.mark.parametrize(("batch", "num_steps"), [(1, T), (T, T), (B, 1), (1, 1), (HIDDEN, T), (INPUT, INPUT)])
def test_sizes_that_look_alike_are_told_apart(batch: int, num_steps: int) -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x)), hidden=True)
    compared(net, torch.zeros(batch, INPUT), steps, num_steps=num_steps)


def test_learned_decays_thresholds_and_graded_spikes_of_each_neuron() -> None:
    neurons = lif(
        beta=torch.tensor([0.5, 0.75, 1.0, 0.25]),
        learn_beta=True,
        threshold=torch.tensor([0.5, 1.0, 0.25, 0.5]),
        learn_threshold=True,
        graded_spikes_factor=torch.tensor([1.0, 0.5, 2.0, -1.5]),
        learn_graded_spikes_factor=True,
        init_hidden=True,
    )
    net = Written(lambda layers, x: layers.lif2(layers.fc2(layers.first(layers.fc1(x)))), hidden=True, first=neurons)
    compared(net, step(), steps, num_steps=T)


def test_an_input_quantizer_declares_the_format_of_the_input() -> None:
    net = nn.Sequential(FixedPoint(6, 3), QuantLinear(INPUT, HIDDEN), lif(init_hidden=True))
    assert compared(net, step(), steps, num_steps=T, input_format=None).input.format == QFormat(6, 3)
