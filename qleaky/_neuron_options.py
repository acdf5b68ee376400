"""Checks of a neuron's options, and the weak register behind its class-wide methods."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.dynamics import Decay, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, choice
from qleaky.errors import InputError, UsageError
from qleaky.quantizers import FixedPoint

Number = float | Tensor
_live: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def register(layer: nn.Module) -> None:
    """Let class-wide methods reach ``layer`` while it lives."""
    _live.add(layer)


class ForOneOrAll:
    """A method that acts on its instance, or, called on the class, on every live instance of it."""

    def __init__(self, method: Callable[[Any], None]) -> None:
        self.method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, instance: nn.Module | None, owner: type[nn.Module]) -> Callable[[], None]:
        return functools.partial(self._call, instance, owner)

    def _call(self, instance: nn.Module | None, owner: type[nn.Module]) -> None:
        for layer in [instance] if instance is not None else list(_live):
            if isinstance(layer, owner):
                self.method(layer)


def checked_number(name: str, value: Number) -> Tensor:
    """A setting as a float tensor of its own.

    Raises:
        InputError: it holds NaN.
    """
    try:
        tensor = torch.as_tensor(value).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"Leaky: {name}={value!r} is no number and no tensor; give one number, or one per neuron.") from None
    if tensor.numel() == 0:
        raise InputError(f"Leaky: {name} is an empty tensor; give one number, or one per neuron.")
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    if tensor.isnan().any():
        raise InputError(f"Leaky: {name}={value} holds NaN; it must be a number.")
    return tensor


def check_input(input_: Tensor, inhibition: bool) -> None:
    """Refuse currents that are no floats, or have no neurons to inhibit.

    Raises:
        InputError: saying which.
    """
    if not input_.is_floating_point():
        raise InputError(f"Leaky: input_ has dtype {input_.dtype}; currents are floating point. Convert it with .float().")
    if inhibition and input_.ndim < 2:
        raise InputError(
            f"Leaky: inhibition picks a winner over dim 1, but the input has shape {tuple(input_.shape)}; pass (B, N, ...)."
        )


def check_settings_fit(input_: Tensor, **settings: Tensor) -> None:
    """Refuse settings per neuron that do not broadcast to an input.

    Raises:
        InputError: naming the setting, its shape and the input's.
    """
    for name, setting in settings.items():
        if setting.ndim == 0:
            continue
        sizes = zip(reversed(setting.shape), reversed(input_.shape), strict=False)
        wide = setting.ndim > input_.ndim and setting.numel() > 1
        if wide or any(mine not in (1, theirs) for mine, theirs in sizes):
            raise InputError(
                f"Leaky: {name} has shape {tuple(setting.shape)}, which does not broadcast to an input of shape "
                f"{tuple(input_.shape)}; give one number, or one per neuron."
            )


def reset_mechanism_of(index: int) -> ResetMechanism:
    """The mechanism that a checkpoint's ``reset_mechanism_val`` stands for.

    Raises:
        InputError: none.
    """
    if not 0 <= index < len(ResetMechanism):
        raise InputError(f"Leaky: the checkpoint's reset_mechanism_val is {index}; it is 0 (subtract), 1 (zero) or 2 (none).")
    return list(ResetMechanism)[index]


def checked_timing(reset_timing: str | None, reset_delay: bool) -> ResetTiming:
    """The timing that two arguments name, which must not contradict each other."""
    if reset_timing is None:
        return ResetTiming.DELAYED if reset_delay else ResetTiming.UNDELAYED
    timing = choice(ResetTiming, reset_timing, "Leaky", "reset_timing")
    if timing is ResetTiming.DELAYED and not reset_delay:
        raise UsageError("Leaky: reset_timing='delayed' contradicts reset_delay=False; give one of the two.")
    return timing


def checked_decay(decay: Any, site: RoundingSite, state_quant: Any) -> Decay | None:
    """A decay operator, if it is one and has the grid that it works on."""
    if decay is not None and not isinstance(decay, (MulShift, ShiftDecay)):
        raise InputError(f"Leaky: decay={decay!r}; pass qleaky.MulShift(n=8), qleaky.ShiftDecay(k) or None.")
    if (isinstance(decay, ShiftDecay) or site is RoundingSite.DECAY) and not isinstance(state_quant, FixedPoint):
        what = "decay=ShiftDecay" if isinstance(decay, ShiftDecay) else "rounding_site='decay'"
        raise UsageError(f"Leaky: {what} works on the grid of the state; give it one with state_quant=qleaky.FixedPoint(...).")
    return decay


def checked_callable(value: Any, name: str) -> Any:
    """A function, or an error that names the argument."""
    if not callable(value):
        raise InputError(f"Leaky: {name}={value!r} is not callable; pass a function tensor -> tensor, or leave it out.")
    return value
