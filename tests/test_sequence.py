"""``Leaky.sequence`` is the loop over ``forward``: the same bits of every spike, membrane and gradient, in less time."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from qleaky import FixedPoint, Leaky, MulShift, ShiftDecay, state_quant, surrogate
from qleaky.errors import InputError
from qleaky.quantizers import StateQuantizer

SURROGATES = [
    surrogate.atan(),
    surrogate.fast_sigmoid(),
    surrogate.sigmoid(5),
    surrogate.straight_through_estimator(),
    surrogate.triangular(),
    surrogate.spike_rate_escape(),
    surrogate.SFS(5, 0.1),
    surrogate.LSO(),
    surrogate.heaviside(),
]
Runner = Callable[[Leaky, Tensor, Tensor], tuple[Tensor, Tensor]]


def loop(layer: Leaky, currents: Tensor, mem: Tensor | None) -> tuple[Tensor, Tensor]:
    spks, mems = [], []
    for input_ in currents:
        spk, mem = layer(input_, mem)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


# Random configurations


def draw_quantizer(r: random.Random) -> StateQuantizer | None:
    rounding, gradient = r.choice(["floor", "half_even", "toward_zero"]), r.choice(["identity", "clipped"])
    return r.choice(
        [
            None,
            None,
            FixedPoint(8, 5),
            FixedPoint(6, 3, rounding=rounding, gradient=gradient),  # type: ignore[arg-type]
            FixedPoint(6, 4, overflow="wrap"),
            FixedPoint(12, 8),
            state_quant(4),
        ]
    )


def draw_layer(r: random.Random, per_sample: tuple[int, ...]) -> Leaky:
    """Every option, with settings that are numbers or differ by neuron."""

    def setting(low: float, high: float) -> Tensor:
        return torch.rand(() if r.random() < 0.5 else per_sample) * (high - low) + low

    quantizer = draw_quantizer(r)
    on_grid = isinstance(quantizer, FixedPoint)
    shifts = [ShiftDecay(3), ShiftDecay(2, at_least_one=True)] if on_grid else []
    return Leaky(
        setting(-0.1, 1.1),
        setting(-0.1, 1.2),
        r.choice(SURROGATES),
        surrogate_disable=r.random() < 0.1,
        inhibition=len(per_sample) > 0 and r.random() < 0.1,
        learn_beta=r.random() < 0.6,
        learn_threshold=r.random() < 0.6,
        reset_mechanism=r.choice(["subtract", "zero", "none"]),
        state_quant=quantizer,
        graded_spikes_factor=1.0 if r.random() < 0.4 else setting(0.2, 2),
        learn_graded_spikes_factor=r.random() < 0.5,
        decay=r.choice([None, MulShift(n=3), MulShift(n=8), *shifts]),
        reset_timing=r.choice(["delayed", "same_step", "undelayed"]),
        compare=r.choice(["strict", "inclusive"]),
        rounding_site=r.choice(["sum", "decay"]) if on_grid else "sum",
    )


def draw_inputs(r: random.Random, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Currents (T, ...), now and then on a coarse grid, where membranes meet the threshold exactly, and a first membrane."""
    currents = torch.randn(r.randint(1, 8), *shape) * r.choice([0.5, 1, 3])
    return (currents * 8).round() / 8 if r.random() < 0.3 else currents, torch.randn(shape)


def results(runner: Runner, layer: Leaky, currents: Tensor, mem: Tensor, weights: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Spikes, membranes and the gradients of the currents, the first membrane and every parameter; absent ones are zero."""
    currents, mem = currents.clone().requires_grad_(), mem.clone().requires_grad_()
    outputs = runner(layer, currents, mem)
    losses = [(output * weight).sum() for output, weight in zip(outputs, weights, strict=True) if weight is not None]
    wanted = [currents, mem, *layer.parameters()]
    if not any(loss.requires_grad for loss in losses):
        return [*outputs, *(torch.zeros_like(tensor) for tensor in wanted)]
    return [*outputs, *torch.autograd.grad(sum(losses[1:], losses[0]), wanted, materialize_grads=True)]


def assert_sequence_is_the_loop(seed: int) -> None:
    r = random.Random(seed)
    torch.manual_seed(seed)
    shape = (r.choice([1, 3]), *(r.choice([(1,), (5,), (40,)]) if r.random() < 0.8 else (2, 3, 3)))
    layer = draw_layer(r, shape[1:])
    currents, mem = draw_inputs(r, shape)
    weights = r.choice([(1, 1), (1, 0), (0, 1)])
    chosen = tuple(torch.randn_like(currents) if weight else None for weight in weights)
    fused = results(Leaky.sequence, layer, currents, mem, chosen)
    for ours, reference in zip(fused, results(loop, layer, currents, mem, chosen), strict=True):
        assert torch.equal(ours, reference), (seed, layer)


@pytest.mark.parametrize("seed", range(150))
def test_a_sequence_is_the_loop_over_forward(seed: int) -> None:
    assert_sequence_is_the_loop(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(150, 1650, 100))
def test_a_sequence_is_the_loop_over_forward_at_length(start: int) -> None:
    for seed in range(start, start + 100):
        assert_sequence_is_the_loop(seed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"state_quant": FixedPoint(8, 5)}, {"reset_timing": "same_step"}])
def test_a_sequence_is_the_loop_in_other_dtypes(dtype: torch.dtype, options: dict[str, Any]) -> None:
    layer, currents = Leaky(0.75, learn_beta=True, **options), torch.randn(5, 2, 3).to(dtype)
    weights = torch.randn(5, 2, 3).to(dtype)
    fused, reference = (results(run, layer, currents, currents[0], (weights, weights)) for run in (Leaky.sequence, loop))
    for ours, theirs in zip(fused, reference, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_a_strided_sequence_is_the_loop() -> None:
    layer, batch_first = Leaky(0.75), torch.randn(2, 6, 3)
    mem = torch.zeros(2, 3)
    for ours, theirs in zip(
        layer.sequence(batch_first.transpose(0, 1), mem), loop(layer, batch_first.transpose(0, 1), mem), strict=True
    ):
        assert torch.equal(ours, theirs)


# Where it starts and ends


def test_without_a_membrane_it_starts_from_zero() -> None:
    layer, currents = Leaky(0.75), torch.rand(4, 2, 3)
    first = layer.sequence(currents)
    assert layer.mem.any()
    again = layer.sequence(currents)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], loop(layer, currents, torch.zeros(2, 3))[1])


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_membrane_that_is_passed_on_continues(cut: int) -> None:
    layer, currents = Leaky(0.75), torch.rand(6, 2, 3) * 2
    spks, mems = layer.sequence(currents)
    _, head = layer.sequence(currents[:cut])
    tail_spks, tail_mems = layer.sequence(currents[cut:], head[-1])
    assert torch.equal(tail_spks, spks[cut:])
    assert torch.equal(tail_mems, mems[cut:])


@pytest.mark.parametrize("output", [False, True])
def test_a_hidden_membrane_continues_between_sequences_and_steps(output: bool) -> None:
    currents = torch.rand(6, 2, 3) * 2
    _, mems = Leaky(0.75).sequence(currents)
    layer = Leaky(0.75, init_hidden=True, output=output)
    layer.sequence(currents[:2])
    layer(currents[2])
    assert torch.equal(layer.mem, mems[2])
    assert torch.equal(layer.sequence(currents[3:])[1], mems[3:])
    assert torch.equal(layer.mem, mems[-1])


def test_a_hidden_membrane_of_another_batch_size_starts_from_zero() -> None:
    layer = Leaky(0.75, init_hidden=True)
    layer.sequence(torch.rand(3, 4, 3))
    currents = torch.rand(3, 2, 3)
    assert torch.equal(layer.sequence(currents)[1], Leaky(0.75).sequence(currents)[1])


def test_the_gradient_reaches_back_through_hidden_membranes_until_they_are_detached() -> None:
    layer, first = Leaky(0.75, 99.0, init_hidden=True), torch.rand(3, 1, 1, requires_grad=True)
    layer.sequence(first)
    layer.sequence(torch.rand(2, 1, 1))[1][-1].sum().backward()
    assert first.grad is not None
    assert first.grad.flatten().tolist() == [0.75**4, 0.75**3, 0.75**2]
    layer.detach_hidden()
    assert not layer.sequence(torch.rand(2, 1, 1))[1].requires_grad


@pytest.mark.parametrize("shape", [(0, 2, 3), (0,), ()])
def test_a_sequence_has_at_least_one_step(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"currents of shape .*; pass \(T, B, \.\.\.\) with T >= 1"):
        Leaky(0.75).sequence(torch.zeros(shape))


def test_the_first_membrane_has_the_shape_of_a_step() -> None:
    with pytest.raises(InputError, match=r"mem has shape \(5, 2, 3\), input_ \(2, 3\)"):
        Leaky(0.75).sequence(torch.zeros(5, 2, 3), torch.zeros(5, 2, 3))


def test_the_last_reset_is_kept_as_forward_keeps_it() -> None:
    currents = torch.tensor([[[2.0, 0.0]], [[0.0, 0.5]]])
    stepped, whole = Leaky(0.5), Leaky(0.5)
    loop(stepped, currents, None)
    whole.sequence(currents)
    assert torch.equal(whole.reset, stepped.reset)
    assert whole.reset.tolist() == [[1.0, 0.0]]


def test_second_derivatives_are_refused() -> None:
    currents = torch.rand(3, 1, 2, requires_grad=True)
    _, mems = Leaky(0.5).sequence(currents)
    (gradient,) = torch.autograd.grad(mems.sum(), currents, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()
