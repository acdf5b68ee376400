"""The C kernel gives what torch operations give: spikes, membranes and every gradient, bit for bit."""

import threading
from typing import Any

import pytest
import torch
from cases import Case, difference, draw_case, run
from torch import Tensor

from qleaky import FixedPoint, Leaky
from qleaky._lif import LIFRule, lif_step
from qleaky.errors import FormatError
from qleaky.kernels import compiled, library, torch_ops
from qleaky.kernels.plan import plan_of

KERNEL = library.kernel()
needs_compiler = pytest.mark.skipif(KERNEL is None, reason=str(library.backend()))
pytestmark = needs_compiler


def in_c(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    plan = plan_of(rule)
    assert plan is not None
    return compiled.sequence(KERNEL, plan, rule, *tensors)


def in_torch(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    spks, mems = torch_ops.TorchSequence.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    return spks, mems


def step_by_step(rule: LIFRule, currents: Tensor, mem: Tensor, *settings: Tensor) -> tuple[Tensor, Tensor]:
    spks, mems = [], []
    for x in currents.unbind(0):
        spk, mem, _ = lif_step(rule, x, mem, *settings)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


def assert_c_is_torch(seed: int) -> None:
    case = draw_case(seed)
    computed, expected = run(in_c, case), run(in_torch, case)
    if case.rule.spec is not None and expected[1] is not None and expected[1].isnan().any():
        computed, expected = computed[:2], expected[:2]  # an error follows
    assert not (found := difference(computed, expected)), (seed, found, case.rule)


def assert_torch_is_the_loop(seed: int) -> None:
    """Where no infinity is, which the loop multiplies by zeros that the sequence leaves out, and in the order of memory, which
    is the order of autograd's sums."""
    case = draw_case(seed)
    expected = run(step_by_step, case)
    tensors = [tensor for tensor in (*case.tensors, *case.gradients, *expected) if tensor is not None]
    if all(tensor.isfinite().all() and tensor.is_contiguous() for tensor in tensors):
        zeros = [None if t is None else torch.zeros_like(t) for t in (*expected[:2], *case.tensors)]
        filled = [
            [zero if tensor is None else tensor for tensor, zero in zip(side, zeros, strict=True)]
            for side in (run(in_torch, case), expected)
        ]
        assert not (found := difference(*filled)), (seed, found, case.rule)


@pytest.mark.parametrize("start", range(0, 2000, 100))
def test_c_is_torch(start: int) -> None:
    for seed in range(start, start + 100):
        assert_c_is_torch(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(2000, 40000, 1000))
def test_c_is_torch_at_length(start: int) -> None:
    for seed in range(start, start + 1000):
        assert_c_is_torch(seed)


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_torch_is_the_loop(start: int) -> None:
    for seed in range(start, start + 100):
        assert_torch_is_the_loop(seed)


def large_case(options: dict[str, Any], shape: tuple[int, ...]) -> Case:
    layer = Leaky(torch.rand(shape[-1]), **options)
    currents, mem, g, h = torch.randn(shape), torch.randn(shape[1:]), torch.randn(shape), torch.randn(shape)
    numbers = (layer.effective_beta(), layer.threshold, layer.graded_spikes_factor)
    return Case(layer.rule, (currents, mem, *(n.detach() for n in numbers)), (True,) * 5, (g, h))


@pytest.mark.parametrize("options", [{}, {"state_quant": FixedPoint(8, 5)}, {"reset_timing": "same_step"}])
@pytest.mark.parametrize("neurons", [255, 256, 257, 65536, 65801])
def test_more_neurons_than_a_tile_or_a_block(neurons: int, options: dict[str, Any]) -> None:
    case = large_case(options, (3, 1, neurons))
    assert not difference(run(in_c, case), run(in_torch, case))


@pytest.mark.parametrize("shape", [(3, 0, 5), (2, 4, 0), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"state_quant": FixedPoint(8, 5)}])
def test_few_or_no_neurons(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    layer = Leaky(0.9, learn_beta=True, **options)
    currents = torch.randn(shape, requires_grad=True)
    spks, mems = layer.sequence(currents)
    assert spks.shape == mems.shape == shape
    (spks.sum() + mems.sum()).backward()  # type: ignore[no-untyped-call]
    assert currents.grad is not None
    assert layer.beta.grad is not None
    assert currents.grad.shape == shape


def test_ties_saturation_and_the_threshold_itself() -> None:
    """Every half step of an 8-bit format and beyond both ends, at T = 1, with the threshold on one of its codes."""
    currents = (torch.arange(-600, 600) / 128).reshape(1, 1, -1)
    for rounding in ("floor", "half_up", "half_even", "toward_zero"):
        for compare in ("strict", "inclusive"):
            rule = Leaky(0.5, 0.5, state_quant=FixedPoint(8, 5, rounding=rounding), compare=compare).rule
            tensors = (currents, torch.zeros_like(currents[0]), torch.tensor(0.5), torch.tensor(0.5), torch.tensor(1.0))
            case = Case(rule, tensors, (True,) * 5, (torch.ones_like(currents), torch.ones_like(currents)))
            assert not difference(run(in_c, case), run(in_torch, case))
            assert not difference(run(in_c, case)[:2], run(step_by_step, case)[:2])


@pytest.mark.parametrize("surrogate", ["heaviside", "LSO"])
def test_at_the_threshold_an_inclusive_compare_fires_but_its_surrogate_is_strict(surrogate: str) -> None:
    from qleaky import surrogate as surrogates

    rule = Leaky(0.5, 1.0, getattr(surrogates, surrogate)(), compare="inclusive").rule
    one = torch.ones(2, 1, 3)
    case = Case(rule, (one, one[0] * 0, torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1.0)), (True,) * 5, (one, one))
    expected = run(step_by_step, case)
    assert expected[0] is not None
    assert expected[0][0].all()
    assert not difference(run(in_c, case), expected)
    assert not difference(run(in_torch, case), expected)


def test_a_quantized_state_is_kept_in_a_byte_and_a_bit() -> None:
    layer, saved = Leaky(0.9, state_quant=FixedPoint(8, 5)), []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer.sequence(torch.randn(100, 2, 32, requires_grad=True))
    settings = {id(t) for t in saved if t.numel() <= 64}
    assert sum(t.nbytes for t in saved if id(t) not in settings) == 100 * 64 + 100 * 64 // 8


def test_without_a_gradient_nothing_is_kept() -> None:
    currents = torch.randn(4, 2, 3, requires_grad=True)
    layer = Leaky(0.9)
    with torch.no_grad():
        spks, mems = layer.sequence(currents)
    assert not spks.requires_grad
    assert not mems.requires_grad
    assert not layer.sequence(currents.detach())[1].requires_grad


def test_nan_in_a_quantized_state_raises() -> None:
    with pytest.raises(FormatError, match="A quantized membrane is NaN"):
        Leaky(0.9, state_quant=FixedPoint(8, 5)).sequence(torch.tensor([[[0.0]], [[float("nan")]], [[0.0]]]))


def test_threads_do_not_disturb_each_other() -> None:
    cases = [draw_case(seed) for seed in range(40)]
    expected = [run(in_torch, case)[:2] for case in cases]
    wrong: list[str] = []

    def work() -> None:
        for case, wanted in zip(cases, expected, strict=True):
            for _ in range(5):
                wrong.extend(filter(None, [difference(run(in_c, case)[:2], wanted)]))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_batched_gradients_go_to_torch() -> None:
    """functorch's wrapped tensors have no memory that a pointer reaches; they are refused as torch operations refuse them."""
    currents = torch.randn(3, 1, 2, requires_grad=True)
    _, mems = Leaky(0.5).sequence(currents)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(mems, currents, torch.ones(4, *mems.shape), is_grads_batched=True)
