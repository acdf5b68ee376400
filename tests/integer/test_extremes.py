"""Numbers and files at the far ends: exact bounds beyond 64 bits, and limits that keep a forged file from costing anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from qleaky.errors import ArtefactError, InputError
from qleaky.fixed import QFormat, Rounding
from qleaky.integer import (
    LIF,
    Affine,
    AveragePool,
    Delay,
    FloatInput,
    FloatLIF,
    FloatLinear,
    FloatNetwork,
    Golden,
    Input,
    IntegerNetwork,
    Linear,
    MaxPool,
    Readout,
    Signal,
    load_network,
)
from qleaky.integer import windows as w
from qleaky.integer.signals import magnitudes, printed
from qleaky.reference import run, run_scalar

BYTE = QFormat(8, 0)


def network(*layers: Any, fmt: QFormat = BYTE, readout: Any = "spikes", shape: tuple[int, ...] = (), **fields: Any) -> Any:
    source = layers[-1].name if layers else "input"
    settings: dict[str, Any] = {"name": "lif", "input": source, "state": BYTE, "theta": np.array(1)}
    neurons = LIF(**settings | fields)
    parts: dict[str, Any] = {"num_steps": 2, "readouts": (Readout("lif", readout),)}
    return IntegerNetwork(inputs=(Input(shape, fmt),), layers=(*layers, neurons), **parts)


# One neuron without an axis


def test_a_scalar_sample_has_exact_bounds_beyond_64_bits() -> None:
    assert magnitudes(np.array(-5), np.array(2**70, object)) == 2**70
    assert magnitudes(np.array(-(2**63)), np.array(3)) == 2**63
    wide = Affine(name="a", input="input", scale=np.array(2**62), bias=np.array(-7))
    found = wide.output(Signal((), 0, np.array(-1), np.array(3)))
    assert (found.low, found.high) == (-(2**62) - 7, 3 * 2**62 - 7)
    assert not network(wide).proof.artefact_exact


def test_the_scalar_reference_takes_a_sample_without_axes() -> None:
    net = network(theta=np.array(3))
    codes = np.array([5, -2], np.int8)
    assert run_scalar(net, codes)["lif.mem"] == run(net, codes[:, None]).membranes["lif"][:, 0].tolist() == [5, 0]


def test_more_steps_than_memory_holds() -> None:
    neurons = LIF(name="lif", input="input", state=BYTE, theta=np.array(1))
    inputs = (Input((1 << 24,), BYTE, "static"),)
    net = IntegerNetwork(inputs=inputs, num_steps=10**6, layers=(neurons,), readouts=(Readout("lif"),))
    with pytest.raises(InputError, match="1,000,000 steps record 16,777,216,000,000 numbers, more than there is memory for"):
        run(net, np.zeros((1, 1 << 24), np.int8))


# Shifts and sums that 64 bits do not hold


@pytest.mark.parametrize("rounding", list(Rounding))
def test_a_current_too_fine_to_be_shifted_is_a_reason(rounding: Rounding) -> None:
    """Nothing here is large: the membrane stays 0, and the current below 2**8. But 2**70 is no 64-bit integer."""
    net = network(fmt=QFormat(8, 70, signed=False), rounding=rounding)
    assert "more than 64-bit integers hold" in " ".join(net.proof.artefact_reasons)
    assert network(fmt=QFormat(8, 50, signed=False), rounding=rounding).proof.artefact_exact


def test_a_count_that_may_leave_64_bits_is_a_reason() -> None:
    fields: dict[str, Any] = {"graded": np.array((1 << 31) - 1), "max_spikes": 1 << 15, "state": QFormat(16, 0)}
    assert network(**fields).proof.artefact_exact
    assert "and the sum over the 1,000,000 steps" in network(readout="spike_count", **fields).proof.reasons[0]
    assert network(readout="spike_count", **fields | {"max_spikes": 1 << 11}).proof.artefact_exact
    assert network(readout="membrane_mean", state=QFormat(32, 0)).proof.artefact_exact


def test_numbers_that_nobody_would_read_are_not_printed() -> None:
    assert printed(-(2**200)) == str(-(2**200))
    assert printed(2**20000) == "about 2**20001"


# Limits


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: network(Linear(name="a", input="input", weight=np.ones((1, 1), int), weight_frac_bits=10**9), shape=(1,)),
         "layer 'a': weight_frac_bits=1000000000; a grid has -256 to 256 fractional bits"),
        (lambda: network(Affine(name="a", input="input", scale_frac_bits=10**40)), "layer 'a': scale_frac_bits=1000"),
        (lambda: network(Affine(name="a", input="input", scale_frac_bits=-1)), "scale_frac_bits=-1 without a scale"),
        (lambda: network(graded=np.array(1), graded_frac_bits=-(10**18)), "layer 'lif': graded_frac_bits=-1000"),
        (lambda: network(Delay(name="a", input="lif", shape=(), frac_bits=10**18, low=0, high=1)), "layer 'a': frac_bits=1000"),
        (lambda: network(Delay(name="a", input="lif", shape=(0,), frac_bits=0, low=0, high=1)), r"layer 'a': shape \(0,\)"),
        (lambda: network(AveragePool(name="a", input="input", kernel=(1,), stride=(1,), pads=((0, 0),), divisor=1 << 999),
                         shape=(1, 3)), "layer 'a': divisor_bits=999"),
        (lambda: network(shape=(10**6, 10**6)), r"sample of shape \(1000000, 1000000\) has 1000000000000 elements"),
        (lambda: network(MaxPool(name="a", input="input", kernel=(1,), stride=(1,), pads=((10**12, 0),), dilation=(1,)),
                         shape=(1, 3)), "layer 'a': padding .* makes an axis longer than"),
    ],
)  # fmt: skip
def test_what_no_network_needs_is_refused_before_it_costs_anything(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_windows_of_padding_alone_are_found(size: int, kernel: int, dilation: int) -> None:
    for before, after, stride in np.ndindex(6, 6, 3):
        window = w.Window((kernel,), (stride + 1,), ((before, after),), (dilation,))
        starts = range(0, size + before + after - dilation * (kernel - 1), stride + 1)
        met = [any(0 <= start - before + tap * dilation < size for tap in range(kernel)) for start in starts]
        assert w.meets_input(window, (size,)) == all(met)


# Forged files


def forged(path: Path, structure: str, dtype: str = "I8") -> Path:
    data = save({"0000": np.zeros(8, np.int8)}, metadata={"qleaky": structure})
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["0000"] |= {"dtype": dtype, "shape": [8 // {"I8": 1, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}[dtype]]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return path


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_a_tensor_of_a_type_that_numpy_lacks(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ArtefactError, match=r"is not a \.qleaky file, or is damaged"):
        load_network(forged(tmp_path / "net.qleaky", "{}", dtype))


@pytest.mark.parametrize(
    "structure", ["[" * 100_000, '{"version":2,"digest":"","network":' + "[" * 100_000 + "]" * 100_000 + "}"]
)
def test_a_structure_that_is_nested_without_end(tmp_path: Path, structure: str) -> None:
    with pytest.raises(ArtefactError, match=r"is not a \.qleaky file, or is damaged"):
        load_network(forged(tmp_path / "net.qleaky", structure))


@pytest.mark.parametrize("kind", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(kind: str) -> None:
    with pytest.raises(ArtefactError, match="is no file, but a device or a pipe"):
        load_network(kind)


def test_a_name_with_a_null_and_one_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read \.qleaky file"):
        load_network("a\0b")
    longest = tmp_path / ("n" * 255)
    network().save(longest)
    assert load_network(longest).digest == network().digest


# Float networks


def float_network(**changes: Any) -> FloatNetwork:
    one, zeros = np.ones((), np.float32), np.zeros((4, 1, 2), np.float32)
    linear: dict[str, Any] = {"weight": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}
    neurons: dict[str, Any] = {"beta": one, "theta": one, "graded": one}
    golden = {kind: changes.pop(kind, {name: zeros}) for kind, name in GOLDEN.items()}
    layers = (
        FloatLinear(name="fc", input="input", **{name: changes.get(name, numbers) for name, numbers in linear.items()}),
        FloatLIF(name="lif", input="fc", **{name: changes.get(name, numbers) for name, numbers in neurons.items()}),
    )
    parts: dict[str, Any] = {"num_steps": 4, "readouts": (Readout("lif"),), "reasons": ("beta.",)}
    return FloatNetwork(inputs=(FloatInput((2,)),), layers=layers, golden=Golden(**golden), **parts)


GOLDEN = {"inputs": "input", "spikes": "lif", "membranes": "lif"}


@pytest.mark.parametrize("name", ["weight", "bias", "beta", "theta", "graded"])
@pytest.mark.parametrize("numbers", [np.ones((0,)), np.ones(3), np.ones((2, 2), int), np.ones((4, 1, 2)), np.ones((), bool)])
def test_arrays_that_are_not_a_float_networks(name: str, numbers: Any) -> None:
    with pytest.raises(InputError, match=r"layer '(fc|lif)': (weight|bias|beta|theta|graded) of shape"):
        float_network(**{name: numbers})


@pytest.mark.parametrize("kind", GOLDEN)
@pytest.mark.parametrize("value", [np.ones(()), np.ones((4, 1, 3)), np.ones((3, 1, 2)), np.ones((4, 1, 2), int)])
def test_golden_vectors_that_are_not_a_float_networks(kind: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"golden|inputs have shape"):
        float_network(**{kind: {GOLDEN[kind]: value}})
    with pytest.raises(InputError, match=rf"golden {kind} are those of \['other'\]; the network has \['{GOLDEN[kind]}'\]"):
        float_network(**{kind: {"other": value}})
