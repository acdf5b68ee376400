"""Feed-forward spiking networks, dense and convolutional, on whole sequences or on one static input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.layers import QuantLinear
from qleaky.models._layers import Conv, Dense, Pool, plan
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import Surrogate

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
POOLS = {("A", 1): nn.AvgPool1d, ("A", 2): nn.AvgPool2d, ("M", 1): nn.MaxPool1d, ("M", 2): nn.MaxPool2d}


@dataclass(frozen=True)
class LIFSettings:
    """Neuron settings of a network; the membrane's format is that of a quantized one.

    ``output_reset_mechanism`` is the last layer's where it differs: one whose membranes are the readout need not reset.
    """

    beta: float = 230 / 256
    threshold: float = 1.0
    state_bits: int = 8
    state_frac_bits: int = 5
    reset_mechanism: str = "subtract"
    spike_grad: Surrogate | None = None
    output_reset_mechanism: str | None = None


class FeedForward(nn.Module):
    """Layers with weights and a Leaky behind each, behind its pool if it has one -> spikes and membranes (T, B, classes).

    Layers: 128 is a dense one of 128 neurons; "16C5" a convolution of 16 channels, kernel 5, stride 1, without padding; "AP2"
    and "MP2" average and max pools of windows of 2 that do not overlap. In two dimensions kernels and windows are squares.
    A pool takes the currents of the convolution before it, so that only spikes, 0 or 1, reach the next layer; one whose window
    holds 2, 4, 8, ... numbers is exact. Modules are called conv1, pool1, lif1, fc2, lif2, and so on.

    A static input goes through everything before the first Leaky once; its current is then the same at each step.

    Args:
        layers: without ``input_shape`` dense sizes, the input's first; with it the layers alone.
        weight_bits: bits of the weights of dense layers; None for a float network, without state quantizers. Convolutions are
            float: :func:`qleaky.quantize` brings them to bits.
        lif: neuron settings.
        input_shape: of one sample at one time step: (N,), (C, L) or (C, H, W).
        num_steps: T of a network that takes a static input; None for one that takes sequences.

    Raises:
        InputError: layers that do not follow each other, in the constructor; in forward an input of another shape.

    Shapes: x (T, B, *input_shape), or (B, *input_shape) with ``num_steps`` -> both (T, B, layers[-1]).

    >>> net = FeedForward(["4C3", "AP2", 10], None, input_shape=(1, 8, 8), num_steps=5)
    >>> [name for name, _ in net.named_children()]
    ['conv1', 'pool1', 'lif1', 'flatten', 'fc2', 'lif2']
    """

    def __init__(
        self,
        layers: Sequence[int | str],
        weight_bits: int | None = 8,
        lif: LIFSettings | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        num_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.input_shape, planned = plan(layers, input_shape)
        if num_steps is not None and num_steps < 1:
            raise InputError(f"FeedForward: num_steps={num_steps}; a static input is shown for at least one step.")
        self.num_steps = num_steps
        if weight_bits is not None and any(isinstance(layer, Conv) for layer in planned):
            raise InputError(
                f"FeedForward: weight_bits={weight_bits} with a convolution; pass weight_bits=None, train, and quantize the "
                f"network with qleaky.quantize."
            )
        settings, last = lif or LIFSettings(), sum(not isinstance(layer, Pool) for layer in planned)
        pools, weighted = 0, 0
        for layer, behind in zip(planned, [*planned[1:], None], strict=True):
            if isinstance(layer, Pool):
                pools += 1
                self.add_module(f"pool{pools}", POOLS[layer.kind, layer.dimensions](layer.window))
            else:
                weighted += 1
                self._add_weighted(layer, weighted, weight_bits)
            if weighted and not isinstance(behind, Pool):
                self.add_module(f"lif{weighted}", _leaky(settings, weight_bits is not None, last=weighted == last))

    def _add_weighted(self, layer: Conv | Dense, index: int, weight_bits: int | None) -> None:
        if isinstance(layer, Conv):
            self.add_module(f"conv{index}", CONVOLUTIONS[layer.dimensions](layer.inputs, layer.outputs, layer.kernel))
            return
        if layer.flatten:
            self.add_module("flatten", nn.Flatten())
        sizes = layer.inputs, layer.outputs
        self.add_module(f"fc{index}", nn.Linear(*sizes) if weight_bits is None else QuantLinear(*sizes, weight_bits))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membranes of the last layer."""
        self._check(x)
        static, membranes = self.num_steps is not None, x
        for module in self.children():
            if isinstance(module, Leaky):
                x = x.expand(self.num_steps or 1, *x.shape) if static else x
                x, membranes = module.sequence(x)
                static = False
            else:
                x = module(x) if static else module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x, membranes

    def _check(self, x: Tensor) -> None:
        lead = "(B, ...)" if self.num_steps is not None else "(T, B, ...)"
        dimensions = lead.count(",") + len(self.input_shape)
        if x.dim() != dimensions or tuple(x.shape[-len(self.input_shape) :]) != self.input_shape:
            raise InputError(f"FeedForward takes {lead} with '...' = {self.input_shape}; the input has shape {tuple(x.shape)}.")


def _leaky(settings: LIFSettings, quantized: bool, *, last: bool) -> Leaky:
    own = settings.output_reset_mechanism if last else None
    dynamics: dict[str, Any] = {
        "reset_mechanism": own or settings.reset_mechanism,
        "spike_grad": settings.spike_grad,
    }
    if not quantized:
        return Leaky(settings.beta, settings.threshold, **dynamics)
    state = FixedPoint(settings.state_bits, settings.state_frac_bits)
    return Leaky(settings.beta, settings.threshold, state_quant=state, decay=MulShift(n=8), **dynamics)
