"""Random torch networks on grids: chains, convolutions, residuals, recurrences, in every way that forward may be written."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, MulShift, QFormat, QuantLinear, ShiftDecay

FORMATS = [
    QFormat(1, 0, signed=False),
    QFormat(8, 4),
    QFormat(8, 6, signed=False),
    QFormat(8, 6, signed=False, zero_point=100),
    QFormat(8, 6, signed=False, zero_point=128),
    QFormat(4, 1),
    QFormat(4, 2, signed=False, zero_point=5),
    QFormat(12, 6),
]
READOUTS = ["spikes", "spike_count", "membrane_mean", "last_membrane", "spike_count:argmax", "membrane_mean:argmax"]
ROUNDINGS, TIMINGS = ["floor", "half_up", "half_even", "toward_zero"], ["delayed", "same_step", "undelayed"]
STYLES = ["hidden", "loop", "static loop", "sequence"]


@dataclass
class Drawn:
    """A torch network, how it is lowered, and the seed of its inputs."""

    net: nn.Module
    sample: Any
    arguments: dict[str, Any]
    inputs: int


class Block(nn.Module):
    """Weights, perhaps a pool, perhaps its own spikes of the step before, and a Leaky; perhaps around it a residual."""

    def __init__(self, weights: nn.Module, lif: Leaky, pool: nn.Module | None, feedback: nn.Module | None, join: str) -> None:
        super().__init__()
        self.weights, self.lif, self.pool, self.feedback, self.join = weights, lif, pool, feedback, join

    def current(self, x: Tensor, before: Tensor | None) -> Tensor:
        """What the Leaky integrates."""
        out = self.weights(x)
        out = out if self.pool is None else self.pool(out)
        return out if self.feedback is None or before is None else out + self.feedback(before)

    def joined(self, x: Tensor, spikes: Tensor, axis: int) -> Tensor:
        """Spikes, with the block's input added or behind them."""
        if self.join == "add":
            return spikes + x
        return torch.cat([spikes, x], dim=axis) if self.join == "cat" else spikes


class Network(nn.Module):
    """Blocks in turn, an image flattened where dense blocks begin."""

    def __init__(self, blocks: list[Block], dense_from: int, style: str, steps: int) -> None:
        super().__init__()
        self.blocks, self.dense_from, self.style, self.steps = nn.ModuleList(blocks), dense_from, style, steps

    def forward(self, x: Tensor) -> Any:
        """In the network's style."""
        if self.style == "hidden":
            return self.one_step(x, [None] * len(self.blocks), [None] * len(self.blocks))[0]
        return self.whole(x) if self.style == "sequence" else self.loop(x)

    def one_step(self, x: Tensor, mems: list[Any], before: list[Any]) -> tuple[Tensor, list[Any], list[Any]]:
        """One step of every block."""
        spikes: list[Any] = []
        for index, block in enumerate(self.blocks):
            x = x.flatten(1) if index == self.dense_from else x
            current = block.current(x, before[index])
            out = block.lif(current) if self.style == "hidden" else block.lif(current, mems[index])
            spk, mems[index] = out if isinstance(out, tuple) else (out, None)
            spikes.append(spk)
            x = block.joined(x, spk, 1)
        return spikes[-1], mems, spikes

    def loop(self, x: Tensor) -> Tensor:
        """A Python loop over steps."""
        mems = [block.lif.reset_mem() for block in self.blocks]
        before: list[Any] = [None] * len(self.blocks)
        results = []
        for t in range(self.steps):
            spk, mems, before = self.one_step(x if self.style == "static loop" else x[t], mems, before)
            results.append(spk)
        return torch.stack(results)

    def whole(self, x: Tensor) -> Tensor:
        """Whole sequences, layer by layer."""
        steps = x.shape[0]
        for index, block in enumerate(self.blocks):
            x = x.flatten(2) if index == self.dense_from else x
            current = block.current(x.flatten(0, 1), None).unflatten(0, (steps, -1))
            spikes = block.lif.sequence(current)[0]
            x = block.joined(x, spikes, 2)
        return spikes


def on_grid(tensor: Tensor, bits: int, step: float) -> Tensor:
    """The nearest codes of so many bits, as values."""
    limit = (1 << (bits - 1)) - 1
    return (tensor / step).round().clamp(-limit, limit) * step


@st.composite
def weights(draw: st.DrawFn, module: nn.Module) -> nn.Module:
    """A layer with random weights on a grid, large enough for membranes to move."""
    rng, bits = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(2, 8))
    step = 2.0 ** -draw(st.integers(0, 6))
    with torch.no_grad():
        for tensor in module.parameters():
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
            spread = 0.3 if tensor.ndim == 1 else 1 / np.sqrt(fan_in)
            mean = 0.0 if tensor.ndim == 1 else 0.2 / np.sqrt(fan_in)
            values = torch.from_numpy(rng.normal(mean, spread, tuple(tensor.shape))).float()
            quantized = isinstance(module, QuantLinear)
            tensor.copy_(values if quantized else on_grid(values, bits, step))
    return module


@st.composite
def linears(draw: st.DrawFn, into: int, out: int) -> nn.Module:
    bias = draw(st.booleans())
    bits = draw(st.integers(2, 8))
    quantized = draw(st.booleans())
    return draw(weights(QuantLinear(into, out, weight_bits=bits, bias=bias) if quantized else nn.Linear(into, out, bias=bias)))


@st.composite
def leakies(draw: st.DrawFn, shape: tuple[int, ...], hidden: bool) -> Leaky:
    """A Leaky on a random grid, its thresholds well inside the format, one for all neurons or one per channel."""
    bits = draw(st.integers(4, 16))
    overflow = draw(st.sampled_from(["saturate", "saturate", "wrap"]))
    frac_bits = draw(st.integers(max(bits - 5, 1), bits - 2))
    signed, rounding = draw(st.integers(0, 4)) > 0, draw(st.sampled_from(ROUNDINGS))
    narrow = signed and overflow == "saturate" and draw(st.booleans())
    state = FixedPoint(bits, frac_bits, signed, rounding, overflow, narrow=narrow)
    codes = draw(st.lists(st.integers(1, state.spec.format.highest // 2), min_size=shape[0], max_size=shape[0]))
    theta = (torch.tensor(codes) * state.spec.format.step).reshape(shape[0], *(1 for _ in shape[1:]))
    decay = draw(
        st.none()
        | st.builds(MulShift, n=st.integers(1, 12), rounding=st.none() | st.sampled_from(ROUNDINGS))
        | st.builds(ShiftDecay, k=st.integers(1, 6), at_least_one=st.booleans())
    )
    return Leaky(
        draw(st.sampled_from([1.0, 230 / 256, 0.75, 0.5])),
        theta if draw(st.booleans()) else float(theta.flatten()[0]),
        state_quant=state,
        init_hidden=hidden,
        decay=decay,
        reset_mechanism=draw(st.sampled_from(["subtract", "subtract", "zero", "none"])),
        reset_timing=draw(st.sampled_from(TIMINGS)),
        compare=draw(st.sampled_from(["strict", "inclusive"])),
        rounding_site=draw(st.sampled_from(["sum", "decay"])),
        graded_spikes_factor=draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 3.0])),
    )


@st.composite
def conv_blocks(draw: st.DrawFn, shape: tuple[int, ...], style: str) -> tuple[Block, tuple[int, ...]]:
    """A convolutional block, and the shape of what it emits."""
    channels, spatial = shape[0], len(shape) - 1
    out = draw(st.integers(1, 3)) * (channels if draw(st.booleans()) else 1)
    groups = channels if out % channels == 0 and draw(st.booleans()) else 1
    kernel, padding = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    kind = (nn.Conv1d, nn.Conv2d)[spatial - 1]
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    conv = draw(weights(kind(channels, out, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()))))
    pool = draw(st.sampled_from([None, None, "average", "max"]))
    pools = {"average": (nn.AvgPool1d, nn.AvgPool2d), "max": (nn.MaxPool1d, nn.MaxPool2d)}
    layer = None if pool is None else pools[pool][spatial - 1](2, stride=draw(st.integers(1, 2)))
    try:
        with torch.no_grad():
            result = conv(torch.zeros(1, *shape))
            result = result if layer is None else layer(result)
    except RuntimeError:  # the kernel is larger than the image
        conv, layer = draw(weights(kind(channels, out, 1, groups=groups))), None
        result = torch.zeros(1, out, *shape[1:])
    emitted = tuple(result.shape[1:])
    lif = draw(leakies(emitted, style == "hidden"))
    join = draw(st.sampled_from(["none", "add", "cat"])) if emitted[1:] == shape[1:] else "none"
    join = "none" if join == "add" and emitted != shape else join
    return Block(conv, lif, layer, None, join), (emitted[0] + channels, *emitted[1:]) if join == "cat" else emitted


@st.composite
def dense_blocks(draw: st.DrawFn, into: int, style: str) -> tuple[Block, tuple[int, ...]]:
    """A fully connected block, and the shape of what it emits."""
    join = draw(st.sampled_from(["none", "none", "add", "cat"]))
    out = into if join == "add" else draw(st.integers(1, 20))
    recurrent = style in ("loop", "static loop") and draw(st.booleans())
    feedback = draw(weights(nn.Linear(out, out, bias=False))) if recurrent else None
    block = Block(draw(linears(into, out)), draw(leakies((out,), style == "hidden")), None, feedback, join)
    return block, (out + into,) if join == "cat" else (out,)


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A network of one to four blocks."""
    style = draw(st.sampled_from(STYLES))
    shapes = st.tuples(st.integers(1, 20)) | st.tuples(st.integers(1, 3), st.integers(3, 8))
    shape = draw(shapes | st.tuples(st.integers(1, 2), st.integers(3, 6), st.integers(3, 6)))
    first, blocks = shape, []
    convolutions = draw(st.integers(1, 2)) if len(shape) > 1 else 0
    for _ in range(convolutions):
        block, shape = draw(conv_blocks(shape, style))
        blocks.append(block)
    shape = (int(np.prod(shape)),)
    for _ in range(draw(st.integers(0 if convolutions else 1, 2))):
        block, shape = draw(dense_blocks(shape[0], style))
        blocks.append(block)
    dense_from = convolutions if len(blocks) > convolutions and convolutions else -1
    steps = draw(st.integers(2, 8))
    net = Network(blocks, dense_from, style, steps)
    arguments = {"input_format": draw(st.sampled_from(FORMATS)), "readout": draw(st.sampled_from(READOUTS))}
    lead = (steps, 1) if style in ("loop", "sequence") else (1,)
    if style == "hidden":
        arguments |= {"num_steps": steps, "time": draw(st.sampled_from(["sequence", "static"]))}
    return Drawn(net, torch.zeros(*lead, *first), arguments, draw(st.integers(0, 2**32 - 1)))


class Hidden(nn.Sequential):
    """One step per call, states kept by the layers."""


class Threaded(nn.Sequential):
    """One step per call, states passed in and out."""

    def step(self, x: Tensor, *mems: Tensor) -> Any:
        states = list(mems)
        for index, layer in enumerate(self):
            if index % 2:
                x, states[index // 2] = layer(x, states[index // 2])
            else:
                x = layer(x)
        return (x, *states)


class Threaded1(Threaded):
    def forward(self, x: Tensor, mem1: Tensor) -> Any:
        return self.step(x, mem1)


class Threaded2(Threaded):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:
        return self.step(x, mem1, mem2)


class Threaded3(Threaded):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor, mem3: Tensor) -> Any:
        return self.step(x, mem1, mem2, mem3)


@st.composite
def chains(draw: st.DrawFn) -> Drawn:
    """Linear and Leaky layers in turn, states hidden or threaded."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=4))
    threaded = (Threaded1, Threaded2, Threaded3)[len(sizes) - 2]
    kind = draw(st.sampled_from([Hidden, threaded]))
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        layers += [draw(linears(into, out)), draw(leakies((out,), kind is Hidden))]
    arguments = {"input_format": draw(st.sampled_from(FORMATS)), "readout": draw(st.sampled_from(READOUTS))}
    arguments |= {"num_steps": draw(st.integers(1, 8)), "time": draw(st.sampled_from(["sequence", "static"]))}
    states = [torch.zeros(1, out) for out in sizes[1:]] if kind is threaded else []
    return Drawn(kind(*layers), (torch.zeros(1, sizes[0]), *states), arguments, draw(st.integers(0, 2**32 - 1)))
