"""Tracing: three ways to write the same network give one contract, nothing of the user's is touched."""

import random
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantLinear, lower
from qleaky.errors import InputError, LoweringError
from qleaky.tracing import step_graph

B, T = 3, 5
INPUT, HIDDEN, OUTPUT = 3, 4, 2


def lif(**settings: Any) -> Leaky:
    return Leaky(**{"beta": 230 / 256, "threshold": 1.0, "state_quant": FixedPoint(8, 5)} | settings)


class Layers(nn.Module):
    """The layers that every network here has, with the same weights."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = QuantLinear(INPUT, HIDDEN), lif(**settings)
        self.fc2, self.lif2 = QuantLinear(HIDDEN, OUTPUT), lif(**settings)


class Threaded(Layers):
    """Written as in snntorch's export example: states go in and come out."""

    def forward(self, x: Tensor, mem1: Tensor, spk1: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return mem1, spk1, mem2, spk2


class Whole(Layers):
    """Takes the whole sequence."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes, _ = self.lif1.sequence(self.fc1(x))
        return self.lif2.sequence(self.fc2(spikes))  # type: ignore[no-any-return]


def hidden() -> nn.Sequential:
    """The layers keep their states themselves."""
    return nn.Sequential(OrderedDict(Layers(init_hidden=True).named_children()))


def step(batch: int = B) -> Tensor:
    return torch.zeros(batch, INPUT)


def states(batch: int = B) -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(batch, HIDDEN), torch.zeros(batch, HIDDEN), torch.zeros(batch, OUTPUT)


def lowered(net: nn.Module, sample: Any = None, **arguments: Any) -> Any:
    steps = {} if isinstance(net, Whole) else {"num_steps": T}
    return lower(net, step() if sample is None else sample, **steps | {"input_format": QFormat(8, 4)} | arguments)


# Three ways, one contract


def test_threaded_states_hidden_states_and_sequences_are_one_contract() -> None:
    networks = [
        lowered(Threaded(), (step(), *states())),
        lowered(hidden()),
        lowered(Whole(), torch.zeros(T, B, INPUT)),
        lowered(Whole(init_hidden=True), torch.zeros(T, B, INPUT)),
    ]
    assert all(isinstance(network, IntegerNetwork) for network in networks)
    assert [layer.name for layer in networks[0].layers] == ["fc1", "lif1", "fc2", "lif2"]
    assert [layer.input for layer in networks[0].layers] == ["input", "fc1", "lif1", "fc2"]
    assert len({network.digest for network in networks}) == 1


def test_the_states_of_a_step_are_the_arguments_that_layers_take_as_membranes() -> None:
    graph = step_graph(Threaded(), (step(), *states()), T)
    assert [(state.position, state.returned) for state in graph.call.states] == [(1, 0), (3, 2)]
    assert [source.position for source in graph.inputs] == [0]
    assert [neurons.path for neurons in graph.neurons] == ["lif1", "lif2"]


def test_one_tensor_of_zeros_may_be_passed_for_every_state() -> None:
    zeros = torch.zeros(B, HIDDEN)
    net = Threaded()
    net.fc2, net.lif2 = QuantLinear(HIDDEN, HIDDEN), lif()
    assert (
        lowered(net, (step(), zeros, zeros, zeros)).digest == lowered(net, (step(), *[z.clone() for z in [zeros] * 3])).digest
    )


def test_a_reset_membrane_may_be_passed_as_the_first_state() -> None:
    net = Threaded()
    first = (net.lif1.reset_mem(), torch.zeros(B, HIDDEN), net.lif2.reset_mem())
    assert lowered(net, (step(), *first)).digest == lowered(net, (step(), *states())).digest


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_of_the_sample_does_not_matter(batch: int) -> None:
    assert lowered(hidden(), torch.zeros(batch, INPUT)).digest == lowered(hidden()).digest


def test_values_and_mode_of_the_network_at_hand_do_not_matter() -> None:
    net = hidden()
    reference = lowered(net).digest
    net.train()(torch.ones(2, INPUT))
    assert lowered(net, torch.ones(B, INPUT)).digest == reference
    assert lowered(net.eval()).digest == reference


def test_layers_that_do_nothing_in_eval_mode_are_passed_through() -> None:
    layers = Layers(init_hidden=True)
    padded = OrderedDict(
        flat=nn.Flatten(), fc1=layers.fc1, drop=nn.Dropout(0.5), lif1=layers.lif1, same=nn.Identity(), fc2=layers.fc2
    )
    net = nn.Sequential(padded | {"lif2": layers.lif2}).train()
    assert lowered(net).digest == lowered(hidden()).digest


def test_clone_detach_and_reshapes_to_the_same_shape_are_passed_through() -> None:
    class Copies(Layers):
        def forward(self, x: Tensor) -> Any:
            spikes = self.lif1(self.fc1(x.clone().contiguous().view(x.shape)))
            return self.lif2(self.fc2(spikes.detach().float().reshape(len(x), HIDDEN)))

    assert lowered(Copies(init_hidden=True)).digest == lowered(hidden()).digest


def test_nested_modules_are_named_by_their_path() -> None:
    layers = Layers(init_hidden=True)
    net = nn.Sequential(nn.Sequential(layers.fc1, layers.lif1), nn.ModuleDict({"a": layers.fc2})["a"], layers.lif2)
    assert [layer.name for layer in lowered(net).layers] == ["0.0", "0.1", "1", "2"]


# The user's network is untouched


def snapshot(net: nn.Module) -> Any:
    """Everything that could change: flags, attributes, hooks, and every tensor with its identity, bits and gradient."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return (
        [(name, id(module), module.training, sorted(vars(module))) for name, module in net.named_modules()],
        [(name, id(t), t._version, t.requires_grad, t.is_leaf and t.grad, t.detach().clone().tolist()) for name, t in tensors],
        [list(getattr(module, kind).items()) for module in net.modules() for kind in HOOKS],
        torch.random.get_rng_state().tolist(),
        (torch.is_grad_enabled(), torch.get_num_threads()),
    )


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_lowering_leaves_the_network_as_it_was(training: bool, fails: bool) -> None:
    net = nn.Sequential(*hidden(), nn.ReLU()) if fails else hidden()
    net[0].register_forward_hook(lambda *_: None)
    net[1].register_forward_pre_hook(lambda *_: None)
    net[2].weight.requires_grad_(False)
    net.train(training)(torch.ones(2, INPUT))  # the membranes hold something, with a graph behind it
    before = snapshot(net)
    if fails:
        with pytest.raises(LoweringError):
            lowered(net)
    else:
        lowered(net)
    assert snapshot(net) == before
    assert net[1].mem.shape == (2, HIDDEN)


def test_a_sample_is_left_as_it_was() -> None:
    class InPlace(Layers):
        def forward(self, x: Tensor) -> Any:
            return self.lif1(self.fc1(x.add_(1)))

    sample = torch.zeros(B, INPUT)
    lowered(InPlace(init_hidden=True), sample)
    assert not sample.any()


def test_random_generators_are_left_as_they_were() -> None:
    class Noisy(Layers):
        def forward(self, x: Tensor) -> Any:
            random.random(), np.random.rand(), torch.rand(3)
            return self.lif1(self.fc1(x) + torch.randn(HIDDEN))

    def generators() -> Any:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()

    good, noisy = hidden(), Noisy(init_hidden=True)
    before = generators()
    lowered(good)
    with pytest.raises(LoweringError, match="draws random numbers"):
        lowered(noisy)
    assert generators() == before


def test_lowering_then_training_on_works() -> None:
    net = hidden()
    lowered(net)
    net(torch.ones(1, INPUT)).sum().backward()
    assert net[0].weight.grad is not None


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    net = hidden()
    net[0].lock = threading.Lock()
    with pytest.raises(LoweringError, match="The network cannot be copied, so it cannot be traced without touching it"):
        lowered(net)


# Arguments


@pytest.mark.parametrize(
    ("sample", "arguments", "error", "message"),
    [
        (None, {"num_steps": 0}, InputError, "num_steps=0; pass the number of time steps, at least 1"),
        (None, {"num_steps": -1}, InputError, "num_steps=-1"),
        (None, {"num_steps": True}, InputError, "num_steps=True"),
        (None, {"num_steps": 2.0}, InputError, r"num_steps=2\.0"),
        (torch.full((B, INPUT), torch.nan), {}, InputError, "sample_input holds NaN or infinity"),
        (torch.full((B, INPUT), torch.inf), {}, InputError, "sample_input holds NaN or infinity"),
        (torch.zeros(0, INPUT), {}, InputError, r"sample_input has shape \(0, 3\); pass at least one step and one sample"),
        (torch.zeros(()), {}, InputError, r"the first argument is \(\); pass a tensor \(B, \.\.\.\)"),
        ([], {}, InputError, "sample_input: the first argument is"),
        ("x", {}, InputError, "sample_input: the first argument is"),
        (None, {"time": "still"}, InputError, "time='still' is unknown. Choose 'sequence' or 'static'"),
        (None, {"readout": "loudest"}, InputError, "readout='loudest' is unknown. Choose one of spikes, spike_count"),
        (None, {"readout": "spike_count:max"}, InputError, "readout='spike_count:max' is unknown"),
        (None, {"readout": "spikes:argmax"}, InputError, "readout='spikes:argmax' names no class"),
        (None, {"input_format": "u8"}, InputError, r"input_format='u8'; pass 'spikes' or a qleaky\.QFormat"),
        (None, {"input_format": 8}, InputError, "input_format=8"),
    ],
)
def test_arguments_that_make_no_sense(sample: Any, arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lowered(hidden(), sample, **arguments)


def test_a_forward_that_replaces_that_of_a_layer_is_traced_like_any_other() -> None:
    net = hidden()
    weight = torch.round(torch.ones(HIDDEN, INPUT) * 4) / 8
    net[0].forward = lambda x: x @ weight.T * 2
    assert [layer.name for layer in lowered(net).layers[:2]] == ["fc1", "fc1_2"]


def test_neurons_with_a_forward_of_their_own_are_refused() -> None:
    net = hidden()
    net[1].forward = lambda x: x
    with pytest.raises(LoweringError, match="layer 'lif1' has a forward of its own"):
        lowered(net)


class EditsItsWeights(Layers):
    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            self.fc1.weight.data.mul_(0.5)
        return self.lif1(self.fc1(x))


def test_a_forward_that_changes_its_own_weights_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"forward changes fc1\.weight"):
        lowered(EditsItsWeights(init_hidden=True))
