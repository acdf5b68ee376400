"""Do the vectors of ``verify`` catch faults? Mutants of exported graphs, what caught them, and proofs about the rest.

    pip install z3-solver
    OMP_NUM_THREADS=1 python benchmarks/mutations.py [--write docs/mutations.md]

Small networks of every kind and trained ones, in every form and carrier. What the vectors do not catch is tried on all
inputs where a network has few enough, else a proof is looked for. Exits 1 if a fault is left that neither was caught nor
proved to change nothing, but for those that :func:`undecided` names.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mutations_networks import SMALL, TRAINED, every_input, small, trained
from mutations_table import others, page
from numpy.typing import NDArray

from qleaky import IntegerNetwork
from qleaky._files import write_atomically
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS, FORMS
from qleaky.verification.mutants import Examination, Mutant, mutants
from qleaky.verification.vectors import vectors

OUTCOMES = ("caught", "equal: all inputs", "equal: bounds", "equal: z3", "missed", "open")
EACH_SMALL, EACH_TRAINED, SAMPLES = 16, 16, 64


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant, with the finding or the proof; ``at_random``: as many random samples caught it."""

    where: str
    mutant: Mutant
    result: str
    at_random: bool
    how: str

    def __str__(self) -> str:
        return f"{self.where}: {self.mutant}: {self.how}"


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with the inputs on which its mutants are tried."""

    name: str
    network: IntegerNetwork
    exhaustible: bool
    provers: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def adversarial(self) -> Examination:
        return Examination(self.network, vectors(self.network, samples=SAMPLES).codes)

    @cached_property
    def random(self) -> Examination:
        return Examination(self.network, random_inputs(self.network))

    @cached_property
    def exhaustive(self) -> Examination:
        return Examination(self.network, every_input(self.network))


def random_inputs(network: IntegerNetwork) -> dict[str, NDArray[Any]]:
    """As many samples as the vectors have: codes drawn from the whole range at densities from 0 to 1, else at rest."""
    rng, found = np.random.default_rng(0), {}
    for source in network.inputs:
        steps, fmt = network.num_steps if source.time == "sequence" else 1, source.format
        shape = (steps, SAMPLES, *source.shape)
        active = rng.random(shape) < rng.random(SAMPLES).reshape(-1, *[1] * len(source.shape))
        codes = np.where(active, rng.integers(fmt.lowest, fmt.highest + 1, shape), fmt.zero_point).astype(fmt.dtype)
        found[source.name] = codes if source.time == "sequence" else codes[0]
    return found


def subjects(names: Sequence[str]) -> Iterator[Subject]:
    for name in names:
        yield Subject(name, small(name) if name in SMALL else trained(name), name in SMALL)


def campaign(found: Subject, count: int, seed: int = 0) -> Iterator[Outcome]:
    """``count`` mutants of each form and carrier."""
    for form in FORMS[1:]:
        for carrier in CARRIERS:
            where, data = f"{found.name}, {form}, {carrier}", onnx_bytes(found.network, form, carrier)
            for mutant in mutants(data, count, zlib.crc32(where.encode()) + seed):
                yield outcome(found, where, data, mutant)


def outcome(found: Subject, where: str, data: bytes, mutant: Mutant) -> Outcome:
    caught = found.adversarial.finding(mutant.data)
    at_random = found.random.finding(mutant.data) is not None
    if caught is not None:
        return Outcome(where, mutant, "caught", at_random, caught)
    if found.exhaustible:
        shown = found.exhaustive.finding(mutant.data)
        if shown is not None:
            return Outcome(where, mutant, "missed", at_random, shown)
        samples = next(iter(found.exhaustive.recording.spikes.values())).shape[1]
        return Outcome(where, mutant, "equal: all inputs", at_random, f"equal on all {samples:,} inputs")
    if at_random:
        return Outcome(where, mutant, "missed", at_random, "random samples caught it")
    proof = prover(found, where, data).proof(mutant.data)
    if proof is None:
        return Outcome(where, mutant, "open", at_random, "not caught, not proved equivalent")
    return Outcome(
        where,
        mutant,
        f"equal: {proof.by}",
        at_random,
        f"{proof.of} come out equal, by {proof.by}" if proof.of else "it meets only neurons that never fire",
    )


def prover(found: Subject, where: str, data: bytes) -> Any:
    from mutations_proofs import Prover

    if where not in found.provers:
        found.provers[where] = Prover(found.network, data)
    return found.provers[where]


def undecided(found: Outcome) -> bool:
    """Whether nobody knows if a fault changes anything: saturation of the deeper layers of a trained network.

    That they saturate (on one side, or at one step) depends on what all spikes before them can be together. The search found no
    input that leads there, bounds of single neurons do not exclude it, and formulas of whole networks are beyond z3.
    """
    first = found.mutant.layer.endswith("1")
    return (
        found.result == "open" and found.where.split(", ")[0] in TRAINED and found.mutant.operator == "saturation" and not first
    )


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What was not caught, and not proved equal either."""
    return [each for each in outcomes if each.result in ("missed", "open") and not undecided(each)]


def run(names: Sequence[str], count: Callable[[str], int], say: Callable[[str], None] = print, seed: int = 0) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for found in subjects(names):
        start = time.perf_counter()
        here = list(campaign(found, count(found.name), seed))
        counts = Counter(each.result for each in here)
        say(f"{found.name}: {len(here)} mutants, {dict(counts)}, {time.perf_counter() - start:.0f} s")
        for each in here:
            if each.result in ("missed", "open"):
                say(f"  {each.result}: {each}")
        outcomes += here
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("networks", nargs="*", help="which; all without any")
    parser.add_argument("--small", type=int, default=EACH_SMALL, help="mutants of each artefact of a small network")
    parser.add_argument("--trained", type=int, default=EACH_TRAINED, help="mutants of each artefact of a trained network")
    parser.add_argument("--seed", type=int, default=0, help="other mutants")
    parser.add_argument("--others", type=int, default=0, help="add the totals of so many more seeds to the page")
    parser.add_argument("--write", metavar="FILE", help="write the table into this page")
    options = parser.parse_args()
    names = options.networks or [*SMALL, *TRAINED]
    draws = {
        seed: run(names, lambda name: options.small if name in SMALL else options.trained, seed=seed)
        for seed in range(options.seed, options.seed + options.others + 1)
    }
    outcomes = draws.pop(options.seed)
    text = page(outcomes) + (others(draws) if draws else "")
    print(text)
    if options.write:
        replace(Path(options.write), text)
    return int(bool(failures(outcomes)))


def replace(path: Path, text: str) -> None:
    """Put a text between the two marks of a page."""
    begin, end = "<!-- printed -->\n", "<!-- end -->\n"
    before, rest = path.read_text().split(begin)
    write_atomically(path, (before + begin + text + end + rest.split(end)[1]).encode())


if __name__ == "__main__":
    sys.exit(main())
