"""What a verdict means, in sentences for someone who meets it for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qleaky.report.text import listed, plural, visible
from qleaky.verification.compare import Comparison, Divergence

if TYPE_CHECKING:
    from qleaky.verification.report import Report

FLOATS = (
    "Sums of floating-point numbers depend on the order in which they are added, so runtimes part in the last digits; a spike "
    "changes where a membrane is that close to its threshold."
)


@dataclass(frozen=True)
class Statement:
    """One claim, its verdict, and what that rests on."""

    claim: str
    verdict: str
    grounds: tuple[str, ...]


def headline(report: Report) -> str:
    """The verdict as one sentence."""
    compared, samples = plural(report.compared, "number"), plural(report.samples, "sample")
    match report.verdict:
        case "proved":
            return f"The same integers for every input, by a theorem; and {compared} of {samples} compared, 0 differ."
        case "measured":
            return f"{compared} of {samples} compared, 0 differ. There is no theorem for other inputs."
        case "differs":
            return f"{report.mismatches:,} of {compared} differ, on {samples}."


def statements(report: Report, floats: bool) -> Iterator[Statement]:
    """What is said of the artefact, and of the torch network if that was compared."""
    total = sum((run.comparison for run in report.runs), Comparison())
    against = "what torch computed" if floats else "the contract"
    grounds = [*_grounds(report.artefact_verdict, total), *_by_runtime(report)]
    grounds += [FLOATS] if floats and total.mismatches else []
    yield Statement(f"The artefact computes {against}", report.artefact_verdict, tuple(grounds))
    if report.torch is not None and report.torch_verdict is not None:
        claim = "The torch network computes the contract"
        yield Statement(claim, report.torch_verdict, tuple(_grounds(report.torch_verdict, report.torch)))


def _by_runtime(report: Report) -> Iterator[str]:
    """Of several runtimes, which it is that differ: the others say that the file is not at fault."""
    found = {visible(name): each.mismatches for name, each in report.by_runtime.items()}
    differing, equal = ([name for name, count in found.items() if bool(count) is wrong] for wrong in (True, False))
    if differing and equal:
        yield f"In {listed(differing)} numbers differ, in {listed(equal)} none does."


def _grounds(verdict: str, comparison: Comparison) -> Iterator[str]:
    kinds = ((comparison.spikes, "spike"), (comparison.membranes, "membrane"), (comparison.outputs, "output"))
    counts = listed([plural(count, what) for count, what in kinds if count])
    if verdict == "proved":
        yield (
            "A theorem: for every input in the declared range, every sum on the way stays within the numbers that are counted "
            "without rounding. The bounds are in the table of layers below."
        )
    elif verdict == "measured":
        yield "No theorem stands behind it (the reasons are below); for other inputs than these nothing is promised."
    if comparison.mismatches:
        wrong = (comparison.spike_mismatches, comparison.membrane_mismatches, comparison.output_mismatches)
        found = [plural(count, what) for count, (_, what) in zip(wrong, kinds, strict=True) if count]
        yield f"This run: {counts} were compared; {listed(found)} differ."
        if comparison.first_divergence is not None:
            yield f"First at {place(comparison.first_divergence)}."
    else:
        yield f"This run: {counts} were compared, and not one differs."


def place(divergence: Divergence) -> str:
    """Where two runs part."""
    shown = Divergence(
        *(visible(divergence.layer), divergence.kind, divergence.step, divergence.sample, divergence.element),
        *(divergence.expected, divergence.got),
    )
    return str(shown)


GLOSSARY: tuple[tuple[str, str], ...] = (
    ("spike", "What a neuron emits at a time step: 0 or 1, or a count."),
    ("membrane", "A neuron's state: it decays, takes up the current that comes in, and is reset when the neuron fires."),
    ("code", "A whole number that stands for a value: value = code × 2⁻ᶠ, with f fractional bits."),
    ("contract", "The network as whole numbers: every weight, threshold and rounding, kept in a .qleaky file."),
    ("reference", "A slow, plain program that computes the contract in whole numbers. Everything is compared with it."),
    ("artefact", "The file that ships: an ONNX graph. It is run here unchanged."),
    (
        "theorem",
        "Bounds on every sum, for all inputs in the declared range. Whole numbers up to 2²⁴ have no rounding in float32, up "
        "to 2³¹ - 1 they fit 32-bit integers; within them, no order of summation and no machine can change a result.",
    ),
    ("carrier", "The type of number in which the artefact computes a layer."),
    (
        "synaptic operations",
        "Additions (ACs, where what comes in is -1, 0 or 1) or multiply-additions (MACs) of weights. Dense: all of them; "
        "effective: those where weight and input both differ from zero. NeuroBench's definitions.",
    ),
    ("sparsity", "The share of zeros: of activations (a neuron at a step), or of connections (weights)."),
)
