"""Gradients of learned parameters from a kernel that writes their terms step by step: summed here, in the order of the loop."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from qleaky.kernels import torch_ops
from qleaky.kernels.plan import Plan


class ParameterTerms:
    """Buffers (T, B, ...) for the terms that a rule has, by name, and their sums.

    ``given`` says whether gradients of spikes and of membranes come in; ``fresh`` makes a buffer.
    """

    def __init__(
        self, plan: Plan, needs: tuple[bool, ...], steps: int, *, given: tuple[bool, bool], fresh: Callable[[], Tensor]
    ) -> None:
        _, _, beta, theta, graded = needs
        spikes, membranes = given
        undelayed = plan.late and not plan.same_step
        late = steps - (not membranes)  # without a gradient of its own the last membrane has none
        wanted = {
            "theta_due": late * (theta and plan.subtracts_late),
            "theta_fired": steps * (theta and plan.has_gradient and (spikes or plan.late)),
            "theta_reset": steps * (theta and plan.subtracts_early),
            "beta": steps * beta,
            "graded_due": late * (graded and undelayed),
            "graded_fired": steps * (graded and (spikes or undelayed)),
        }
        self.steps = {name: count for name, count in wanted.items() if count}
        self.buffers = {name: fresh() for name in self.steps}

    def reduced(self, beta: Tensor, threshold: Tensor, graded: Tensor) -> list[Tensor | None]:
        """The gradients of the three; None for those that get none."""
        return [
            self._sum(("beta",), beta),
            self._sum(("theta_due", "theta_fired", "theta_reset"), threshold),
            self._sum(("graded_due", "graded_fired"), graded),
        ]

    def _sum(self, names: tuple[str, ...], like: Tensor) -> Tensor | None:
        total: Tensor | None = None
        buffers = [(self.steps[name], self.buffers[name]) for name in names if name in self.buffers]
        for t in reversed(range(max((count for count, _ in buffers), default=0))):
            for count, buffer in buffers:
                if t < count:
                    total = torch_ops.accumulate(total, buffer[t], like)
        return total
