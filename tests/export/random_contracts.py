"""Random contracts of every layer kind and every LIF setting, and what the reference says of them."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.errors import InputError
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Signal,
    Synapse,
    Transpose,
)
from qleaky.reference import run

Generator = np.random.Generator
FORMATS = [
    QFormat(1, 0, signed=False),
    QFormat(8, 4),
    QFormat(8, 6, signed=False, zero_point=128),
    QFormat(8, 6, signed=False),
    QFormat(4, 1),
    QFormat(12, 6, signed=False, zero_point=7),
]
SHAPES = {"flat": (5,), "map": (2, 6, 5), "line": (3, 8)}


def pick(r: Generator, options: Any) -> Any:
    options = list(options)
    return options[r.integers(len(options))]


def decay(r: Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    kind = r.integers(4)
    if kind == 0:
        return {}
    if kind == 1:
        return {"decay": ShiftDecay(int(r.integers(1, 6)), bool(r.integers(2)))}
    n = int(r.integers(1, 13))
    rounding = pick(r, [None, *Rounding])
    size = shape if r.random() < 0.3 else ()
    multiplier = np.asarray(r.integers((1 << n) // 2, (1 << n) + 1, size))
    return {"decay": MulShift(n=n, rounding=rounding), "multiplier": multiplier}


def lif(r: Generator, name: str, source: str, shape: tuple[int, ...], common: bool) -> LIF:
    """With ``common`` the settings for which there are fast forms, else any."""
    bits = int(pick(r, [8, 16, 12]) if common else r.integers(4, 17))
    state = QFormat(bits, int(r.integers(0, bits)), signed=bool(r.random() < 0.85))
    theta = np.asarray(r.integers(1, max(state.highest // 2, 1) + 1, shape if r.random() < 0.3 else ()))
    fields: dict[str, Any] = {"name": name, "input": source, "state": state, "theta": theta}
    if common:
        return LIF(**fields, compare=pick(r, Compare), rounding=pick(r, ["half_up", "floor"]), **decay(r, ()))
    mechanism, timing = pick(r, ResetMechanism), pick(r, ResetTiming)
    if mechanism == "subtract" and timing != "undelayed" and r.random() < 0.3:
        fields["max_spikes"] = int(r.integers(2, 5))
    if r.random() < 0.25:
        fields["graded"] = np.asarray(r.integers(-3, 4, shape if r.integers(2) else ()))
        fields["graded_frac_bits"] = int(r.integers(0, 3))
    if r.random() < 0.25:
        fields["synapse"] = synapse(r, shape)
    return LIF(
        **fields,
        **decay(r, shape),
        reset_mechanism=mechanism,
        reset_timing=timing,
        compare=pick(r, Compare),
        rounding=pick(r, Rounding),
        rounding_site=pick(r, RoundingSite),
        overflow=pick(r, [Overflow.SATURATE, Overflow.SATURATE, Overflow.WRAP]),
        input_shift=int(r.integers(0, 4)) if r.random() < 0.2 else 0,
    )


def synapse(r: Generator, shape: tuple[int, ...]) -> Synapse:
    bits = int(r.integers(4, 13))
    overflow = pick(r, [Overflow.SATURATE, Overflow.WRAP])
    state = QFormat(bits, int(r.integers(0, bits)))
    return Synapse(
        state=state, rounding=pick(r, Rounding), rounding_site=pick(r, RoundingSite), overflow=overflow, **decay(r, shape)
    )


def weights(r: Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    bits = int(pick(r, [2, 4, 8, 8, 8, 12]))
    limit = (1 << (bits - 1)) - 1
    return r.integers(-limit, limit + 1, shape).astype(np.int8 if bits <= 8 else np.int16)


class Drawing:
    """A network that grows layer by layer; what does not fit is left out."""

    def __init__(self, r: Generator, common: bool) -> None:
        self.r, self.common = r, common
        self.layers: list[Any] = []
        shape = SHAPES[pick(r, SHAPES)]
        times = [pick(r, ["sequence", "sequence", "static"]) for _ in range(int(r.integers(1, 3)))]
        self.inputs = tuple(Input(shape, pick(r, FORMATS), time, f"in{i}") for i, time in enumerate(times))
        self.signals = {source.name: source.signal for source in self.inputs}

    def put(self, layer: Any) -> None:
        sources = [] if isinstance(layer, Delay) else [self.signals[name] for name in layer.inputs]
        self.signals[layer.name] = layer.output(*sources)
        self.layers.append(layer)

    def grow(self, name: str) -> None:
        source = pick(self.r, list(self.signals)[-3:])
        x = self.signals[source]
        kinds = [self.weighted, self.weighted, self.affine, self.pooled, self.moved, self.joined, self.neurons, self.recurrent]
        kind = pick(self.r, kinds) if x.magnitude < 1 << 20 else self.neurons
        try:
            kind(name, source, x)
        except (InputError, IndexError):
            return

    def weighted(self, name: str, source: str, x: Signal) -> None:
        r, axes = self.r, len(x.shape) - 1
        bias = r.integers(-99, 99, 4) if r.integers(2) else None
        frac_bits = int(r.integers(0, 6))
        if axes == 0 or r.random() < 0.2:
            self.put(
                Linear(name=name, input=source, weight=weights(r, (4, x.shape[-1])), bias=bias, weight_frac_bits=frac_bits)
            )
            return
        groups = 1 if r.random() < 0.7 or 4 % x.shape[0] else x.shape[0]
        kernel = [int(r.integers(1, 4)) for _ in range(axes)]
        pads = tuple((int(r.integers(2)), int(r.integers(2))) for _ in range(axes))
        window = {"stride": (int(r.integers(1, 3)),) * axes, "pads": pads, "dilation": (int(r.integers(1, 3)),) * axes}
        weight = weights(r, (4, x.shape[0] // groups, *kernel))
        self.put(
            Conv(name=name, input=source, weight=weight, bias=bias, weight_frac_bits=frac_bits, groups=groups, **window)  # type: ignore[arg-type]
        )

    def affine(self, name: str, source: str, x: Signal) -> None:
        r = self.r
        scale = r.integers(-5, 6, x.shape) if r.integers(2) else None
        bias = np.asarray(r.integers(-30, 30)) if r.integers(2) else None
        self.put(Affine(name=name, input=source, scale=scale, bias=bias, scale_frac_bits=int(r.integers(0, 3))))

    def pooled(self, name: str, source: str, x: Signal) -> None:
        r, axes = self.r, len(x.shape) - 1
        pads, stride = ((int(r.integers(2)), 0),) * axes, (int(r.integers(1, 3)),) * axes
        if r.integers(2):
            kernel, divisor = (int(r.integers(1, 4)),) * axes, int(2 ** r.integers(0, 4))
            self.put(AveragePool(name=name, input=source, kernel=kernel, stride=stride, pads=pads, divisor=divisor))
            return
        dilation = (int(r.integers(1, 3)),) * axes
        self.put(MaxPool(name=name, input=source, kernel=(2,) * axes, stride=stride, pads=pads, dilation=dilation))

    def moved(self, name: str, source: str, x: Signal) -> None:
        size = int(np.prod(x.shape))
        if self.r.integers(2):
            self.put(Reshape(name=name, input=source, shape=pick(self.r, [(size,), (1, size)])))
            return
        self.put(Transpose(name=name, input=source, axes=tuple(int(a) for a in self.r.permutation(len(x.shape)))))

    def joined(self, name: str, source: str, x: Signal) -> None:
        other = pick(self.r, [name for name, signal in self.signals.items() if signal.shape == x.shape])
        if self.r.integers(2):
            self.put(Add(name=name, inputs=(source, other), signs=(int(pick(self.r, [1, -1])), 1)))
            return
        self.put(Concat(name=name, inputs=(source, other), axis=int(self.r.integers(len(x.shape)))))

    def neurons(self, name: str, source: str, x: Signal) -> None:
        self.put(lif(self.r, name, source, x.shape, self.common))

    def recurrent(self, name: str, source: str, x: Signal) -> None:
        """What a layer emitted one step before, weighted and added to its input; perhaps delayed once more for others."""
        delay = Delay(name=f"{name}.back", input=name, shape=x.shape, frac_bits=0, low=0, high=1)
        self.put(delay)
        size = x.shape[-1]
        self.put(Linear(name=f"{name}.w", input=delay.name, weight=weights(self.r, (size, size)), weight_frac_bits=0))
        self.put(Add(name=f"{name}.sum", inputs=(source, f"{name}.w"), signs=(1, 1)))
        neurons = lif(self.r, name, f"{name}.sum", x.shape, self.common)
        self.put(msgspec.structs.replace(neurons, graded=None, graded_frac_bits=0, max_spikes=1))
        if self.r.integers(2):
            self.put(Delay(name=f"{name}.late", input=name, shape=x.shape, frac_bits=0, low=-1, high=2))


def draw(seed: int, common: bool = False) -> IntegerNetwork:
    """A network whose sums 64-bit integers hold."""
    r = np.random.default_rng(seed)
    while True:
        drawing = Drawing(r, common)
        for i in range(int(r.integers(2, 7))):
            drawing.grow(f"l{i}")
        last = list(drawing.signals)[-1]
        drawing.neurons("out", last, drawing.signals[last])
        names = [layer.name for layer in drawing.layers if isinstance(layer, LIF)]
        kinds = ("spikes", "spike_count", "membrane_mean", "last_membrane")
        readouts = [Readout(name, pick(r, kinds), bool(r.integers(2))) for name in {"out", pick(r, names)}]
        readouts.sort(key=lambda readout: readout.layer)
        network = IntegerNetwork(
            inputs=drawing.inputs, num_steps=int(r.integers(1, 6)), layers=tuple(drawing.layers), readouts=tuple(readouts)
        )
        if network.proof.artefact_exact:
            return network


def inputs(network: IntegerNetwork, batch: int = 3, seed: int = 0, steps: int | None = None) -> dict[str, NDArray[Any]]:
    r = np.random.default_rng(seed)
    arrays = {}
    for source in network.inputs:
        lead = (steps or network.num_steps, batch) if source.time == "sequence" else (batch,)
        fmt = source.format
        arrays[source.name] = r.integers(fmt.lowest, fmt.highest + 1, (*lead, *source.shape)).astype(fmt.dtype)
    return arrays


def expected(network: IntegerNetwork, arrays: Any, probe: bool = False) -> dict[str, NDArray[Any]]:
    """All outputs of a graph of the whole sequence, by the reference."""
    found = run(network, arrays)
    outputs = dict(found.outputs)
    for lif_layer in network.lif_layers:
        name = lif_layer.name
        outputs[f"{name}.final_mem"] = found.membranes[name][-1]
        if name in found.synapses:
            outputs[f"{name}.final_syn"] = found.synapses[name][-1]
    if probe:
        outputs |= {f"{name}.spk": spikes for name, spikes in found.spikes.items()}
        outputs |= {f"{name}.mem": membranes for name, membranes in found.membranes.items()}
    return outputs


def assert_equal(got: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> None:
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        assert got[name].shape == array.shape, name
        assert np.array_equal(got[name].astype(np.int64), array.astype(np.int64)), name
