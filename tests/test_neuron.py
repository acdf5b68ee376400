"""``Leaky``: snntorch's interface, and where the layer deliberately differs from it."""

import copy
import gc
import inspect
import itertools
import math
import pickle
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, MulShift, ShiftDecay, state_quant
from qleaky.dynamics import Decay, ResetTiming
from qleaky.errors import FormatError, InputError, UsageError

BY_PICKLE: Callable[[Any], Any] = lambda module: pickle.loads(pickle.dumps(module))  # noqa: E731
ones = torch.ones


def after_a_training_step(**options: Any) -> Leaky:
    """A layer whose membrane hangs on the graph of a step, with its gradients computed."""
    layer = Leaky(0.5, learn_beta=True, **options)
    out = layer(ones(2, 3, requires_grad=True))
    (out if isinstance(out, Tensor) else out[1]).sum().backward(retain_graph=True)
    return layer


# The interface is snntorch's


def test_positional_arguments_are_snntorch_s() -> None:
    ours, theirs = (list(inspect.signature(layer).parameters.values()) for layer in (Leaky, snntorch.Leaky))
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY and p.name for p in ours[len(theirs) :])


@pytest.mark.parametrize("learn", [False, True])
def test_checkpoints_are_snntorch_s(learn: bool) -> None:
    options = {"learn_beta": learn, "learn_threshold": learn, "learn_graded_spikes_factor": learn}
    ours, theirs = Leaky(0.5, 2.0, **options), snntorch.Leaky(0.9, reset_mechanism="zero", **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    assert (ours.beta, ours.threshold, ours.reset_mechanism) == (theirs.beta, 1, "zero")


@pytest.mark.parametrize(
    ("options", "returned"), [({}, tuple), ({"init_hidden": True}, Tensor), ({"init_hidden": True, "output": True}, tuple)]
)
def test_the_membrane_is_returned_unless_it_is_hidden(options: dict[str, bool], returned: type) -> None:
    assert isinstance(Leaky(0.5, **options)(ones(2, 3)), returned)


# Membranes


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 3), (2, 3, 1), ()])
def test_a_membrane_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"mem has shape .*, input_ \(2, 3\); both must be equal"):
        Leaky(0.5)(ones(2, 3), torch.zeros(shape))


def test_a_membrane_of_another_dtype_is_an_error() -> None:
    with pytest.raises(InputError, match=r"mem has dtype torch\.float64, input_ torch\.float32; both must be the same"):
        Leaky(0.5)(ones(2, 3), torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("call", [Leaky.forward, lambda layer, x: layer.sequence(x[None])])
def test_currents_are_floating_point(call: Callable[[Leaky, Tensor], Any]) -> None:
    with pytest.raises(InputError, match=r"input_ has dtype torch\.int64; currents are floating point"):
        call(Leaky(0.5), torch.ones(2, 3, dtype=torch.int64))


def test_a_threaded_membrane_of_the_previous_batch_restarts_with_a_warning() -> None:
    layer = Leaky(0.5, 9.0)
    _, mem = layer(ones(4, 3))
    with pytest.warns(UserWarning, match="the batch changed from 4 to 2 samples; its membrane starts at zero"):
        _, mem = layer(ones(2, 3), mem)
    assert torch.equal(mem, ones(2, 3))


@pytest.mark.parametrize("call", [Leaky.forward, lambda layer, x, mem: layer.sequence(x[None], mem)])
def test_a_reset_before_a_batch_of_another_size_says_so(call: Callable[[Leaky, Tensor, Tensor], Any]) -> None:
    layer = Leaky(0.5, 9.0)
    layer(ones(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, mem = call(layer, ones(2, 3), layer.reset_mem())
    assert torch.equal(mem.reshape(2, 3), ones(2, 3))


def test_without_a_membrane_a_step_goes_on_from_the_layer_s_own_as_snntorch_does() -> None:
    layer, theirs = Leaky(0.5, 9.0), snntorch.Leaky(0.5, threshold=9.0)
    for _ in range(2):
        mem, expected = layer(ones(2, 3))[1], theirs(ones(2, 3))[1]
        assert torch.equal(mem, expected)
    layer.reset_mem()
    assert torch.equal(layer(ones(2, 3))[1], ones(2, 3))


def test_the_membrane_of_an_unused_layer_starts_at_zero() -> None:
    layer = Leaky(0.5, 9.0)
    assert torch.equal(layer(ones(2, 3), layer.reset_mem())[1], ones(2, 3))


@pytest.mark.parametrize("call", [lambda layer, x: layer(x, x), lambda layer, x: layer.sequence(x[None], x)])
def test_a_membrane_with_init_hidden_is_a_type_error(call: Callable[[Leaky, Tensor], Any]) -> None:
    with pytest.raises(UsageError, match="`mem` was passed although init_hidden=True") as raised:
        call(Leaky(0.5, init_hidden=True), ones(2, 3))
    assert isinstance(raised.value, TypeError)


def test_init_leaky_warns_and_is_reset_mem() -> None:
    layer = after_a_training_step()
    with pytest.warns(DeprecationWarning, match=r"use Leaky\.reset_mem"):
        mem = layer.init_leaky()
    assert torch.equal(mem, torch.zeros(2, 3))
    assert mem is layer.mem


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"surrogate_disable": True}, {"inhibition": True}, {"reset_delay": False}])
def test_spikes_and_membranes_have_the_dtype_of_the_input(dtype: torch.dtype, options: dict[str, bool]) -> None:
    layer = Leaky(0.5, **options)
    spk, mem = layer(torch.full((2, 3), 2, dtype=dtype))
    spk, mem = layer(torch.full((2, 3), 2, dtype=dtype), mem)
    assert (spk.dtype, mem.dtype) == (dtype, dtype)


# Live layers


@pytest.mark.parametrize("options", [{}, {"state_quant": state_quant(8)}, {"state_quant": FixedPoint(8, 5)}])
def test_detach_hidden_cuts_one_instance_or_all(options: dict[str, Any]) -> None:
    first, second, third = (after_a_training_step(init_hidden=True, **options) for _ in range(3))
    first.detach_hidden()
    assert [layer.mem.requires_grad for layer in (first, second, third)] == [False, True, True]
    Leaky.detach_hidden()
    assert not second.mem.requires_grad
    assert not third.mem.requires_grad


def test_reset_hidden_clears_one_instance_or_all() -> None:
    first, second, third = (after_a_training_step(init_hidden=True) for _ in range(3))
    first.reset_hidden()
    assert [bool(layer.mem.any()) for layer in (first, second, third)] == [False, True, True]
    Leaky.reset_hidden()
    assert not second.mem.any()
    assert not third.mem.any()


class Special(Leaky):
    pass


def test_a_subclass_reaches_only_its_own_instances() -> None:
    plain, special = Leaky(0.5, init_hidden=True), Special(0.5, init_hidden=True)
    plain(ones(1, 3)), special(ones(1, 3))
    Special.reset_hidden()
    assert plain.mem.any()
    assert not special.mem.any()


@pytest.mark.parametrize("clone", [copy.deepcopy, BY_PICKLE])
def test_copies_are_live_too(clone: Callable[[Any], Any]) -> None:
    copied = clone(after_a_training_step(init_hidden=True))
    Leaky.reset_hidden()
    assert not copied.mem.any()


def test_layers_vanish_when_nothing_else_holds_them() -> None:
    layer = after_a_training_step(init_hidden=True)
    alive = weakref.ref(layer)
    del layer
    gc.collect()
    assert alive() is None


# Copies and checkpoints


@pytest.mark.parametrize("clone", [copy.deepcopy, BY_PICKLE])
@pytest.mark.parametrize(
    "options", [{}, {"init_hidden": True}, {"state_quant": FixedPoint(8, 5)}, {"state_quant": state_quant(4)}]
)
def test_a_layer_is_copied_after_a_training_step(options: dict[str, Any], clone: Callable[[Any], Any]) -> None:
    layer = after_a_training_step(**options)
    copied = clone(layer)
    assert torch.equal(copied.mem, layer.mem)
    assert not copied.mem.requires_grad
    assert copied.rule.reset_mechanism is layer.rule.reset_mechanism
    assert torch.equal(copied.sequence(ones(5, 2, 3))[1], layer.sequence(ones(5, 2, 3))[1])


def test_a_network_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), after_a_training_step(init_hidden=True, decay=MulShift(n=8)))
    torch.save(net, tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert torch.equal(loaded(ones(2, 3)), net(ones(2, 3)))


def second_membrane(layer: Leaky) -> float:
    """With beta = 1/2, theta = 1 and a current of 3: 3, then 4.5 less the reset."""
    return float(layer.sequence(torch.full((2, 1, 1), 3.0))[1][1].item())


RESETS = {"subtract": 3.5, "zero": 3.0, "none": 4.5}


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(RESETS, 2)))
def test_setting_the_reset_mechanism_or_loading_one_changes_the_layer(before: str, after: str) -> None:
    layer, loading = Leaky(0.5, reset_mechanism=before), Leaky(0.5, reset_mechanism=before)
    assert second_membrane(layer) == RESETS[before]
    layer.reset_mechanism = after  # type: ignore[assignment]
    loading.load_state_dict(layer.state_dict())
    assert second_membrane(layer) == second_membrane(loading) == RESETS[after]


def test_setting_the_reset_timing_changes_the_layer() -> None:
    layer = Leaky(0.5)
    assert layer.reset_delay
    layer.reset_delay = False
    assert (layer.reset_timing, second_membrane(layer)) == (ResetTiming.UNDELAYED, 3.0 + 1.0 - 1.0)
    layer.reset_timing = "same_step"  # type: ignore[assignment]
    assert (layer.reset_delay, second_membrane(layer)) == (False, 3.0)


# Inhibition, decay


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 2), (1, 4, 2, 3)])
@pytest.mark.parametrize("graded", [1.0, 0.25])
def test_with_inhibition_only_the_winner_over_dim_1_fires(shape: tuple[int, ...], graded: float) -> None:
    currents = torch.tensor([2.0, 5.0, 5.0, 3.0]).reshape(1, 4, *[1] * (len(shape) - 2)).expand(shape)
    spk, _ = Leaky(0.5, inhibition=True, graded_spikes_factor=graded)(currents)
    expected = torch.tensor([0.0, graded, 0.0, 0.0]).reshape(currents.shape[:2] + (1,) * (len(shape) - 2)).expand(shape)
    assert torch.equal(spk, expected)


def test_nobody_fires_when_the_winner_is_below_the_threshold() -> None:
    assert not Leaky(0.5, inhibition=True)(ones(2, 3))[0].any()


@pytest.mark.parametrize(("beta", "clipped"), [(-0.5, 0.0), (1.5, 1.0), (0.25, 0.25)])
def test_beta_is_clipped_to_its_range(beta: float, clipped: float) -> None:
    layer = Leaky(beta, 9.0)
    assert layer.effective_beta() == clipped
    assert layer(ones(1, 1), ones(1, 1))[1] == 1 + clipped


@pytest.mark.parametrize(
    ("decay", "effective"), [(MulShift(n=8), 230 / 256), (MulShift(m=200, n=8), 200 / 256), (ShiftDecay(3), 7 / 8)]
)
def test_a_decay_operator_snaps_beta(decay: Decay, effective: float) -> None:
    assert Leaky(0.9, decay=decay, state_quant=FixedPoint(8, 5)).effective_beta() == pytest.approx(effective, abs=0)


def test_a_quantized_membrane_that_is_nan_is_an_error() -> None:
    with pytest.raises(FormatError, match="A quantized membrane is NaN"):
        Leaky(0.5, state_quant=FixedPoint(8, 5))(torch.tensor([[math.nan]]))


@pytest.mark.parametrize("setting", ["beta", "threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("call", [Leaky.forward, lambda layer, x: layer.sequence(x[None])])
def test_a_setting_per_neuron_fits_the_input(setting: str, call: Callable[[Leaky, Tensor], Any]) -> None:
    with pytest.raises(
        InputError, match=rf"{setting} has shape \(4,\), which does not broadcast to an input of shape \(2, 3\)"
    ):
        call(Leaky(**{"beta": 0.5, setting: ones(4)}), ones(2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"reset_mechanism": "add"}, InputError, "reset_mechanism='add' is unknown. Choose one of 'subtract', 'zero', 'none'"),
        ({"reset_timing": "late"}, InputError, "reset_timing='late' is unknown. Choose one of 'delayed', 'same_step'"),
        ({"compare": ">"}, InputError, "compare='>' is unknown. Choose one of 'strict', 'inclusive'"),
        ({"rounding_site": "all"}, InputError, "rounding_site='all' is unknown. Choose one of 'sum', 'decay'"),
        ({"state_quant": 8}, InputError, "state_quant=8 is not callable; pass a function"),
        ({"spike_grad": "atan"}, InputError, "spike_grad='atan' is not callable; pass a function"),
        ({"beta": math.nan}, InputError, "beta=nan holds NaN"),
        ({"threshold": torch.tensor([1.0, math.nan])}, InputError, "threshold=.* holds NaN"),
        ({"graded_spikes_factor": math.nan}, InputError, "graded_spikes_factor=nan holds NaN"),
        ({"decay": 0.9}, InputError, r"decay=0\.9; pass qleaky\.MulShift\(n=8\), qleaky\.ShiftDecay\(k\) or None"),
        ({"decay": ShiftDecay(3)}, UsageError, "decay=ShiftDecay works on the grid of the state"),
        ({"rounding_site": "decay"}, UsageError, "rounding_site='decay' works on the grid of the state"),
        ({"reset_timing": "delayed", "reset_delay": False}, UsageError, "contradicts reset_delay=False"),
    ],
)
def test_impossible_layers_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Leaky(**{"beta": 0.5, **arguments})
    with pytest.raises(InputError, match="is unknown"):
        Leaky(0.5).reset_mechanism = "add"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MulShift(n=16), "n=16; the fraction has 0 to 15 bits"),
        (lambda: MulShift(m=257, n=8), "m=257; beta = .* for m = 0 to 256"),
        (lambda: MulShift(m=-1, n=8), "m=-1; beta"),
        (lambda: MulShift(rounding="up"), "rounding='up' is unknown"),
        (lambda: ShiftDecay(0), "k=0; the shift is an integer from 1 to 15"),
        (lambda: ShiftDecay(16), "k=16; the shift is an integer from 1 to 15"),
    ],
)
def test_impossible_decays_are_refused(make: Callable[[], Decay], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_decay_takes_whole_numbers() -> None:
    with pytest.raises(InputError, match=r"MulShift: m=200\.5, n=8; both are integers"):
        MulShift(m=200.5, n=8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"ShiftDecay: k=2\.5; the shift is an integer"):
        ShiftDecay(2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [lambda layer, x: layer(x), lambda layer, x: layer.sequence(x.unsqueeze(0))])
def test_inhibition_needs_neurons_to_inhibit(call: Callable[[Leaky, Tensor], Any]) -> None:
    with pytest.raises(InputError, match=r"inhibition picks a winner over dim 1, but the input has shape \(3,\)"):
        call(Leaky(0.5, inhibition=True), ones(3))


@pytest.mark.parametrize("value", [-1, 3])
def test_a_checkpoint_with_an_unknown_reset_mechanism_is_refused(value: int) -> None:
    state = Leaky(0.5).state_dict() | {"reset_mechanism_val": torch.tensor(value)}
    with pytest.raises(InputError, match=f"reset_mechanism_val is {value}; it is 0"):
        Leaky(0.5).load_state_dict(state)


def test_nothing_here_warns_without_a_reason() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = Leaky(0.5, inhibition=True, init_hidden=True)
        layer.sequence(ones(3, 2, 4)), layer(ones(5, 4)), layer.reset_hidden()
