"""Judging the runs of a device's report, one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from qleaky._strict_json import printable
from qleaky.errors import ArtefactError
from qleaky.export.bundle_entries import INT32
from qleaky.verification.compare import Divergence
from qleaky.verification.device.answers import Expected, Spot
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.nonce import SAMPLES
from qleaky.verification.device.report_file import DeviceRun, Latency, Place

DISHONEST = "the report says equal, but its digests are not those of the contract: it is no honest run"


class RunCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One graph on one execution provider of the device, as the host judges it.

    ``reason`` says why there is no verdict, or what differs; ``first_divergence`` is None where nothing does, or where the
    device did not see it (on the vectors of a nonce).
    """

    form: str
    carrier: str
    provider: str
    assigned: dict[str, int]
    verdict: Literal["equal", "differs", "no verdict"]
    reason: str
    samples: int
    compared: int
    differing: int
    first_divergence: Divergence | None
    latency_ms: Latency | None


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares a report's runs with what they must be."""

    bundle: Bundle
    golden: Expected
    drawn: Expected | None
    where: str

    def run(self, run: DeviceRun) -> RunCheck:
        """One run."""
        self._check_graph(run)
        verdict, reason, first = run.verdict, printable(run.reason, 300), None
        if run.verdict == "equal":
            self._check_equal(run)
        if run.verdict == "no verdict":
            self._check_undecided(run)
        if run.verdict == "differs":
            first = self._divergence(run)
        if run.verdict != "no verdict" and (spot := self._nonce(run)) is not None:
            verdict, reason = "differs", f"on the vectors of the nonce {at(spot)} is not the contract's"
        return RunCheck(
            form=run.form,
            carrier=run.carrier,
            provider=printable(run.provider),
            assigned={printable(name): count for name, count in run.assigned.items()},
            verdict=verdict,
            reason=reason,
            samples=run.samples,
            compared=run.numbers_compared,
            differing=run.tensors_differing,
            first_divergence=first,
            latency_ms=run.latency_ms,
        )

    def _check_graph(self, run: DeviceRun) -> None:
        files = self.bundle.manifest.files
        known = {(a.form, a.carrier, files[a.model].sha256, files[a.probe].sha256) for a in self.bundle.manifest.artefacts}
        if (run.form, run.carrier, run.model_sha256, run.probe_sha256) not in known:
            raise ArtefactError(f"{self.where} has a run of {run.form} ({run.carrier}) with graphs that are not in the bundle.")
        if run.samples > self.bundle.manifest.samples:
            raise ArtefactError(
                f"{self.where} has a run of {run.samples} samples; the bundle has {self.bundle.manifest.samples}."
            )

    def _check_equal(self, run: DeviceRun) -> None:
        """An honest run that is equal has the digests of the contract, and ran where it says."""
        spot = self.golden.first_wrong(run)
        if spot is not None or run.tensors_differing or run.first_divergence is not None:
            place = f" ({name_of(run)}, {at(spot)})" if spot is not None else f" ({name_of(run)})"
            raise ArtefactError(f"{self.where}: {DISHONEST}{place}.")
        if not run.assigned.get(run.provider):
            raise ArtefactError(f"{self.where}: {name_of(run)} says equal, but no node of the graph ran there.")
        if run.numbers_compared < (least := self._least(run.samples)):
            raise ArtefactError(
                f"{self.where}: {name_of(run)} says equal after {run.numbers_compared:,} numbers, but {run.samples} samples "
                f"have {least:,}: it is no honest run."
            )

    def _least(self, samples: int) -> int:
        """How many numbers so many samples have: every state and output of every step."""
        manifest = self.bundle.manifest
        steps = manifest.network.num_steps
        states = sum(steps * math.prod(entry.shape) for entry in manifest.states)
        return samples * (states + sum((steps if e.over_time else 1) * math.prod(e.shape) for e in manifest.outputs))

    def _check_undecided(self, run: DeviceRun) -> None:
        """What has no verdict has found no difference: one that it found would be its verdict."""
        if run.tensors_differing or run.first_divergence is not None:
            raise ArtefactError(f"{self.where}: {name_of(run)} has no verdict, but says what differs: it is no honest run.")

    def _divergence(self, run: DeviceRun) -> Divergence | None:
        place = run.first_divergence
        if place is None:
            return None
        try:
            found = self.golden.element(place)
        except LookupError:
            raise ArtefactError(
                f"{self.where}: {name_of(run)} differs first in {at((place.layer, place.kind, place.step))}, sample "
                f"{place.sample}, with {len(place.got):,} codes; the network has no such tensor."
            ) from None
        if found is None and not place.truncated:
            raise ArtefactError(
                f"{self.where}: {name_of(run)} says that {at((place.layer, place.kind, place.step))} differs, but the codes it "
                f"shows are the contract's: it is no honest run."
            )
        return None if found is None else self._located(place, *found)

    def _located(self, place: Place, element: tuple[int, ...], expected: int, got: int) -> Divergence:
        floats = self.bundle.manifest.network.numbers == "float32" and self.golden.is_float(place)
        right, wrong = (float(np.int32(n).view(np.float32)) if floats and n in INT32 else float(n) for n in (expected, got))
        return Divergence(printable(place.layer), place.kind, place.step, place.sample, element, right, wrong)

    def _nonce(self, run: DeviceRun) -> Spot | None:
        """The first answer to the nonce that is not the contract's; a run that differs may have ended before it answered."""
        answers = run.nonce
        if self.drawn is None or (answers is None and run.verdict == "differs"):
            return None
        if answers is None or answers.samples != SAMPLES:
            raise ArtefactError(f"{self.where} names a nonce, but has a run without the answers to its {SAMPLES} vectors.")
        return self.drawn.first_wrong(answers)


def at(spot: Spot) -> str:
    """A place in words."""
    layer, kind, step = spot
    what = {"mem": "membrane of layer", "spk": "spikes of layer", "syn": "synaptic current of layer", "out": "output"}[kind]
    return f"the {what} '{printable(layer)}'" + ("" if kind == "out" else f", step {step}")


def name_of(run: DeviceRun | RunCheck) -> str:
    """A graph on an execution provider."""
    return f"{run.form} ({run.carrier}) on {printable(run.provider)}"
