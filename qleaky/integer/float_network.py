"""``FloatNetwork``: what cannot be integers, and why. It takes the same road, and is measured instead of proved."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky._files import write_atomically
from qleaky.dynamics import Compare, Decay, ResetMechanism, ResetTiming, RoundingSite
from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding, as_array
from qleaky.integer import storage
from qleaky.integer.bounds import Proof
from qleaky.integer.float_checks import check_floats, check_golden
from qleaky.integer.graph import Ends, by_name, check_batches, check_structure, moving, whole
from qleaky.integer.layers import Delay, Readout, Shaping, TimeMode
from qleaky.integer.shaping import AveragePool
from qleaky.integer.signals import Signal
from qleaky.integer.windows import Pads, Window, check_rank, window_output

FloatArray = NDArray[Any]


class FloatInput(msgspec.Struct, frozen=True):
    """An input: per-sample shape, the format of its codes if one was declared, time mode, and name."""

    shape: tuple[int, ...]
    format: QFormat | None = None
    time: TimeMode = "sequence"
    name: str = "input"


class _OneInput(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)


class FloatLinear(_OneInput, frozen=True, kw_only=True, tag="float_linear", eq=False):
    """I = W x + b in float32; ``weight`` (out, in), ``bias`` (out,) or None."""

    weight: FloatArray
    bias: FloatArray | None = None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(..., in) -> (..., out)."""
        if not shape or self.weight.ndim != 2 or shape[-1] != self.weight.shape[1]:
            raise InputError(f"layer {self.name!r}: weight of shape {self.weight.shape} cannot take a sample of shape {shape}.")
        check_floats(self.name, self.weight.shape, weight=self.weight)
        check_floats(self.name, self.weight.shape[:1], bias=self.bias)
        return (*shape[:-1], self.weight.shape[0])


class FloatConv(_OneInput, frozen=True, kw_only=True, tag="float_conv", eq=False):
    """A convolution in float32, with the fields of :class:`~qleaky.integer.Conv`."""

    weight: FloatArray
    bias: FloatArray | None = None
    stride: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation."""
        return Window(self.weight.shape[2:], self.stride, self.pads, self.dilation)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, ...) -> (out, ...)."""
        check_rank(self.name, self.window, shape)
        check_floats(self.name, self.weight.shape, weight=self.weight)
        check_floats(self.name, self.weight.shape[:1], bias=self.bias)
        out, per_group = self.weight.shape[:2]
        if self.groups < 1 or out % self.groups or per_group * self.groups != shape[0]:
            raise InputError(f"layer {self.name!r}: {self.groups} groups of {per_group} channels cannot take {shape[0]}.")
        return (self.weight.shape[0], *window_output(self.name, self.window, shape[1:]))


class FloatAffine(_OneInput, frozen=True, kw_only=True, tag="float_affine", eq=False):
    """y = x * scale + bias in float32, element by element; None is 1, or 0."""

    scale: FloatArray | None = None
    bias: FloatArray | None = None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        check_floats(self.name, shape, scale=self.scale, bias=self.bias)
        return shape


class FloatLIF(_OneInput, frozen=True, kw_only=True, tag="float_lif", eq=False):
    """One LIF layer in float32; its state is free, on a fixed-point grid (``state``), or on ``levels``."""

    beta: FloatArray
    theta: FloatArray
    graded: FloatArray
    state: QFormat | None = None
    levels: FloatArray | None = None
    decay: Decay | None = None
    reset_mechanism: ResetMechanism = ResetMechanism.SUBTRACT
    reset_timing: ResetTiming = ResetTiming.DELAYED
    compare: Compare = Compare.STRICT
    rounding: Rounding = Rounding.HALF_UP
    rounding_site: RoundingSite = RoundingSite.SUM
    overflow: Overflow = Overflow.SATURATE

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        check_floats(self.name, shape, beta=self.beta, theta=self.theta, graded=self.graded)
        if self.levels is not None:
            check_floats(self.name, (self.levels.size,), levels=self.levels)
        return shape


class Golden(msgspec.Struct, frozen=True, eq=False):
    """What the torch network computed when it was lowered: inputs by name, spikes and membranes (T, B, ...) of every layer."""

    inputs: dict[str, FloatArray]
    spikes: dict[str, FloatArray]
    membranes: dict[str, FloatArray]


FloatLayer = FloatLinear | FloatConv | FloatAffine | FloatLIF


class FloatNetwork(msgspec.Struct, Ends[FloatInput], frozen=True, kw_only=True, tag="float", dict=True, eq=False):
    """A spiking network in float32; ``reasons`` say why. Its reference is what torch computed, recorded in ``golden``."""

    inputs: tuple[FloatInput, ...]
    num_steps: int
    layers: tuple[FloatLayer | Shaping, ...]
    readouts: tuple[Readout, ...]
    reasons: tuple[str, ...]
    golden: Golden

    def __post_init__(self) -> None:
        check_structure(self.num_steps, self.inputs, self.layers, self.readouts, (lif.name for lif in self.lif_layers))
        shapes = {lif.name: self.shapes[lif.name] for lif in self.lif_layers}  # computing them checks every layer
        check_golden(self.inputs, self.num_steps, shapes, self.golden)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Per-sample shape of what every layer emits, and every input."""
        shapes = {source.name: source.shape for source in self.inputs}
        for layer in self.layers:
            shapes[layer.name] = _output_shape(layer, [shapes[n] for n in layer.inputs if n in shapes])
        return shapes

    @property
    def lif_layers(self) -> tuple[FloatLIF, ...]:
        """The layers with a membrane, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, FloatLIF))

    @cached_property
    def moving(self) -> frozenset[str]:
        """Names of the signals that have a value for each time step; the others are the same in all of them."""
        return moving(self.inputs, self.layers, (la.name for la in self.layers if isinstance(la, (FloatLIF, Delay))))

    @property
    def proof(self) -> Proof:
        """No theorem: the reasons."""
        return Proof((), self.reasons, ())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole network, lowercase hex."""
        return storage.digest(self)

    def encode(self, values: Any) -> Any:
        """Inputs as float32 (T, B, ...) or (B, ...); integer arrays are codes of the input's format, if it has one.

        A network with several inputs takes a dict by name, or a tuple in their order, and gives a dict.

        Raises:
            InputError: a wrong shape, an empty batch, NaN or infinity, or codes without a format.
        """
        return whole(self.encode_all(values))

    def encode_all(self, values: Any) -> dict[str, NDArray[np.float32]]:
        """As :meth:`encode`, always a dict."""
        arrays = {name: _floats(i, v) for (name, v), i in zip(by_name(self.inputs, values).items(), self.inputs, strict=True)}
        check_batches(self.inputs, arrays, self.num_steps)
        return arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file; see :meth:`IntegerNetwork.save`."""
        write_atomically(path, storage.to_bytes(self, self.digest))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FloatNetwork:
        """Read a network that :meth:`save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, of another version, or not a FloatNetwork.
        """
        return storage.load(cls, path)


def _output_shape(layer: FloatLayer | Shaping, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    if isinstance(layer, FloatLayer):
        return layer.output_shape(shapes[0])
    if isinstance(layer, Delay):
        return layer.shape
    if isinstance(layer, AveragePool):
        check_rank(layer.name, layer.window, shapes[0])
        return (shapes[0][0], *window_output(layer.name, layer.window, shapes[0][1:]))
    return layer.output(*(Signal(shape, 0, np.array(0), np.array(1)) for shape in shapes)).shape


def _floats(source: FloatInput, values: Any) -> NDArray[np.float32]:
    array = as_array(values, "inputs")
    if array.dtype.kind in "biu":
        if source.format is None:
            raise InputError("inputs are integers, but the network declares no input format; pass floats.")
        array = source.format.decode(source.format.encode(array, where="inputs"))
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InputError(f"inputs of dtype {array.dtype} must be finite numbers; these hold NaN, infinity or no numbers.")
    return array.astype(np.float32)
