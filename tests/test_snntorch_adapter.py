"""``from_snntorch``: the converted network computes snntorch's bits, and the original stays as it was."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import snntorch
import torch
from snntorch import surrogate as theirs
from snntorch.functional import quant
from torch import Tensor, nn

import qleaky
from qleaky import surrogate as ours
from qleaky.errors import InputError
from qleaky.snntorch_adapter import from_snntorch

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 7


class Threaded(nn.Module):
    """Two layers whose membranes the network threads through time."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(INPUTS, HIDDEN), snntorch.Leaky(beta=torch.rand(HIDDEN), **options)
        self.fc2, self.lif2 = nn.Linear(HIDDEN, 2), snntorch.Leaky(0.8, threshold=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.reset_mem()
        out = []
        for current in x.unbind(0):
            spk1, mem1 = self.lif1(self.fc1(current), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out += [spk1.sum(1), mem1.sum(1), spk2.sum(1), mem2.sum(1)]
        return torch.stack(out), mem2


class Hidden(nn.Module):
    """Runs a network that keeps its membranes itself over time."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = [self.body(current) for current in x.unbind(0)]
        outs = [step if isinstance(step, tuple) else (step, step) for step in out]
        return torch.stack([spk for spk, _ in outs]), outs[-1][1]


def hidden(**options: Any) -> Hidden:
    return Hidden(nn.Sequential(nn.Linear(INPUTS, HIDDEN), snntorch.Leaky(0.9, init_hidden=True, **options)))


def currents(*shape: int) -> Tensor:
    return torch.randn(*(shape or (STEPS, BATCH, INPUTS)), generator=torch.Generator().manual_seed(1)) * 2 + 0.3


def play(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs and all gradients of a run; noise in surrogates is drawn alike."""
    torch.manual_seed(2)
    x = x.clone().requires_grad_()
    out, mem = net(x)
    loss = (out * torch.arange(1, out.numel() + 1).reshape(out.shape)).sum() + mem.square().sum()
    leaves = [x, *(parameter for parameter in net.parameters() if parameter.requires_grad)]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    for layer in net.modules():
        if isinstance(layer, snntorch.Leaky | qleaky.Leaky):
            layer.mem = layer.mem.detach()
    return [out.detach(), mem.detach(), *(torch.zeros(()) if grad is None else grad for grad in gradients)]


def assert_same(net: nn.Module, x: Tensor) -> nn.Module:
    """Convert, and compare two runs with snntorch's, in evaluation and training mode."""
    for mode in (False, True):
        converted = from_snntorch(net.train(mode))
        assert not any(isinstance(module, snntorch.SpikingNeuron) for module in converted.modules())
        assert all(module.training is mode for module in converted.modules())
        for _ in range(2):
            for expected, got in zip(play(net, x), play(converted, x), strict=True):
                assert torch.equal(expected, got)
    return converted


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# The same bits


@pytest.mark.filterwarnings("ignore:Leaky.init_leaky is deprecated")
@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("reset_delay", [True, False], ids=["delayed", "undelayed"])
@pytest.mark.parametrize("reset_mechanism", ["subtract", "zero", "none"])
def test_every_reset_equals_snntorch(reset_mechanism: str, reset_delay: bool, learn: bool) -> None:
    learned = {"learn_beta": learn, "learn_threshold": learn, "learn_graded_spikes_factor": learn}
    options = {"reset_mechanism": reset_mechanism, "reset_delay": reset_delay, "graded_spikes_factor": torch.rand(HIDDEN) + 0.5}
    net = Threaded(threshold=torch.rand(HIDDEN) + 0.2, **options, **learned)
    converted = assert_same(net, currents())
    assert [name for name, _ in converted.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert list(converted.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output": True},
        {"surrogate_disable": True, "output": True},
        {"state_quant": quant.state_quant(3), "reset_delay": False},
        {"state_quant": lambda mem: mem.round(decimals=1)},
        {"state_quant": qleaky.FixedPoint(6, 3)},
    ],
    ids=["plain", "output", "no surrogate", "levels", "callable", "module"],
)
def test_hidden_membranes_equal_snntorch(options: dict[str, Any]) -> None:
    assert_same(hidden(**options), currents())


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
@pytest.mark.parametrize("reset_delay", [True, False])
def test_inhibition_equals_snntorch(reset_delay: bool) -> None:
    assert_same(hidden(inhibition=True, reset_delay=reset_delay), currents())


def test_a_convolutional_network_equals_snntorch() -> None:
    lif = snntorch.Leaky(torch.rand(4, 1, 1), init_hidden=True, learn_beta=True)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), lif, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout()]
    assert_same(
        Hidden(nn.Sequential(*layers, nn.LazyLinear(3), snntorch.Leaky(0.7, init_hidden=True))), currents(4, 2, 2, 8, 8)
    )


def test_a_single_layer_is_a_network() -> None:
    converted = from_snntorch(snntorch.Leaky(0.9, 0.5, output=True))
    assert isinstance(converted, qleaky.Leaky)
    assert converted.output
    expected = snntorch.Leaky(0.9, 0.5)(currents()[0])
    assert all(torch.equal(*pair) for pair in zip(expected, converted(currents()[0]), strict=True))


def make(factory: str, **numbers: float) -> tuple[Any, Any]:
    return getattr(theirs, factory)(**numbers), getattr(ours, factory)(**numbers)


@pytest.mark.parametrize(
    ("factory", "numbers"),
    [
        ("atan", {"alpha": 1.5}),
        ("fast_sigmoid", {"slope": 10}),
        ("sigmoid", {"slope": 5}),
        ("straight_through_estimator", {}),
        ("triangular", {"threshold": 0.5}),
        ("spike_rate_escape", {"beta": 0.5, "slope": 3}),
        ("SFS", {"slope": 5, "B": 0.1}),
        ("SSO", {"mean": 0.1, "variance": 0.3}),
        ("heaviside", {}),
    ],
)
def test_surrogates_of_snntorch_become_ours(factory: str, numbers: dict[str, float]) -> None:
    spike_grad, expected = make(factory, **numbers)
    converted = assert_same(hidden(spike_grad=spike_grad), currents())
    assert converted.body[1].spike_grad == expected


def squared(x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
    return grad.mul_(x.square() + spikes)


def test_a_custom_surrogate_becomes_ours_and_may_write_to_its_gradient() -> None:
    converted = assert_same(hidden(spike_grad=theirs.custom_surrogate(squared)), currents())
    assert isinstance(pickle.loads(pickle.dumps(converted)).body[1].spike_grad, ours.CustomSurrogate)


def test_other_surrogates_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[[Tensor], Tensor] = lambda x: theirs.ATan.apply(x, 2.0)  # noqa: E731
    learned = theirs.atan(torch.tensor(2.0))  # type: ignore[arg-type]
    endless = theirs.fast_sigmoid(float("inf"))  # type: ignore[arg-type]
    for spike_grad in (own, learned, endless, theirs.LSO()):
        assert from_snntorch(hidden(spike_grad=spike_grad)).body[1].spike_grad is spike_grad
    monkeypatch.setattr(snntorch, "__version__", "1.1.0")
    default = hidden()
    assert from_snntorch(default).body[1].spike_grad is default.body[1].spike_grad


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("num_bits", [1, 4, 8])
def test_state_quant_becomes_the_same_levels(num_bits: int, uniform: bool) -> None:
    converted = assert_same(hidden(state_quant=quant.state_quant(num_bits, uniform=uniform, upper_limit=0.3)), currents())
    levels = converted.body[1].state_quant
    assert isinstance(levels, qleaky.Levels)
    assert torch.equal(levels.levels, qleaky.state_quant(num_bits, uniform=uniform, upper_limit=0.3).levels)


def test_grids_that_levels_cannot_hold_are_kept_as_they_are() -> None:
    descending = quant.state_quant(3, threshold=-1)
    assert assert_same(hidden(state_quant=descending), currents()).body[1].state_quant is descending


def test_a_membrane_goes_on_where_it_was() -> None:
    net = hidden()
    net(currents())
    converted = from_snntorch(net)
    assert torch.equal(net.body[1].reset, converted.body[1].reset)
    assert all(torch.equal(*pair) for pair in zip(net(currents()), converted(currents()), strict=True))


# What is kept


class Holder(nn.Module):
    """Layers in every kind of container, one of them shared, with ties and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), snntorch.Leaky(0.9, init_hidden=True)])
        self.named = nn.ModuleDict({"lif": snntorch.Leaky(0.8, init_hidden=True, learn_beta=True)})
        self.shared, self.plain = self.layers[1], [self.layers[1], {"other": snntorch.Leaky(0.7)}]
        self.decay = self.named["lif"].beta
        self.named["lif"].tag, self.named["lif"].owner = "output", self.plain
        self.named["lif"].extra = nn.Linear(1, 1)
        self.note = {"classes": 10}


def test_containers_shared_layers_ties_and_attributes_are_kept() -> None:
    net = Holder()
    seen: list[str] = []
    net.named["lif"].register_forward_hook(lambda layer, inputs, output: seen.append(type(layer).__module__))
    converted: Any = from_snntorch(net)
    lif = converted.named["lif"]
    assert [type(module) for module in (lif, converted.shared, converted.plain[1]["other"])] == 3 * [qleaky.Leaky]
    assert converted.layers[1] is converted.shared is converted.plain[0]
    assert converted.decay is lif.beta
    assert (lif.tag, lif.owner, converted.note) == ("output", converted.plain, {"classes": 10})
    assert torch.equal(lif.extra.weight, net.named["lif"].extra.weight)
    lif(currents()[0])
    assert seen == ["qleaky.neuron"]


def test_a_frozen_parameter_stays_frozen_and_a_double_stays_double() -> None:
    net = hidden(learn_threshold=True).double()
    net.body[1].threshold.requires_grad_(False)
    lif = from_snntorch(net).body[1]
    assert isinstance(lif.threshold, nn.Parameter)
    assert not lif.threshold.requires_grad
    assert (lif.threshold.dtype, lif.beta.dtype) == (torch.float64, torch.float64)


def test_whole_numbers_become_floats() -> None:
    lif: Any = from_snntorch(snntorch.Leaky(1, threshold=2))
    assert (lif.beta.dtype, lif.threshold.dtype) == (torch.float32, torch.float32)


def test_a_callable_that_is_a_method_of_the_network_becomes_the_copy_s() -> None:
    net = hidden()
    net.body[1].state_quant = net.float
    converted = from_snntorch(net)
    assert converted.body[1].state_quant.__self__ is converted


def test_a_converted_network_is_pickled() -> None:
    converted = from_snntorch(hidden(state_quant=quant.state_quant(4), spike_grad=theirs.sigmoid()))
    again = pickle.loads(pickle.dumps(converted))
    assert all(torch.equal(*pair) for pair in zip(again(currents()), converted(currents()), strict=True))


def test_a_checkpoint_of_the_original_loads_into_the_converted_network() -> None:
    net = hidden(state_quant=quant.state_quant(4))
    converted = from_snntorch(net)
    net.body[0].weight.data.mul_(2)
    converted.load_state_dict(net.state_dict())
    assert all(torch.equal(*pair) for pair in zip(net(currents()), converted(currents()), strict=True))


# The original


def after_a_training_step() -> Hidden:
    """A network that deepcopy refuses, for its membranes hang on a graph; it also keeps an output."""
    net = hidden(learn_beta=True)
    spikes, mem = net(currents())
    (spikes.sum() + mem.sum()).backward(retain_graph=True)
    net.last = [{"spikes": spikes}]  # type: ignore[assignment]
    return net


def test_a_network_is_converted_after_a_training_step() -> None:
    net = after_a_training_step()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    mem, graph, buffers = net.body[1].mem, net.body[1].mem.grad_fn, [buffer.clone() for buffer in net.buffers()]
    converted: Any = from_snntorch(net)
    assert net.body[1].mem is mem
    assert mem.grad_fn is graph
    assert all(torch.equal(*pair) for pair in zip(buffers, net.buffers(), strict=True))
    assert torch.equal(converted.body[1].mem, mem)
    assert not converted.body[1].mem.requires_grad
    assert torch.equal(converted.last[0]["spikes"], net.last[0]["spikes"])  # type: ignore[index]
    converted.body[0].weight.data.zero_()
    assert net.body[0].weight.any()


def test_a_failed_conversion_changes_nothing() -> None:
    net = after_a_training_step()
    net.body.append(snntorch.Synaptic(0.9, 0.8))
    mem, state = net.body[1].mem, {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError):
        from_snntorch(net)
    assert net.body[1].mem is mem
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_snntorch_s_registry_does_not_grow() -> None:
    net = hidden()
    before = list(snntorch.SpikingNeuron.instances)
    from_snntorch(net)
    assert before == snntorch.SpikingNeuron.instances


def test_snntorch_is_not_imported() -> None:
    code = (
        "import sys, torch; sys.modules['snntorch'] = None\n"
        "from qleaky.snntorch_adapter import from_snntorch\n"
        "try: from_snntorch(torch.nn.Linear(1, 1))\n"
        "except ValueError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "holds no snntorch.Leaky" in shown


# Refusals


class Own(snntorch.Leaky):
    def fire(self, mem: Tensor) -> Tensor:
        return mem


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "Synaptic": lambda: snntorch.Synaptic(0.9, 0.8),
    "Alpha": lambda: snntorch.Alpha(0.9, 0.8),
    "Lapicque": lambda: snntorch.Lapicque(0.9),
    "RLeaky": lambda: snntorch.RLeaky(0.9, all_to_all=False),
    "RSynaptic": lambda: snntorch.RSynaptic(0.9, 0.8, linear_features=3),
    "SLSTM": lambda: snntorch.SLSTM(2, 3),
    "SConv2dLSTM": lambda: snntorch.SConv2dLSTM(1, 2, 3),
    "LeakyParallel": lambda: snntorch.LeakyParallel(2, 3),
    "DeltaLeaky": lambda: snntorch.DeltaLeaky(0.9, 0.8),
    "StateLeaky": lambda: snntorch.StateLeaky(0.9, channels=2),
    "Own": lambda: Own(0.9),
}


def test_all_other_neurons_are_refused_together() -> None:
    net = nn.ModuleDict({"good": snntorch.Leaky(0.9), **{f"a_{name}": build() for name, build in OTHERS.items()}})
    with pytest.raises(InputError) as raised:
        from_snntorch(nn.Sequential(nn.Linear(1, 1), net))
    lines = str(raised.value).splitlines()
    assert lines[0] == f"from_snntorch: {len(OTHERS)} of {len(OTHERS) + 1} neurons cannot be converted:"
    for name, line in zip(OTHERS, lines[1:], strict=True):
        assert f"'1.a_{name}': {name} has no counterpart here; only snntorch.Leaky itself is converted" in line
        assert "Train the network with snntorch.Leaky in its place." in line


def test_a_refused_network_of_one_neuron_says_so() -> None:
    with pytest.raises(InputError, match="the network itself: RLeaky has no counterpart here"):
        from_snntorch(snntorch.RLeaky(0.9, all_to_all=False))


def changed(**attributes: Any) -> snntorch.Leaky:
    layer = snntorch.Leaky(0.9)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def loaded() -> snntorch.Leaky:
    layer = snntorch.Leaky(0.9)
    layer.load_state_dict(snntorch.Leaky(0.9, reset_mechanism="zero").state_dict())
    return layer


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: changed(reset_mechanism="none"), r"its reset_mechanism is 'none', yet it computes 'subtract'.*construct it"),
        (loaded, r"its reset_mechanism is 'zero', yet it computes 'subtract'.*Set reset_mechanism='subtract' to keep"),
        (lambda: changed(reset_mechanism_val=torch.tensor(7)), r"its reset_mechanism is 7, yet it computes 'subtract'"),
        (lambda: changed(forward=print, fire=print), r"its forward, fire was replaced on the instance; convert a layer with"),
        (lambda: changed(state_function=print), "its state_function was replaced; convert a layer with snntorch's own methods"),
        (lambda: changed(state_function=snntorch.Leaky(0.5)._base_sub), "its state_function was replaced"),
        (
            lambda: snntorch.Leaky(0.9, inhibition=True, graded_spikes_factor=2.0),
            r"inhibition=True with graded_spikes_factor=2\.0: snntorch ignores the factor there, qleaky applies it\. Set it",
        ),
        (lambda: snntorch.Leaky(0.9, inhibition=True, learn_graded_spikes_factor=True), r"graded_spikes_factor=1\.0: snntorch"),
        (lambda: snntorch.Leaky(float("nan")), "beta=nan holds NaN; it must be a number"),
        (lambda: snntorch.Leaky(0.9, state_quant=True), "state_quant=True is not callable"),
    ],
)
def test_layers_that_do_not_compute_what_they_say_are_refused(layer: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)1 of 1 neurons cannot be converted:\n  '0': .*{message}"):
        from_snntorch(nn.Sequential(layer()))


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(1, 1)), qleaky.Leaky(0.9)], ids=["no neurons", "ours"])
def test_a_network_without_snntorch_is_refused(net: nn.Module) -> None:
    with pytest.raises(InputError, match=rf"the network {type(net).__name__} holds no snntorch\.Leaky, so there is nothing"):
        from_snntorch(net)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"a list is no network; pass a torch\.nn\.Module"):
        from_snntorch([snntorch.Leaky(0.9)])  # type: ignore[arg-type]


class Box:
    """An object that nobody looks into."""

    def __init__(self, content: Any) -> None:
        self.content = content


def test_what_cannot_be_copied_is_refused() -> None:
    net = after_a_training_step()
    net.box = Box(net.body[1].mem * 2)  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"the network cannot be copied: .*Delete the attribute that holds it, then convert"):
        from_snntorch(net)


def test_a_neuron_that_an_object_hides_is_refused() -> None:
    net = hidden()
    net.box = Box(snntorch.Leaky(0.9))  # type: ignore[assignment]
    with pytest.raises(InputError, match="holds a snntorch neuron; make the neuron an attribute of the network"):
        from_snntorch(net)
