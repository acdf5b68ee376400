"""Where a neuron, its quantizer or its surrogate computes something else than its settings say."""

from __future__ import annotations

import inspect

from torch import nn

from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint, LearnedFixedPoint
from qleaky.surrogate import Surrogate


def overrides(module: nn.Module) -> list[str]:
    """What a subclass, or hooks, change about a layer, in words."""
    found = [*_overridden(module, Leaky), *_quantizer_overrides(module)]
    if not isinstance(module, Leaky):
        return found
    quantizer, surrogate = module.state_quant, module.spike_grad
    if isinstance(quantizer, FixedPoint):
        found += _quantizer_overrides(quantizer)
        if quantizer._forward_hooks or quantizer._forward_pre_hooks or "forward" in vars(quantizer):
            found.append("its state quantizer has hooks or a forward of its own; remove them.")
    if isinstance(surrogate, Surrogate) and type(surrogate).__call__ is not Surrogate.__call__:
        found.append(f"its surrogate {type(surrogate).__name__} replaces the Heaviside step; override gradient only.")
    return found


def _quantizer_overrides(module: nn.Module) -> list[str]:
    return _overridden(module, LearnedFixedPoint if isinstance(module, LearnedFixedPoint) else FixedPoint)


def _overridden(module: nn.Module, base: type[nn.Module]) -> list[str]:
    if not isinstance(module, base):
        return []
    names = [name for name in vars(base) if not name.startswith("__") or name == "__call__"]
    mine = [n for n in names if inspect.getattr_static(type(module), n) is not inspect.getattr_static(base, n)]
    kind = type(module).__name__
    return [f"{kind} overrides {', '.join(mine)} of {base.__name__}; use {base.__name__} itself."] if mine else []
