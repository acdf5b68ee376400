"""What is drawn is what was recorded: one mark for each spike, a line through each membrane, a shade for each number."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import Net, checked, inputs, lowered, with_a_changed_weight

from qleaky.integer import Readout
from qleaky.reference import Recording
from qleaky.report import svg
from qleaky.report.inputs import picture
from qleaky.report.membranes import membrane
from qleaky.report.palette import DARK, LIGHT
from qleaky.report.rasters import MOST_STEPS, raster, shown_steps
from qleaky.verification.evidence import Neuron, Sample


def paths(drawing: Any, kind: str) -> list[str]:
    """The data of all paths of a class."""
    return re.findall(rf'<path class="{kind}" (?:fill-opacity="[\d.]+" )?d="([^"]*)"', str(drawing))


def points(data: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", data)]


def sample_of(**spikes: Any) -> Sample:
    """Runs of one layer, from spikes (T, neurons)."""
    runs = {
        label: Recording({"lif": np.array(s)[:, None]}, {"lif": np.zeros_like(s)[:, None]}, {}) for label, s in spikes.items()
    }
    return Sample(0, {}, runs, ())


def test_a_raster_has_one_mark_for_each_spike_and_others_where_runs_part() -> None:
    r = np.random.default_rng(0)
    expected = r.integers(0, 2, (7, 5))
    found = expected.copy()
    found[3, 1], found[5, 2], found[6, 4] = 1 - expected[3, 1], 0, 1
    figure = raster(sample_of(reference=expected, runtime=found), "lif")
    both = (expected & found).sum()
    assert [data.count("M") for data in paths(figure.picture, "spike")] == [both]
    missing, extra = (expected > found).sum(), (found > expected).sum()
    assert sum(data.count("M") for data in paths(figure.picture, "missing")) == missing
    assert sum(data.count("M") for data in paths(figure.picture, "extra")) == extra
    assert missing + extra >= 1
    assert f"{missing + extra} place" in figure.caption
    assert {kind for kind, _ in figure.marks} == {"spike", "missing", "extra"}


def test_counts_of_spikes_that_part_are_told_though_both_fired() -> None:
    figure = raster(sample_of(reference=[[2, 0]], runtime=[[1, 0]]), "lif")
    assert "1 place where runs differ" in figure.caption


def test_a_mark_stands_at_its_step_and_neuron() -> None:
    spikes = np.zeros((4, 3), int)
    spikes[2, 1] = 1
    (data,) = paths(raster(sample_of(reference=spikes, runtime=spikes), "lif").picture, "spike")
    ((x, y),) = points(data)
    width = svg.WIDTH - svg.LEFT - svg.RIGHT
    assert x == pytest.approx(svg.LEFT + width * 2.5 / 4, abs=0.1)
    height = 90 - svg.TOP - svg.BOTTOM
    assert svg.TOP + height / 3 < y < svg.TOP + height * 2 / 3


def test_of_a_large_layer_those_that_part_are_shown() -> None:
    spikes = np.zeros((3, 5000), int)
    spikes[:, ::7] = 1
    found = spikes.copy()
    found[1, 4444] = 1
    figure = raster(sample_of(reference=spikes, runtime=found), "lif")
    assert sum(data.count("M") for data in paths(figure.picture, "extra")) == 1
    assert re.search(r"Shown are \d\d of 5,000 neurons, some of those that fired or differ\.", figure.caption)


def test_of_a_long_run_the_step_that_matters_is_shown() -> None:
    assert shown_steps(100, 99) == range(100)
    assert shown_steps(10_000, None) == range(MOST_STEPS)
    for focus in (0, 5_000, 9_999):
        steps = shown_steps(10_000, focus)
        assert focus in steps
        assert len(steps) == MOST_STEPS


def test_a_membrane_is_a_line_through_its_codes(tmp_path: Path) -> None:
    network = lowered(Net())
    check = checked(tmp_path, network, inputs(), data=with_a_changed_weight(network))
    (sample,) = check.evidence.samples
    neuron = sample.neurons[0]
    figure = membrane(network, sample, neuron)
    codes = {label: run.membranes["lif"][:, 0, neuron.element[0]] for label, run in sample.runs.items()}
    drawn = {
        label: points(paths(figure.picture, kind)[0]) for label, kind in zip(codes, ("line-first", "line-second"), strict=True)
    }
    theta = float(re.findall(r"M[\d.]+ ([\d.]+)H", paths(figure.picture, "theta")[0])[0])
    heights = np.array([y for label in codes for _, y in drawn[label]])
    values = np.concatenate([codes[label] for label in codes]).astype(float)
    slope, offset = np.polyfit(values, heights, 1)
    assert slope < 0
    assert np.abs(slope * values + offset - heights).max() < 0.15
    assert slope * 8 + offset == pytest.approx(theta, abs=0.15)
    assert "ONNX Runtime differs from reference at" in figure.caption


def test_each_run_that_parts_is_named_and_no_other() -> None:
    network = lowered(Net())
    zeros = np.zeros((15, 1, 9), np.int64)
    moved = zeros.copy()
    moved[4:6] = 7
    states = {"reference": zeros, "a": moved, "b": zeros}
    runs = {label: Recording({"lif": zeros}, {"lif": mem}, {}) for label, mem in states.items()}
    caption = membrane(network, Sample(0, {}, runs, ()), Neuron("lif", (0,), "chosen")).caption
    assert caption.startswith("Chosen: a differs from reference at 2 steps and b agrees.")


def test_a_membrane_of_one_step_is_a_dot_which_a_line_would_not_show() -> None:
    states = {"reference": np.full((1, 1, 9), 3), "runtime": np.full((1, 1, 9), 5)}
    runs = {label: Recording({"lif": np.zeros((1, 1, 9), np.int64)}, {"lif": mem}, {}) for label, mem in states.items()}
    figure = membrane(lowered(Net()), Sample(0, {}, runs, ()), Neuron("lif", (0,), "chosen"))
    (expected,), (found,) = paths(figure.picture, "dot line-first"), paths(figure.picture, "dot line-second")
    assert [data[-2:] for data in (expected, found)] == ["h0", "h0"]
    assert points(expected)[0][0] == points(found)[0][0]
    assert points(expected)[0][1] > points(found)[0][1]


def test_infinite_and_missing_numbers_are_drawn_somewhere(tmp_path: Path) -> None:
    network = lowered(Net(beta=0.9))
    states = np.array([0.0, np.nan, np.inf, -np.inf] + [1.0] * 11, np.float32)
    mem = np.broadcast_to(states[:, None, None], (15, 1, 9))
    run = Recording({"lif": np.zeros((15, 1, 9), np.float32)}, {"lif": mem}, {})
    figure = membrane(network, Sample(0, {}, {"torch": run, "ONNX Runtime": run}, ()), Neuron("lif", (0,), "chosen"))
    assert len(points(paths(figure.picture, "line-first")[0])) == 15
    assert "nan" not in str(figure.picture)


def test_a_picture_of_the_input_covers_what_is_not_zero(tmp_path: Path) -> None:
    network = lowered(Net())
    check = checked(tmp_path, network, inputs())
    (sample,) = check.evidence.samples
    figure = picture(network, sample, network.input.name)
    widths = [float(w) for data in paths(figure.picture, "positive") for w in re.findall(r"h([\d.]+)v", data)]
    cell = (svg.WIDTH - svg.LEFT - svg.RIGHT) / 15
    assert sum(widths) == pytest.approx(cell * int(sample.codes[network.input.name].sum()), rel=0.01)
    assert not paths(figure.picture, "negative")
    assert network.readouts == (Readout("lif", "spike_count", True),)


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_measured_as_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ground", ["ground", "panel"])
@pytest.mark.parametrize("ink", ["ink", "quiet", "link", "good", "fair", "bad"])
def test_text_can_be_read(palette: Any, ground: str, ink: str) -> None:
    assert contrast(palette[ink], palette[ground]) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ink", ["first", "second", "third", "theta", "bad", "positive", "negative"])
def test_marks_can_be_seen(palette: Any, ink: str) -> None:
    assert contrast(palette[ink], palette["ground"]) >= 3


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_line_above_another_can_be_told_from_it(palette: Any) -> None:
    assert contrast(palette["second"], palette["first"]) >= 3


def test_both_palettes_have_the_same_names() -> None:
    assert set(LIGHT) == set(DARK)
