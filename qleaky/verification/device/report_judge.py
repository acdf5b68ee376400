"""Judging a device's ``report.json``: its answers against the reference, which the host runs again."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from qleaky._files import write_atomically
from qleaky._strict_json import printable
from qleaky.errors import ArtefactError, InputError
from qleaky.export.bundle_entries import GoldenVectors, Network
from qleaky.integer import IntegerNetwork
from qleaky.verification.compare import Divergence
from qleaky.verification.device.answers import Expected
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.graphs import check_bundle
from qleaky.verification.device.nonce import check_nonce, nonce_inputs
from qleaky.verification.device.report_file import DeviceFile
from qleaky.verification.device.run_judge import Judge, RunCheck, name_of
from qleaky.verification.history import tell

KNOWN = "CPUExecutionProvider"  # as verify's own runs: other providers, and WebAssembly, have kernels of their own
DeviceVerdict = Literal["proved", "measured", "differs", "no verdict"]


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a device's report is worth.

    ``verdict``: "proved" (a theorem for the contract; the bundle's graphs are those that it speaks of; for each of them the
    device's digests are the reference's, and no run differs), "measured" (the same without the theorem, ``reasons`` say why),
    "differs", or "no verdict" (no run was compared). ``nonce`` is the one that was answered, None without. ``notes`` are what
    else a reader should know.
    """

    verdict: DeviceVerdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    nonce: str | None
    runs: tuple[RunCheck, ...]
    contract_digest: str
    manifest_sha256: str
    validator: str
    device: dict[str, str]
    peak_memory_bytes: int | None

    @property
    def exact(self) -> bool:
        """Bit-for-bit is a theorem for the graphs of the bundle, and no run of this device contradicts it."""
        return self.verdict == "proved"

    @property
    def compared(self) -> int:
        """How many numbers the device says it compared."""
        return sum(run.compared for run in self.runs)

    @property
    def first_divergence(self) -> Divergence | None:
        """Where the first differing run first differs: layer, step, sample, element, expected, got."""
        return next((run.first_divergence for run in self.runs if run.first_divergence is not None), None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(path, msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2) + b"\n")


def check_report(report: str | os.PathLike[str], bundle: Bundle, network: Network, nonce: str | None = None) -> DeviceReport:
    """Check what a device reports of a bundle.

    The reference runs again, on the bundle's golden inputs and on the vectors of the nonce, and every digest of the report is
    compared with what it gives. Nothing of the bundle is executed.

    Args:
        report: the ``report.json``.
        bundle: the bundle it was made with.
        network: the contract.
        nonce: the word that the device was given; None takes the report's own, which proves nothing about when it was made.

    Raises:
        ArtefactError: a damaged report; one of another bundle or network; no answer to the nonce, or to another; answers that
            contradict the report's own verdict; a bundle that is not the network's.
        InputError: a nonce that is none, or one for a FloatNetwork.
    """
    said = DeviceFile.load(report)
    where = os.fspath(report)
    _check_belongs(said, bundle, network, where)
    reasons = check_bundle(bundle, network)
    notes = _check_nonce(said, network, nonce, where)
    golden = Expected.golden(network, bundle.inputs())
    if not golden.same(GoldenVectors(bundle.inputs(), bundle.outputs(), bundle.digests(), ())):
        raise ArtefactError(
            f"{bundle.path}: its golden outputs or digests are not those of the contract {network.digest[:12]}. Make it again."
        )
    drawn = None
    if said.nonce is not None and isinstance(network, IntegerNetwork):
        drawn = Expected.on(network, nonce_inputs(network, said.nonce))
    judge = Judge(bundle, golden, drawn, where)
    runs = tuple(_told(judge.run(run), bundle, network, golden) for run in said.runs)
    reasons += _missing(bundle, said) + _unknown(runs)
    notes += tuple(
        f"{name_of(run)}: the device ran {run.samples} of the bundle's {bundle.manifest.samples} samples."
        for run in runs
        if run.verdict != "no verdict" and run.samples < bundle.manifest.samples
    )
    return DeviceReport(
        verdict=_verdict(runs, reasons),
        reasons=reasons,
        notes=notes + tuple(f"{name_of(run)}: no verdict: {run.reason}" for run in runs if run.verdict == "no verdict"),
        nonce=said.nonce,
        runs=runs,
        contract_digest=said.contract_digest,
        manifest_sha256=said.manifest_sha256,
        validator=said.validator,
        device={printable(key): printable(value, 300) for key, value in said.device.items()},
        peak_memory_bytes=said.peak_memory_bytes,
    )


def _check_belongs(said: DeviceFile, bundle: Bundle, network: Network, where: str) -> None:
    if said.manifest_sha256 != bundle.manifest_sha256:
        raise ArtefactError(
            f"{where} is the report of another bundle: of manifest {said.manifest_sha256[:12]}, this one's is "
            f"{bundle.manifest_sha256[:12]}. Pass the bundle that the device had."
        )
    if said.contract_digest != network.digest:
        raise ArtefactError(
            f"{where} is of contract {said.contract_digest[:12]}, the network is {network.digest[:12]}. Pass the network that "
            f"the bundle was made from."
        )


def _check_nonce(said: DeviceFile, network: Network, nonce: str | None, where: str) -> tuple[str, ...]:
    """Refuse answers to another nonce than was asked; what to note where none was."""
    if nonce is not None:
        check_nonce(nonce)
        if not isinstance(network, IntegerNetwork):
            raise InputError("A FloatNetwork has no reference for the vectors of a nonce; check its report without one.")
        if said.nonce is None:
            raise ArtefactError(
                f"{where} was made without a nonce, so its answers may be copies. Run validate.py --nonce {nonce} on the "
                f"device."
            )
        if said.nonce != nonce:
            raise ArtefactError(
                f"{where} answers the nonce '{printable(said.nonce)}', not {nonce!r}: it was made for another check. Run "
                f"validate.py --nonce {nonce} on the device."
            )
        return ()
    if said.nonce is not None:
        return (f"the nonce '{printable(said.nonce)}' is the report's own: pass the one you gave out, with --nonce.",)
    return ("there was no nonce: whoever has the bundle could have written these answers without running anything.",)


def _told(run: RunCheck, bundle: Bundle, network: Network, golden: Expected) -> RunCheck:
    """A run with the story of the neuron that diverged, as far as the reference knows it."""
    found = run.first_divergence
    if found is None or found.kind == "out" or not isinstance(network, IntegerNetwork):
        return run
    story = tell(found, network, bundle.inputs(), golden.recording, got=None)
    return msgspec.structs.replace(run, first_divergence=story)


def _missing(bundle: Bundle, said: DeviceFile) -> tuple[str, ...]:
    """Graphs of the bundle that no run found equal."""
    equal = {run.model_sha256 for run in said.runs if run.verdict == "equal"}
    files = bundle.manifest.files
    return tuple(
        f"the report has no run in which {artefact.model} was equal."
        for artefact in bundle.manifest.artefacts
        if files[artefact.model].sha256 not in equal
    )


def _unknown(runs: tuple[RunCheck, ...]) -> tuple[str, ...]:
    """Where nodes ran of which nobody knows that they compute as ONNX defines, which is what the theorem speaks of."""
    compared = [run for run in runs if run.verdict != "no verdict"]
    providers = {name for run in compared for name, nodes in run.assigned.items() if nodes and name != KNOWN}
    return tuple(
        f"that {name} computes every operator as ONNX defines it is measured, not known." for name in sorted(providers)
    )


def _verdict(runs: tuple[RunCheck, ...], reasons: tuple[str, ...]) -> DeviceVerdict:
    found = {run.verdict for run in runs}
    if "differs" in found:
        return "differs"
    if "equal" not in found:
        return "no verdict"
    return "measured" if reasons else "proved"
