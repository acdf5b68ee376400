"""Products in C equal NumPy's integers, for every width, group and form, with random and adversarial weights and inputs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from product_programs import SANITIZERS, Case, compiler, sums

from qleaky.errors import InputError
from qleaky.export.c.products import DenseProduct, EventProduct, PackedProduct, product

RANGES = {1: (0, 1), 2: (-2, 1), 4: (-8, 7), 8: (-128, 127)}
COMMANDS = {
    **{f"{name}-sanitized": [name, *options] for name, options in SANITIZERS.items()},
    **{f"{name}{level}": [name, level] for name, level in (("gcc", "-O0"), ("gcc", "-O3"), ("clang", "-O2"), ("clang", "-Os"))},
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> list[str]:
    name, *options = COMMANDS[request.param]
    return [compiler(name), *options]


def random_weights(outputs: int, inputs: int, low: int, high: int) -> NDArray[np.int64]:
    """Weights that use the whole range."""
    weight = np.random.default_rng([outputs, inputs, high]).integers(low, high + 1, (outputs, inputs))
    weight.reshape(-1)[:2] = [low, high][: weight.size]
    return weight


def spikes(inputs: int, *extra: int) -> NDArray[np.int64]:
    """No event, every event, the first and the last, random ones, and the first n for every n in ``extra``."""
    rng = np.random.default_rng(inputs)
    rows = [np.zeros(inputs), np.ones(inputs), np.eye(1, inputs)[0], np.eye(1, inputs)[0][::-1]]
    rows += [rng.random(inputs) < density for density in (0.05, 0.2, 0.5, 0.9)]
    rows += [np.arange(inputs) < n for n in extra]
    return np.array(rows).astype(np.int64)


def bit_case(name: str, weight: NDArray[np.int64], *extra: int) -> Case:
    return Case(product(weight, "bits", name=name), spikes(weight.shape[1], *extra), bits=True)


def assert_equal(cases: list[Case], weights: list[NDArray[np.int64]], folder: Path, command: list[str]) -> None:
    for case, weight, got in zip(cases, weights, sums(cases, folder, command=command), strict=True):
        np.testing.assert_array_equal(got, case.inputs @ weight.T, err_msg=case.name)


def test_random_weights_of_every_width_and_every_last_group(tmp_path: Path, command: list[str]) -> None:
    shapes = [(1, 1), (1, 40), (3, 31), (5, 33), (8, 64), (10, 256), (12, 65), (16, 100), (17, 90), (33, 70), (40, 300)]
    weights = {
        f"w{bits}_{outputs}_{inputs}": random_weights(outputs, inputs, *RANGES[bits])
        for bits, (outputs, inputs) in itertools.product(RANGES, shapes)
    }
    cases = [bit_case(name, weight) for name, weight in weights.items()]
    assert {(case.product.bits, case.product.group) for case in cases} == {
        (8, 4), (8, 8), (8, 12), (4, 8), (4, 16), (2, 16), (1, 32)
    }  # fmt: skip
    assert_equal(cases, list(weights.values()), tmp_path, command)


@pytest.mark.parametrize(
    "outputs", [2, 10, pytest.param(8, marks=pytest.mark.nightly), pytest.param(40, marks=pytest.mark.nightly)]
)
def test_the_largest_weights_with_every_input_around_the_flush_interval(tmp_path: Path, outputs: int) -> None:
    weights, cases = [], []
    for bits, (low, high) in RANGES.items():
        for inputs in (14, 15, 16, 17, 18, 85, 86, 255, 256, 257, 258, 259, 514, 515, 4400):
            weight = np.full((outputs, inputs), high)
            weight[:, 0] = low
            weight[-1, -1] = low
            interval = product(weight, "bits", name="w").interval
            assert interval is not None
            events = [n for n in (3, 4, 15, interval - 1, interval, interval + 1, 2 * interval + 1) if n <= inputs]
            weights.append(weight)
            cases.append(bit_case(f"w{bits}_{inputs}", weight, *events))
    assert_equal(cases, weights, tmp_path, [compiler("gcc"), *SANITIZERS["gcc"]])


def test_binary_ternary_and_scaled_weights_take_few_bits(tmp_path: Path, command: list[str]) -> None:
    rng = np.random.default_rng(3)
    shifts = 1 << rng.integers(0, 7, (40, 1))
    weights = {
        "binary": (1, rng.choice([-1, 1], (40, 300))),
        "binary_scaled": (1, 37 * rng.choice([-1, 1], (40, 300)) + 5),
        "binary_of_two_signs": (1, np.sign(np.arange(40) - 20.5)[:, None].astype(int) * rng.choice([0, 3], (40, 300))),
        "ternary": (2, rng.choice([-1, 0, 1], (40, 300))),
        "per_channel_4": (4, shifts * rng.integers(-8, 8, (40, 300))),
        "per_channel_8": (8, shifts * rng.integers(-128, 128, (40, 300))),
        "constant": (1, np.full((40, 300), 1000)),
        "large": (8, rng.integers(-128, 128, (40, 300)) * 20000),
    }
    cases = [bit_case(name, weight) for name, (_, weight) in weights.items()]
    assert {case.name: case.product.bits for case in cases} == {name: bits for name, (bits, _) in weights.items()}
    assert_equal(cases, [weight for _, weight in weights.values()], tmp_path, command)


def test_wider_weights_are_plain_numbers(tmp_path: Path, command: list[str]) -> None:
    names = {"w9": (-256, 255), "w16": (-32768, 32767), "w32": (-(1 << 24), (1 << 24) + 1)}
    weights = {f"{name}_{outputs}": random_weights(outputs, 50, *names[name]) for name in names for outputs in (1, 4, 5, 11)}
    cases = [bit_case(name, weight) for name, weight in weights.items()]
    assert all(isinstance(case.product, EventProduct) for case in cases)
    assert_equal(cases, list(weights.values()), tmp_path, command)


def test_integers_times_every_width(tmp_path: Path, command: list[str]) -> None:
    rng = np.random.default_rng(4)
    weights, cases = [], []
    for index, (low, high) in enumerate([(0, 255), (-128, 127), (0, 65535), (-32768, 32767), (-(1 << 20), 1 << 20)]):
        for width, outputs in itertools.product((1 << 7, 1 << 15, 1 << 17), (1, 4, 5, 10)):
            inputs = min(30, ((1 << 31) - 1) // (width * max(-low, high)))
            if not inputs:
                continue
            x = np.array([np.full(inputs, low), np.full(inputs, high), *rng.integers(low, high + 1, (4, inputs))])
            weights.append(random_weights(outputs, inputs, -width, width - 1))
            found = product(weights[-1], (low, high), name=f"x{index}_{width}_{outputs}")
            assert isinstance(found, DenseProduct)
            cases.append(Case(found, x, bits=False))
    assert_equal(cases, weights, tmp_path, command)


def test_what_packing_would_lead_past_32_bits_stays_plain(tmp_path: Path, command: list[str]) -> None:
    """Sums fit, but offset * count would not: the weights differ little from one that is large."""
    weight = np.array([[1 << 29, (1 << 29) + 1, -(1 << 29)], [1 << 29, (1 << 29) + 255, (1 << 29) + 3]])
    case = bit_case("w", weight[:, :3] * np.array([1, 1, 1]))
    assert isinstance(case.product, EventProduct)
    assert_equal([case], [weight], tmp_path, command)
    assert isinstance(product(weight // (1 << 22), "bits", name="w"), PackedProduct)


def test_sums_past_32_bits_are_refused_with_the_number() -> None:
    weight = np.full((2, 3), 1 << 20)
    with pytest.raises(InputError, match=r"fc1: a sum of products can reach 3221225472, more than the 2147483647"):
        product(weight, (0, 1 << 10), name="fc1")
    with pytest.raises(InputError, match="Use fewer bits for the weights or the inputs of this layer, or fewer inputs"):
        product(weight << 10, "bits", name="fc1")


def test_dsp_changes_no_text() -> None:
    weight = random_weights(20, 30, -128, 127)
    one, other = (product(weight, "bits", name="w", dsp=dsp) for dsp in (False, True))
    texts = [p.call(first="0u", source="list", count="count", sums="sums") for p in (one, other)]
    assert texts[0] == texts[1]
    np.testing.assert_array_equal(one.constants[0].values, other.constants[0].values)
