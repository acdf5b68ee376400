"""What the quantized layers share: the grid of their weights and biases, and how it follows the weights."""

from __future__ import annotations

from typing import Any, Self

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qleaky._lif import StraightThrough
from qleaky.errors import FormatError, InputError
from qleaky.layers.accumulator import InputFormat, accumulator_of, check_input_format, input_frac_bits, within
from qleaky.layers.brevitas_core import injector
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.layers.exponents import UNSET, best_exponent, followed, power_of_two, round_to_codes

_FULL = 8  # by how many bits the channels of 8-bit weights may differ, as a contract has codes of up to 16
_PROXIES = ("input_quant", "output_quant", "weight_quant", "bias_quant")


class QuantizedLayer(QuantWeightBiasInputOutputLayer):  # type: ignore[misc]
    """Weights and biases on power-of-two grids, mixed into a layer of ``brevitas.nn``.

    ::

        W = clip(round(w / 2**e), lowest, highest) * 2**e        b = round(b / 2**g) * 2**g

    e is ``weight_exponent``, one or per output channel (int32). While it holds the lowest int32, the layer is new: e is what
    fits the weights best at each call, and the first call in training mode keeps it. From then on e follows the weights in
    training, with hysteresis (see :func:`~qleaky.layers.exponents.followed`), a function of weights and buffers alone, however
    often the layer is called; in evaluation, and where ``scales_frozen`` is set, it stays. Gradients pass straight through.
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
        self.codes = codes_of(weight_bits, name)
        self.accumulator = accumulator_of(accumulator_bits, input_format, self.codes, self.weight[0].numel(), name)
        shape = (self.weight.shape[0],) if per_channel else ()
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
        self.weight_exponent.copy_(best_exponent(self._rows(self.weight), self.codes)[0].view_as(self.weight_exponent))

    @torch.no_grad()
    def freeze_scales(self) -> None:
        """Keep the exponents as they are now in training too."""
        self.weight_exponent.copy_(self._followed())
        self.scales_frozen.fill_(True)

    def _rows(self, weight: Tensor) -> Tensor:
        """Weights as one row for each exponent, at least in float32."""
        rows = weight.detach().reshape(weight.shape[0] if self.per_channel else 1, -1)
        return rows if rows.dtype == torch.float64 else rows.float()

    def _followed(self) -> Tensor:
        """The exponents, after this look at the weights."""
        rows = self._rows(self.weight)
        if not torch.compiler.is_compiling() and not bool(rows.abs().amax().isfinite()):
            raise FormatError(_not_finite(self))
        new = followed(self.weight_exponent.reshape(-1), rows, self.codes).view_as(self.weight_exponent)
        return torch.where(self.scales_frozen & (self.weight_exponent != UNSET), self.weight_exponent, new)

    @torch.no_grad()
    def _exponents(self) -> Tensor:
        """The exponents of the grid; in training they are brought up to date first.

        The channels' exponents differ by no more than leaves all codes 8 bits on the finest channel's grid (8-bit weights:
        16), and with an accumulator by no more than leaves room for a weight.
        """
        exponent = self.weight_exponent
        if self.training or bool((exponent == UNSET).any()):
            exponent = self._followed()
        if self.training:
            self.weight_exponent.copy_(exponent)
        return torch.maximum(exponent, exponent.amax() - self._spread) if self.per_channel else exponent

    @property
    def _spread(self) -> int:
        widest = self.codes.room or _FULL
        if self.accumulator is None:
            return widest
        fewest = 1 if self.codes.has_zero else self.weight[0].numel()
        needed = self.codes.largest * fewest * self.accumulator.reach
        return min(widest, (self.accumulator.limit // needed).bit_length() - 1)

    @torch.no_grad()
    def _on_grid(self, weight: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor | None]:
        """The numbers on the grid, each in the type of what it stands for."""
        rows = self._rows(weight).reshape(weight.shape[0], -1)
        step = power_of_two(exponent).reshape(-1, 1)
        codes = round_to_codes(rows, step, self.codes)
        bias, taken = self._bias(exponent)
        if self.accumulator is not None:
            codes = self._bounded(rows / step, codes, exponent, taken)
        values = (codes * step).reshape(weight.shape).to(weight.dtype)
        return values, None if self.bias is None or bias is None else bias.to(self.bias.dtype)

    def _bias(self, exponent: Tensor) -> tuple[Tensor | None, Tensor]:
        """b on the grid of the sum, and |b| in units of that grid.

        The grid is as fine as 8-bit weight codes allow; with an accumulator it is that of the finest channel's weights.
        """
        if self.bias is None:
            return None, torch.zeros((), device=self.weight.device)
        finest = exponent.amin() if self.accumulator is not None else exponent.amax() - self.codes.room
        step = power_of_two(finest - input_frac_bits(self.input_format))
        codes = torch.round(self.bias.detach().to(self._rows(self.weight).dtype) / step)
        if self.accumulator is not None:
            most = self.accumulator.limit // 2 if self.codes.has_zero else self._left_by_binary(exponent)
            codes = torch.minimum(torch.maximum(codes, -torch.as_tensor(most)), torch.as_tensor(most))
        return codes * step, codes.abs()

    def _left_by_binary(self, exponent: Tensor) -> Tensor:
        """What weights of -1 and +1 leave of the accumulator for the bias, per channel."""
        assert self.accumulator is not None
        weights = self.weight[0].numel() * self.accumulator.reach
        return self.accumulator.limit - (weights << (exponent - exponent.amin()))

    def _bounded(self, rows: Tensor, codes: Tensor, exponent: Tensor, taken: Tensor) -> Tensor:
        """Codes with sum|w| * max|x| + |b| <= 2**(P-1) - 1 on the finest channel's grid."""
        accumulator = self.accumulator
        assert accumulator is not None
        if not self.codes.has_zero:
            return codes
        room = ((accumulator.limit - taken.to(torch.int64)) // accumulator.reach) >> (exponent - exponent.amin())
        clipped = rows.clamp(self.codes.lowest, self.codes.highest)
        return within(clipped, codes, room.expand(codes.shape[0]))

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

    def _taken_from(self, layer: Any) -> Self:
        """This layer with the parameters of a float one, in its mode and on its device."""
        self.to(layer.weight.device, layer.weight.dtype).train(layer.training)
        with torch.no_grad():
            for name, parameter in layer.named_parameters(recurse=False):
                own = getattr(self, name)
                if own.shape != parameter.shape:
                    raise InputError(
                        f"{type(self).__name__}.from_float: the layer's {name} has shape {tuple(parameter.shape)}, where its "
                        f"own settings ask for {tuple(own.shape)}; build the layer anew."
                    )
                own.copy_(parameter)
                own.requires_grad_(parameter.requires_grad)
        self.rescale()
        return self


def check_options(where: str, weight_bits: WeightBits, input_format: InputFormat) -> None:
    """Refuse wrong settings before anything is built.

    Raises:
        InputError: they are wrong.
    """
    codes_of(weight_bits, where)
    check_input_format(input_format, where)


def check_float_layer(where: str, layer: Any, kind: type[nn.Module]) -> None:
    """Refuse a layer that computes anything but a ``kind`` of torch's.

    Raises:
        InputError: it does.
    """
    if not isinstance(layer, kind):
        raise InputError(f"{where}.from_float: got a {type(layer).__name__}; pass a torch.nn.{kind.__name__}.")
    if type(layer).forward is not kind.forward and not isinstance(layer, QuantizedLayer):
        raise InputError(
            f"{where}.from_float: {type(layer).__name__} has a forward of its own, so it may compute something else than "
            f"torch.nn.{kind.__name__}; pass that."
        )
    if "weight" not in layer._parameters:
        raise InputError(
            f"{where}.from_float: the layer computes its weight (parametrization, weight norm, pruning); make it permanent "
            f"first."
        )


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
