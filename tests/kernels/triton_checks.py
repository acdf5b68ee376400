"""What the Triton kernels have to do, on the GPU or, with TRITON_INTERPRET=1, on the CPU; ``test_triton_kernel`` runs it."""

import itertools
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from lif_cases import Case, difference, draw_case, run
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, Leaky, surrogate
from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming, RoundingSite
from qleaky.kernels import library, operator, torch_ops, triton_kernel
from qleaky.kernels.plan import plan_of
from qleaky.kernels.self_test import first_difference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
BLOCK = triton_kernel.BLOCK


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLEAKY_TRITON", "1")
    library._triton.cache_clear()


def in_triton(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    plan, kernel = plan_of(rule), triton_kernel.TritonKernel()
    assert plan is not None
    outputs = kernel.sequence(plan, rule, *tensors)
    assert not kernel.failure
    return outputs


def in_torch(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    spks, mems = torch_ops.TorchSequence.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    return spks, mems


def on_device(case: Case) -> Case:
    spikes, membranes = (None if gradient is None else gradient.to(DEVICE) for gradient in case.gradients)
    return replace(case, tensors=tuple(tensor.to(DEVICE) for tensor in case.tensors), gradients=(spikes, membranes))


def case_of(layer: Leaky, currents: Tensor, gradients: tuple[Tensor, Tensor] | None = None) -> Case:
    """All gradients of a layer whose first membrane is random."""
    numbers = (layer.effective_beta(), layer.threshold, layer.graded_spikes_factor)
    tensors = (currents, torch.randn(currents.shape[1:]), *(number.detach() for number in numbers))
    return Case(layer.rule, tensors, (True,) * 5, gradients or (torch.randn(currents.shape), torch.randn(currents.shape)))


def assert_triton_is_torch(case: Case) -> None:
    moved = on_device(case)
    assert not (found := difference(run(in_triton, moved), run(in_torch, moved))), (found, case.rule)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The kernels launched, in order."""
    launched: list[Any] = []
    launch = triton_kernel._launch

    def counted(kernel: Any, *arguments: Any, **settings: Any) -> None:
        launched.append(kernel)
        launch(kernel, *arguments, **settings)

    monkeypatch.setattr(triton_kernel, "_launch", counted)
    return launched


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_triton_is_torch(start: int) -> None:
    for seed in range(start, start + 100):
        assert_triton_is_torch(draw_case(seed))


@pytest.mark.parametrize("mechanism", list(ResetMechanism))
@pytest.mark.parametrize("timing", list(ResetTiming))
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
def test_each_reset_with_all_gradients(mechanism: ResetMechanism, timing: ResetTiming, given: tuple[bool, bool]) -> None:
    """Parameters of one number and of one a neuron, more neurons than a block, and every gradient that there is.

    Infinite membranes and thresholds and a factor of 0 tell a gradient that is absent from one that is zero.
    """
    for steps, per_neuron, quantizer in itertools.product((1, 3), (False, True), (None, FixedPoint(8, 5))):
        rule = LIFRule(mechanism, timing, Compare.STRICT, None, RoundingSite.SUM, quantizer, surrogate.atan())
        shape = (steps, 1, BLOCK + 1)
        currents, parameters = torch.randn(shape), [torch.rand(shape[-1] if per_neuron else ()) + 0.2 for _ in range(3)]
        if per_neuron:
            parameters[1][3], parameters[2][5], currents[-1, 0, 7] = float("inf"), 0.0, float("inf")
        gradients = [torch.randn(shape) if wanted else None for wanted in given]
        tensors = (currents, torch.randn(shape[1:]), *parameters)
        assert_triton_is_torch(Case(rule, tensors, (True,) * 5, (gradients[0], gradients[1])))


@pytest.mark.parametrize("neurons", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_any_number_of_neurons(neurons: int) -> None:
    assert_triton_is_torch(case_of(Leaky(0.9, state_quant=FixedPoint(8, 5)), torch.randn(2, 1, neurons)))


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even", "toward_zero"])
def test_ties_saturation_and_numbers_that_are_hardly_numbers(rounding: str) -> None:
    """Every half step of an 8-bit format and beyond both ends, their neighbours, subnormal numbers and 2**22 to 2**24."""
    halves = torch.arange(-300, 300) / 64
    tiny = torch.tensor([1e-45, 1e-40, 1.17e-38, 2.0**-25, 0.49999997 / 32])
    large = torch.tensor([2.0**17 - 0.5, 2.0**17 + 0.5, 2.0**18 - 1, 2.0**18, 2.0**19 + 1, 3e38, float("inf")])
    below, above = (torch.nextafter(halves, torch.tensor(end)) for end in (-9.0, 9.0))
    numbers = torch.cat([halves, below, above, tiny, -tiny, large, -large]).reshape(1, 1, -1)
    layer = Leaky(0.5, 0.5, state_quant=FixedPoint(8, 5, rounding=rounding), rounding_site="decay")
    case = case_of(layer, numbers)
    for currents, mem in [(numbers, numbers[0] * 0), (numbers * 0, numbers[0])]:
        assert_triton_is_torch(replace(case, tensors=(currents, mem, *case.tensors[2:])))


def test_a_nan_goes_on_as_in_torch() -> None:
    for quantizer in (None, FixedPoint(8, 5)):
        currents = torch.randn(4, 1, 3)
        currents[1, 0, 1] = float("nan")
        assert_triton_is_torch(case_of(Leaky(0.9, state_quant=quantizer or False), currents))


def results(layer: Leaky, sequence: Any, x: Tensor) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    spks, mems = sequence(leaf)
    return [spks, mems, *torch.autograd.grad((spks * x + mems * x).sum(), [leaf, *layer.parameters()])]


@pytest.mark.parametrize("options", [{}, {"state_quant": FixedPoint(8, 5)}, {"reset_timing": "same_step"}])
def test_a_layer_is_computed_by_the_kernel(options: dict[str, Any], calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Leaky(0.9, learn_beta=True, learn_threshold=True, **options).to(DEVICE), torch.randn(5, 2, 7, device=DEVICE)
    layer.sequence(x.detach())  # the self-test runs
    calls.clear()
    computed = results(layer, layer.sequence, x)
    assert calls == [triton_kernel.lif_forward, triton_kernel.lif_backward]
    monkeypatch.setenv("QLEAKY_TRITON", "0")
    expected = results(layer, layer.sequence, x)
    assert len(calls) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(computed, expected, strict=True))


class Net(nn.Module):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.lif = Leaky(0.9, learn_beta=True, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.lif.sequence(x)


@pytest.mark.parametrize("options", [{}, {"state_quant": FixedPoint(8, 5)}, {"reset_timing": "undelayed"}])
def test_a_compiled_network_is_computed_by_the_kernel(options: dict[str, Any], calls: list[Any]) -> None:
    torch._dynamo.reset()
    net, x = Net(options).to(DEVICE), torch.randn(5, 2, 7, device=DEVICE)
    expected = results(net.lif, net, x)
    calls.clear()
    computed = results(net.lif, torch.compile(net, fullgraph=True, backend="aot_eager"), x)
    assert calls == [triton_kernel.lif_forward, triton_kernel.lif_backward]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(computed, expected, strict=True))


def test_the_operator_passes_torch_s_checks() -> None:
    layer, shape = Leaky(0.9, state_quant=FixedPoint(8, 5)), (5, 2, 11)
    numbers = (layer.effective_beta(), layer.threshold, layer.graded_spikes_factor)
    tensors = [t.detach().to(DEVICE).requires_grad_() for t in (torch.randn(shape), torch.zeros(shape[1:]), *numbers)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.qleaky.lif_sequence.default, (*tensors, *operator.encode(layer.rule)), test_utils=checks)


def test_in_inference_mode_too(calls: list[Any]) -> None:
    with torch.inference_mode():
        spks, _ = Leaky(0.9).to(DEVICE).sequence(torch.ones(4, 2, 3, device=DEVICE))
    assert spks.any()
    assert calls[-1] is triton_kernel.lif_forward


@pytest.mark.parametrize("fails_at", [1, 2])
def test_what_fails_later_is_left_to_torch(fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the forward pass, or in the backward pass of what the kernel computed forward."""
    case = on_device(case_of(Leaky(0.9, state_quant=FixedPoint(8, 5)), torch.randn(4, 2, 3)))
    kernel, launch, count = triton_kernel.TritonKernel(), triton_kernel._launch, [0]
    plan = plan_of(case.rule)
    assert plan is not None

    def broken(*arguments: Any, **settings: Any) -> None:
        count[0] += 1
        if count[0] == fails_at:
            raise RuntimeError("PTX of another world\nand its stack")
        launch(*arguments, **settings)

    monkeypatch.setattr(triton_kernel, "_launch", broken)
    assert not difference(run(lambda rule, *tensors: kernel.sequence(plan, rule, *tensors), case), run(in_torch, case))
    assert kernel.failure == "the Triton kernel failed with RuntimeError: PTX of another world"
    assert not difference(run(lambda rule, *tensors: kernel.sequence(plan, rule, *tensors), case), run(in_torch, case))
    assert count[0] == fails_at


def test_what_fails_at_first_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such architecture")

    monkeypatch.setattr(triton_kernel, "_launch", broken)
    spks, _ = Leaky(0.9).to(DEVICE).sequence(torch.ones(4, 2, 3, device=DEVICE))
    assert spks.any()
    assert qleaky.backend().cuda == "torch operations: the Triton kernel failed with RuntimeError: no such architecture"


def test_a_kernel_that_differs_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that rounds less often than torch, as fused products and sums do, or flushes subnormal numbers to zero."""
    assert first_difference(triton_kernel.TritonKernel().compute, DEVICE) == ""

    def rounds_less(plan: Any, rule: LIFRule, tensors: list[Tensor], weights: Tensor) -> list[Tensor | None]:
        spks, kept = torch_ops.forward(rule, *(tensor.double() for tensor in tensors))
        found = torch_ops.Backward(rule, kept, (True,) * 5).run(*weights.double())
        return [None if output is None else output.float() for output in (spks, kept.mems, *found)]

    def flushes(plan: Any, rule: LIFRule, tensors: list[Tensor], weights: Tensor) -> list[Tensor | None]:
        spks, kept = torch_ops.forward(rule, *tensors)
        found = torch_ops.Backward(rule, kept, (True,) * 5).run(*weights)
        smallest = torch.finfo(torch.float32).tiny
        return [spks, kept.mems, *(None if o is None else torch.where(o.abs() < smallest, 0.0, o) for o in found)]

    assert first_difference(rounds_less, DEVICE) == "float, subtract"
    assert first_difference(flushes, DEVICE) == "float, subtract"
    real = triton_kernel.forward
    monkeypatch.setattr(triton_kernel, "forward", lambda plan, x, *others, saving: real(plan, x + 1, *others, saving=saving))
    assert library.cuda_kernel(torch.ones(3, device=DEVICE)) is None
    assert qleaky.backend().cuda == "torch operations: the Triton kernel differs from torch in its self-test (float, subtract)"


def test_the_backend_says_that_it_has_not_run_on_a_gpu() -> None:
    assert qleaky.backend().cuda == "a Triton kernel, checked in Triton's interpreter; not yet run on a GPU"
    assert str(qleaky.backend()).endswith(f"On CUDA they are computed by {qleaky.backend().cuda}.")


def test_other_tensors_go_on_as_before(calls: list[Any]) -> None:
    layer = Leaky(0.9).to(DEVICE)
    layer.sequence(torch.ones(2, 1, 3, device=DEVICE))
    calls.clear()
    layer.double().sequence(torch.ones(2, 1, 3, device=DEVICE, dtype=torch.float64))
    Leaky(0.9, spike_grad=surrogate.sigmoid()).to(DEVICE).sequence(torch.ones(2, 1, 3, device=DEVICE))
    assert calls == []


def test_gradients_in_another_order_of_memory_go_to_torch(calls: list[Any]) -> None:
    turned = torch.randn(5, 3, 4).permute(2, 1, 0)
    assert_triton_is_torch(case_of(Leaky(0.9), torch.randn(4, 3, 5), (turned, turned)))
    assert calls == [triton_kernel.lif_forward]
