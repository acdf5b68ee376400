"""``Leaky``: the leaky integrate-and-fire layer, a drop-in for snntorch's with deployable dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qleaky._lif import LIFRule, StraightThrough, fires, lif_step
from qleaky._membrane import Membrane
from qleaky._neuron_options import (
    Number,
    check_input,
    check_settings_fit,
    checked_callable,
    checked_decay,
    checked_number,
    checked_timing,
    reset_mechanism_of,
)
from qleaky._sequence import can_fuse, lif_sequence
from qleaky.dynamics import Compare, Decay, ResetMechanism, ResetTiming, RoundingSite, choice
from qleaky.errors import InputError
from qleaky.surrogate import atan

Quantizer = Callable[[Tensor], Tensor]


class Leaky(Membrane):
    r"""First-order leaky integrate-and-fire layer.

    ::

        R    = H(U[t-1] - theta)
        U[t] = quantize(beta * U[t-1] + I[t] - R * theta)       reset_mechanism="subtract"
        U[t] = quantize(beta * (1 - R) * U[t-1] + I[t])         "zero"; "none" leaves R out
        S[t] = H(U[t] - theta) * graded_spikes_factor

    with H(x) = 1 for x > 0, else 0, and beta clipped to [0, 1]. In float32 it equals snntorch 1.0.0's ``Leaky`` bit for
    bit, gradients included; docs/differences.md lists where it deliberately does not, and why.

    Args:
        beta: decay of the membrane per step, a number or a tensor that broadcasts to one sample.
        threshold: theta.
        spike_grad: surrogate gradient, one of :mod:`qleaky.surrogate` or any callable; None is ``atan()``.
        surrogate_disable: fire without a gradient.
        init_hidden: the layer keeps its membrane itself; ``forward`` then takes no ``mem``.
        inhibition: only the neuron with the largest U - theta over dim 1 may fire.
        learn_beta: make beta a parameter.
        learn_threshold: make the threshold a parameter.
        reset_mechanism: "subtract", "zero" or "none".
        state_quant: state quantizer, a callable mem -> mem such as :class:`qleaky.FixedPoint`; False for none.
        output: return (spk, mem) also with ``init_hidden``.
        graded_spikes_factor: spikes are multiplied by it.
        learn_graded_spikes_factor: make it a parameter.
        reset_delay: the reset acts one step after the spike; False: in the same step, as snntorch does it.
        decay: ``MulShift`` or ``ShiftDecay``: beta snaps to what that operator can do, with a straight-through gradient.
        reset_timing: "delayed", "same_step" (what chips do) or "undelayed"; None follows ``reset_delay``.
        compare: "strict" (U > theta) or "inclusive" (U >= theta).
        rounding_site: "sum", or "decay": the decayed term is rounded on its own first, as most hardware does.

    Raises:
        InputError: a parameter that is NaN, an unknown mode, a quantizer that is not callable.
        UsageError: options that exclude each other.

    Shapes: ``input_`` and ``mem`` (B, ...), equal; ``sequence`` takes (T, B, ...).

    >>> lif = Leaky(beta=0.5, threshold=1.0)
    >>> spk, mem = lif(torch.tensor([[0.5, 1.5]]))
    >>> spk, mem = lif(torch.tensor([[0.5, 0.0]]), mem)
    >>> spk.tolist(), mem.tolist()
    ([[0.0, 0.0]], [[0.75, -0.25]])
    """

    beta: Tensor
    threshold: Tensor
    graded_spikes_factor: Tensor
    reset_mechanism_val: Tensor
    reset: Tensor

    def __init__(
        self,
        beta: Number,
        threshold: Number = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Quantizer | Literal[False] | None = False,
        output: bool = False,
        graded_spikes_factor: Number = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        *,
        decay: Decay | None = None,
        reset_timing: str | None = None,
        compare: str = "strict",
        rounding_site: str = "sum",
    ) -> None:
        super().__init__()
        mechanism = choice(ResetMechanism, reset_mechanism, "Leaky", "reset_mechanism")
        self._reset_timing = checked_timing(reset_timing, reset_delay)
        self.compare = choice(Compare, compare, "Leaky", "compare")
        self.rounding_site = choice(RoundingSite, rounding_site, "Leaky", "rounding_site")
        self.decay = checked_decay(decay, self.rounding_site, state_quant)
        self.spike_grad = checked_callable(atan() if spike_grad is None else spike_grad, "spike_grad")
        self.state_quant: Any = (
            False if state_quant is False or state_quant is None else checked_callable(state_quant, "state_quant")
        )
        self.surrogate_disable, self.init_hidden = surrogate_disable, init_hidden
        self.inhibition, self.output = inhibition, output
        self._hold("threshold", threshold, learn_threshold)
        self._hold("graded_spikes_factor", graded_spikes_factor, learn_graded_spikes_factor)
        self.register_buffer("reset_mechanism_val", torch.tensor(0))
        self.reset_mechanism = mechanism
        self._hold("beta", beta, learn_beta)
        self._no_membrane()

    def _hold(self, name: str, value: Number, learn: bool) -> None:
        """Register a setting under snntorch's name, as parameter or as buffer."""
        tensor = checked_number(name, value)
        if learn:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    @property
    def reset_mechanism(self) -> ResetMechanism:
        """The reset mechanism; setting it, or loading a checkpoint, changes what the layer does."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, value: str) -> None:
        self._reset_mechanism = choice(ResetMechanism, value, "Leaky", "reset_mechanism")
        self.reset_mechanism_val.fill_(list(ResetMechanism).index(self._reset_mechanism))

    @property
    def reset_timing(self) -> ResetTiming:
        """When the reset acts; the one truth behind ``reset_delay``."""
        return self._reset_timing

    @reset_timing.setter
    def reset_timing(self, value: str) -> None:
        self._reset_timing = choice(ResetTiming, value, "Leaky", "reset_timing")

    @property
    def reset_delay(self) -> bool:
        """snntorch's name: True is "delayed", False "undelayed"."""
        return self._reset_timing is ResetTiming.DELAYED

    @reset_delay.setter
    def reset_delay(self, value: bool) -> None:
        self._reset_timing = ResetTiming.DELAYED if value else ResetTiming.UNDELAYED

    @property
    def rule(self) -> LIFRule:
        """The dynamics, as one frozen description."""
        return LIFRule(
            self.reset_mechanism,
            self.reset_timing,
            self.compare,
            self.decay,
            self.rounding_site,
            self.state_quant or None,
            None if self.surrogate_disable else self.spike_grad,
            self.inhibition,
        )

    def effective_beta(self) -> Tensor:
        """The decay factor of the forward pass: beta clipped to [0, 1], then snapped to the decay operator's grid."""
        clipped = self.beta.clamp(0, 1)
        if self.decay is None:
            return clipped
        if self.decay.beta is not None:
            snapped = torch.full_like(clipped, self.decay.beta)
        else:
            scale = float(1 << self.decay.n)
            snapped = torch.round(clipped.detach() * scale) / scale
        value: Tensor = StraightThrough.apply(clipped, snapped.detach())  # type: ignore[no-untyped-call]
        return value

    def forward(self, input_: Tensor, mem: Tensor | None = None) -> Any:
        """One time step: ``(spk, mem)``, or ``spk`` alone with ``init_hidden`` and without ``output``.

        ``mem=None`` goes on from the layer's own membrane, as in snntorch, which is zero before the first step, after
        :meth:`reset_mem` and for an input of another shape: begin a batch with ``mem = lif.reset_mem()``.

        Raises:
            UsageError: ``mem`` together with ``init_hidden=True``.
            InputError: ``mem`` of another shape or dtype than ``input_``.
        """
        self._check_input(input_)
        old = self._membrane_for(input_, mem)
        numbers = self.effective_beta(), self.threshold, self.graded_spikes_factor
        spk, mem, reset = lif_step(self.rule, input_, old, *numbers)
        self._keep(mem, reset)
        return spk if self.init_hidden and not self.output else (spk, mem)

    def sequence(self, currents: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All time steps at once: currents (T, B, ...) -> spikes and membranes, each (T, B, ...).

        Equals the loop over :meth:`forward` bit for bit, gradients included, and is several times faster. ``mem=None``
        starts from zero, or with ``init_hidden`` from the layer's own membrane; the last membrane is kept as ``self.mem``.

        Raises:
            UsageError, InputError: as :meth:`forward`, and for T = 0.
        """
        if currents.ndim < 1 or currents.shape[0] == 0:
            raise InputError(f"Leaky.sequence: currents of shape {tuple(currents.shape)}; pass (T, B, ...) with T >= 1.")
        steps = currents.unbind(0)
        self._check_input(steps[0])
        fresh = mem is None and not self.init_hidden
        old = torch.zeros_like(steps[0], requires_grad=False) if fresh else self._membrane_for(steps[0], mem)
        rule, numbers = self.rule, (self.effective_beta(), self.threshold, self.graded_spikes_factor)
        if can_fuse(rule, currents, old, *numbers):
            spks, mems = lif_sequence(rule, currents, old, *numbers)
        else:
            spks, mems = _loop(rule, steps, old, *numbers)
        self._keep(mems[-1], fires(rule, (mems[-2] if len(mems) > 1 else old).detach(), self.threshold))
        return spks, mems

    def _check_input(self, input_: Tensor) -> None:
        check_input(input_, self.inhibition)
        check_settings_fit(input_, beta=self.beta, threshold=self.threshold, graded_spikes_factor=self.graded_spikes_factor)

    def _promoted(self, input_: Tensor) -> torch.dtype:
        promoted = torch.promote_types(torch.promote_types(input_.dtype, self.beta.dtype), self.threshold.dtype)
        return torch.promote_types(promoted, torch.float32) if self.rule.spec is not None else promoted

    def extra_repr(self) -> str:
        """The settings that matter most."""
        beta = f"{self.beta.item():g}" if self.beta.numel() == 1 else f"shape {tuple(self.beta.shape)}"
        theta = f"{self.threshold.item():g}" if self.threshold.numel() == 1 else f"shape {tuple(self.threshold.shape)}"
        return f"beta={beta}, threshold={theta}, reset={self.reset_mechanism}/{self.reset_timing}, compare={self.compare}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._reset_mechanism = reset_mechanism_of(int(self.reset_mechanism_val))


def _loop(rule: LIFRule, steps: tuple[Tensor, ...], mem: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The sequence step by step: the reference of the fused one, and its stand-in where that does not apply."""
    spks, mems = [], []
    for input_ in steps:
        spk, mem, _ = lif_step(rule, input_, mem, *numbers)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)
