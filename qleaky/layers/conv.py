"""Convolutions whose sums are exact integers."""

from __future__ import annotations

from typing import Any, Self

import brevitas.nn as qnn
from torch import Tensor, nn

from qleaky.errors import InputError
from qleaky.layers.accumulator import InputFormat
from qleaky.layers.brevitas_core import injector
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.layers.float_layers import check_float_layer, check_options, taken_over
from qleaky.layers.quantized_layer import QuantizedLayer

Size = int | tuple[int, ...]


class _QuantConv(QuantizedLayer):
    """What the convolutions share."""

    _float: type[nn.Conv1d] | type[nn.Conv2d]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        *,
        weight_bits: WeightBits = 8,
        bias: bool = True,
        per_channel: bool = False,
        accumulator_bits: int | None = None,
        input_format: InputFormat = "spikes",
    ) -> None:
        name = type(self).__name__
        check_options(name, weight_bits, input_format)
        if padding == "same" and any(step != 1 for step in (stride if isinstance(stride, tuple) else (stride,))):
            raise InputError(f"{name}: padding='same' with stride={stride}; it asks for a stride of 1, as torch's does.")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias=bias,
            weight_quant=injector(codes_of(weight_bits, name)),
        )
        self._set_up(weight_bits, per_channel, accumulator_bits, input_format)

    @classmethod
    def from_float(cls, layer: nn.Conv1d | nn.Conv2d, **settings: Any) -> Self:
        """The quantized layer with a float layer's weights and bias.

        Args:
            layer: torch's convolution of the same dimensions; it is not changed.
            settings: weight_bits, per_channel, accumulator_bits and input_format, as for the constructor.

        Raises:
            InputError: another kind of layer, one that pads with other numbers than zeros, computes its weights or has a
                forward of its own.
        """
        check_float_layer(cls.__name__, layer, cls._float)
        if layer.padding_mode != "zeros":
            raise InputError(
                f"{cls.__name__}.from_float: padding_mode={layer.padding_mode!r} has no integer form; pad with zeros."
            )
        shape = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        return taken_over(cls(*shape, layer.groups, bias=layer.bias is not None, **settings), layer)

    def forward(self, input_: Tensor) -> Tensor:
        """The layer's output."""
        result: Tensor = self._conv_forward(input_, *self.quantized())
        return result


class QuantConv1d(_QuantConv, qnn.QuantConv1d):  # type: ignore[misc]
    """``torch.nn.Conv1d`` with weights and biases on power-of-two grids, padded with zeros.

    Args: those of torch's layer, and weight_bits, per_channel, accumulator_bits and input_format of
    :class:`~qleaky.QuantLinear`.

    Raises:
        InputError, FormatError: as QuantLinear; padding="same" with a stride.

    Shapes: x (B, in_channels, L) -> (B, out_channels, L').
    """

    _float = nn.Conv1d


class QuantConv2d(_QuantConv, qnn.QuantConv2d):  # type: ignore[misc]
    """``torch.nn.Conv2d`` with weights and biases on power-of-two grids, padded with zeros.

    Args: those of torch's layer, and weight_bits, per_channel, accumulator_bits and input_format of
    :class:`~qleaky.QuantLinear`.

    Raises:
        InputError, FormatError: as QuantLinear; padding="same" with a stride.

    Shapes: x (B, in_channels, H, W) -> (B, out_channels, H', W').
    """

    _float = nn.Conv2d
