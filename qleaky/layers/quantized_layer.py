"""What the quantized layers share: the grid of their weights and biases, and how it follows the weights."""

from __future__ import annotations

from typing import Any

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qleaky._lif import StraightThrough
from qleaky.errors import FormatError, InputError
from qleaky.layers.accumulator import InputFormat, accumulator_of, input_frac_bits
from qleaky.layers.brevitas_core import injector
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.layers.exponents import UNSET, best_exponent, followed, power_of_two
from qleaky.layers.grid import Grid

_PROXIES = ("input_quant", "output_quant", "weight_quant", "bias_quant")


class QuantizedLayer(QuantWeightBiasInputOutputLayer):  # type: ignore[misc]
    """Weights and biases on power-of-two grids, mixed into a layer of ``brevitas.nn``.

    ::

        W = clip(round(w / 2**e), lowest, highest) * 2**e        b = round(b / 2**g) * 2**g

    e is ``weight_exponent``, one or per output channel (int32). While it holds the lowest int32, the layer is new: e is what
    fits the weights best at each call, and the first call in training mode keeps it. From then on e follows the weights in
    training, with hysteresis (see :func:`~qleaky.layers.exponents.followed`), a function of weights and buffers alone, however
    often the layer is called; in evaluation, and where ``scales_frozen`` is set, it stays. Gradients pass straight through.
    Per channel, the grid takes the exponents within :attr:`~qleaky.layers.grid.Grid.spread` of the largest.
    """

    weight_exponent: Tensor
    scales_frozen: Tensor
    weight: nn.Parameter
    bias: nn.Parameter | None

    def _set_up(
        self, weight_bits: WeightBits, per_channel: bool, accumulator_bits: int | None, input_format: InputFormat
    ) -> None:
        """Attributes and buffers, once Brevitas' own are there."""
        name = type(self).__name__
        self.weight_bits, self.per_channel, self.input_format = weight_bits, per_channel, input_format
        self.accumulator_bits = accumulator_bits
        self.codes, fan_in = codes_of(weight_bits, name), self.weight[0].numel()
        accumulator = accumulator_of(accumulator_bits, input_format, self.codes, fan_in, name)
        self.grid = Grid(self.codes, fan_in, input_frac_bits(input_format), accumulator)
        shape = (self.weight.shape[0],) if per_channel else ()
        self._last_look = _LastLook()
        self.register_buffer("weight_exponent", torch.full(shape, UNSET, dtype=torch.int32, device=self.weight.device))
        self.register_buffer("scales_frozen", torch.zeros((), dtype=torch.bool, device=self.weight.device))

    def quantized(self) -> tuple[Tensor, Tensor | None]:
        """W and b as the forward pass uses them."""
        weight, bias = self._on_grid(self.weight, self._exponents())
        straight: Any = StraightThrough.apply
        return straight(self.weight, weight), None if self.bias is None else straight(self.bias, bias)

    def quantized_weight(self, weight: Tensor) -> Tensor:
        """``weight`` on the layer's grid, for Brevitas."""
        straight: Any = StraightThrough.apply
        quantized: Tensor = straight(weight, self._on_grid(weight, self._exponents())[0])
        return quantized

    @torch.no_grad()
    def weight_step(self) -> Tensor:
        """The step of W's grid: one number, or one per output channel in the shape of the weights."""
        step = power_of_two(self._exponents())
        return step.view(-1, *[1] * (self.weight.ndim - 1)) if self.per_channel else step

    @torch.no_grad()
    def rescale(self) -> None:
        """Choose the exponents anew, as those that fit the weights best: for weights that were set by hand after training."""
        self.weight_exponent.copy_(best_exponent(self._rows(), self.codes).view_as(self.weight_exponent))

    @torch.no_grad()
    def freeze_scales(self) -> None:
        """Keep the exponents as they are now in training too."""
        self.weight_exponent.copy_(self._followed())
        self.scales_frozen.fill_(True)

    def _rows(self) -> Tensor:
        """The weights, one row for each exponent."""
        return _wide(self.weight).reshape(self.weight.shape[0] if self.per_channel else 1, -1)

    def _followed(self) -> Tensor:
        """The exponents, after this look at the weights."""
        rows = self._rows()
        if not torch.compiler.is_compiling() and not bool(rows.abs().amax().isfinite()):
            raise FormatError(_not_finite(self))
        new = followed(self.weight_exponent.reshape(-1), rows, self.codes).view_as(self.weight_exponent)
        return torch.where(self.scales_frozen & (self.weight_exponent != UNSET), self.weight_exponent, new)

    @torch.no_grad()
    def _exponents(self) -> Tensor:
        """The exponents of the grid; in training they are brought up to date first."""
        exponent = self.weight_exponent
        if self.training:
            if not self._have_followed():
                exponent.copy_(self._followed())
                self._have_followed()
        elif torch.compiler.is_compiling() or bool((exponent == UNSET).any()):
            exponent = torch.where(exponent == UNSET, self._followed(), exponent)
        return self.grid.limited(exponent)

    def _have_followed(self) -> bool:
        """Whether the exponents have seen these weights: a loop over time calls the layer many times between two updates.

        The sum notices weights that were changed behind torch's count of writes, through ``.data``.
        """
        if torch.compiler.is_compiling() or self.weight.is_inference() or self.weight_exponent.is_inference():
            return False
        seen = float(self.weight.detach().sum()), self.weight._version, self.weight_exponent._version
        before, self._last_look.at = self._last_look.at, seen
        return seen == before

    @torch.no_grad()
    def _on_grid(self, weight: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor | None]:
        """The numbers on the grid, each in the type of what it stands for."""
        rows = _wide(weight).reshape(weight.shape[0], -1)
        bias = None if self.bias is None else self.grid.bias(_wide(self.bias), exponent)
        values = self.grid.weight(rows, exponent, bias).reshape(weight.shape).to(weight.dtype)
        return values, None if self.bias is None or bias is None else bias.to(self.bias.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but Brevitas' proxies, whose injectors are classes made on the fly, which neither pickle nor copy."""
        state = dict(vars(self))
        state["_modules"] = {name: module for name, module in self._modules.items() if name not in _PROXIES}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        QuantWeightBiasInputOutputLayer.__init__(self, injector(self.codes), None, None, None, False)
        self.train(self.training)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Checkpoints without exponents, as of other layers, leave them to the weights."""
        own = {f"{prefix}weight_exponent": torch.full_like(self.weight_exponent, UNSET)}
        own[f"{prefix}scales_frozen"] = torch.zeros_like(self.scales_frozen)
        super()._load_from_state_dict(own | dict(state_dict), prefix, *arguments)

    def extra_repr(self) -> str:
        """As torch's, with what quantizes."""
        base: Any = super().extra_repr()
        shown = f"{base}, weight_bits={self.weight_bits!r}" + (", per_channel=True" if self.per_channel else "")
        if self.accumulator_bits is not None:
            shown += f", accumulator_bits={self.accumulator_bits}, input_format={self.input_format!r}"
        return shown

    def __repr__(self) -> str:
        """On one line: Brevitas' proxies have nothing to set."""
        return f"{type(self).__name__}({self.extra_repr()})"


class _LastLook:
    """At which weights the exponents looked last: their sum, and how often they and the exponents were written."""

    at: tuple[float, int, int] | None = None


def _wide(numbers: Tensor) -> Tensor:
    """Numbers in at least float32, without a gradient."""
    return numbers.detach() if numbers.dtype is torch.float64 else numbers.detach().float()


def freeze_scales(net: nn.Module) -> None:
    """Keep the scales of all quantized layers of a network as they are now, in training too.

    The buffer ``scales_frozen`` is part of the state dict, so a run that is resumed keeps them too.

    Raises:
        InputError: there is no such layer.
    """
    layers = [module for module in net.modules() if isinstance(module, QuantizedLayer)]
    if not layers:
        raise InputError(
            f"freeze_scales: {type(net).__name__} holds no quantized layer; use qleaky.QuantLinear or QuantConv layers."
        )
    for layer in layers:
        layer.freeze_scales()


def _not_finite(layer: QuantizedLayer) -> str:
    place = [int(i) for i in torch.argwhere(~layer.weight.detach().isfinite())[0]]
    value = float(layer.weight.detach()[tuple(place)])
    return (
        f"{type(layer).__name__} of shape {tuple(layer.weight.shape)}: its weight holds {value} at {place}; look for a "
        f"diverged training (a smaller learning rate, gradient clipping)."
    )
