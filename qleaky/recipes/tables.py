"""The tables of a recipe: every key with its default and its rule, the one source for checks and documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qleaky.recipes.rules import Bits, Layers, OneOf, Real, Rule, Shape, Text, Whole, YesNo

NAME = Text("a name of letters, digits, '-', '_' and '.'", r"[A-Za-z0-9][A-Za-z0-9._-]*")
CALLABLE = Text('"file.py:callable" or "module:callable"', r"[^:]+:[A-Za-z_]\w*")
READOUTS = ("spike_count", "membrane_mean", "last_membrane")
SURROGATES = ("atan", "fast_sigmoid", "sigmoid", "triangular", "straight_through_estimator")


def _key(rule: Rule, what: str, **default: Any) -> Any:
    return field(metadata={"rule": rule, "what": what}, **default)


def _optional(rule: Rule, what: str) -> Any:
    return _key(rule, what, default=None)


@dataclass(frozen=True)
class DataTable:
    """``[data]``: the samples."""

    name: str = _key(NAME, "a loader of `qleaky.datasets`; with `build` any name")
    validation: float = _key(
        Real(0, 0.9), "share of the training set held back, the same in each class; 0 holds back nothing", default=0.15
    )
    build: str | None = _optional(CALLABLE, "your loader: called with the data folder (or None), returns a `DataSet`")


@dataclass(frozen=True)
class ModelTable:
    """``[model]``: the network."""

    layers: tuple[int | str, ...] = _key(
        Layers(), "dense sizes, the input first; with `input` the layers alone, convolutions and pools among them", default=()
    )
    input: tuple[int, ...] | None = _optional(Shape(), "shape of one sample at one time step")
    build: str | None = _optional(CALLABLE, "instead of `layers`: called with the recipe, returns the torch network")
    num_steps: int | None = _optional(Whole(1), "time steps that a static input is shown for; sequences bring their own")
    beta: float = _key(Real(0, 1), "decay of the membranes per step", default=0.9)
    threshold: float = _key(Real(0, above=True), "threshold of the membranes", default=1.0)
    reset_mechanism: str = _key(OneOf(("subtract", "zero", "none")), "what a spike does to its membrane", default="subtract")
    output_reset_mechanism: str | None = _optional(
        OneOf(("subtract", "zero", "none")), "that of the last layer; with a membrane readout `none` tells classes best apart"
    )
    readout: str = _key(OneOf(READOUTS), "what the class is read from", default="spike_count")
    surrogate: str = _key(OneOf(SURROGATES), "surrogate gradient, of `qleaky.surrogate`", default="atan")
    surrogate_slope: float | None = _optional(Real(0, above=True), "its parameter; without it, its default")


@dataclass(frozen=True)
class TrainingTable:
    """``[training]``: the float phase, and what both phases share."""

    epochs: int = _key(Whole(1), "epochs in float")
    batch_size: int = _key(Whole(1), "samples of a step, over all processes together", default=64)
    learning_rate: float = _key(Real(0, above=True), "learning rate at the start", default=1e-2)
    optimizer: str = _key(OneOf(("adam", "adamw", "sgd")), "`sgd` has momentum 0.9", default="adam")
    weight_decay: float = _key(Real(0), "of the optimizer", default=0.0)
    schedule: str = _key(OneOf(("cosine", "constant")), "`cosine` falls to 0 over the phase, step by step", default="cosine")
    loss: str = _key(OneOf(("cross_entropy",)), "of the readout times `logit_scale`", default="cross_entropy")
    label_smoothing: float = _key(Real(0, 1, below=True), "of the cross-entropy", default=0.0)
    logit_scale: float = _key(Real(0, above=True), "factor of the readout", default=1.0)
    gradient_clip: float = _key(Real(0), "largest norm of all gradients together; 0 does not clip", default=0.0)
    input_noise: float = _key(Real(0), "standard deviation of noise added to training inputs", default=0.0)
    keep: str = _key(
        OneOf(("last", "best")), "epoch whose weights a phase ends with; `best` by validation accuracy", default="last"
    )


@dataclass(frozen=True)
class QuantizationTable:
    """``[quantization]``: the phase that quantizes the float network and trains on; without the table there is none."""

    weight_bits: int | str = _key(Bits(), "bits of the weights", default=8)
    state_bits: int = _key(Whole(2, 16), "bits of the membranes", default=8)
    per_channel: bool = _key(YesNo(), "a power-of-two scale for each output channel", default=False)
    accumulator_bits: int | None = _optional(Whole(8, 32), "keep the sums of weights within this accumulator")
    rounding: str = _key(OneOf(("half_up", "floor")), "of the membranes", default="half_up")
    threshold_steps: int = _key(
        Whole(1), "least code of a threshold whose spikes are heard; more resolve membranes, fewer leave them room", default=3
    )
    epochs: int = _key(Whole(0), "epochs of fine-tuning", default=10)
    learning_rate: float = _key(Real(0, above=True), "learning rate at the start", default=3e-3)
    frozen_epochs: int = _key(Whole(0), "of these, the last ones with frozen weight scales", default=0)
    calibration_samples: int = _key(Whole(1), "training samples that the formats are chosen from", default=256)
