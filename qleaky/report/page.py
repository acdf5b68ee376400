"""The page of a check: one HTML file that needs nothing else, and the same bytes for the same check."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec

from qleaky._share import shared_folder
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.report import check_tables, inputs, tables, text
from qleaky.report.last_steps import Zoom, zoom
from qleaky.report.membranes import membrane, threshold
from qleaky.report.palette import DARK, LIGHT
from qleaky.report.rasters import Figure, raster
from qleaky.report.words import GLOSSARY, headline, place, statements

if TYPE_CHECKING:
    from qleaky.verification.evidence import Evidence, Sample
    from qleaky.verification.report import Report


Network = IntegerNetwork | FloatNetwork
TEMPLATE, MOST_DIGESTS = "report.html.j2", 2_000


def html_report(report: Report, network: Network, evidence: Evidence, title: str = "") -> str:
    """One HTML page that shows a check: verdict and grounds, layers, a sample in every run, activity, the first divergence.

    It asks for nothing from anywhere, runs no script, and is the same for the same arguments. Names of layers and files may be
    hostile: they are escaped, and characters that would hide or turn text are written as their numbers. The same figures are
    in it as JSON: the certificate.

    Args:
        report: from :func:`~qleaky.verification.verify`.
        network: the contract.
        evidence: from :func:`~qleaky.verification.evidence.collect`.
        title: what the page calls the artefact, such as its file's name.
    """
    data = figures_json(report)
    divergence = report.first_divergence
    focus = None if divergence is None or divergence.kind == "out" else divergence.step
    page: str = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            title=text.visible(title) or "the artefact",
            report=report,
            headline=headline(report),
            statements=list(statements(report, isinstance(network, FloatNetwork))),
            divergence=None if divergence is None else place(divergence),
            zoom=_zoom(network, report, evidence),
            samples=[(sample, list(_figures(network, sample, focus))) for sample in evidence.samples],
            layers=tables.layers(network, evidence.carried),
            neurons=tables.neurons(network),
            spiking=tables.spiking(report.activity),
            synaptic=tables.synaptic(report.activity),
            runs=check_tables.runs(report.runs),
            vectors=check_tables.vectors(report.vectors),
            coverage=check_tables.coverage(report.coverage),
            approached=check_tables.approached(report.approached),
            activity=report.activity,
            integers=isinstance(network, IntegerNetwork),
            versions=report.certificate().versions,
            glossary=GLOSSARY,
            many_digests=_many_digests(report),
            light=LIGHT,
            dark=DARK,
            json=escaped_json(data),
            link="data:application/json;base64," + base64.b64encode(data).decode(),
        )
    )
    return page


def _zoom(network: Network, report: Report, evidence: Evidence) -> Zoom | None:
    found = report.first_divergence
    if found is None or not found.history or evidence.got_by is None:
        return None
    runs = evidence.samples[0].runs
    expected = next(iter(runs))
    theta = threshold(network, found.layer, found.element, runs[expected].spikes[found.layer].shape[2:])
    return zoom(found, theta, (expected, evidence.got_by))


def figures_json(report: Report) -> bytes:
    """The certificate; without the digests of steps where these are too many to carry around twice."""
    certificate = report.certificate()
    if _many_digests(report):
        certificate = msgspec.structs.replace(certificate, digests=())
    return certificate.encode()


def _many_digests(report: Report) -> bool:
    return sum(len(each.steps) for each in report.digests) > MOST_DIGESTS


def escaped_json(data: bytes) -> str:
    """The same JSON in ASCII, without the characters that could end a script element or begin a comment."""
    return "".join(c if c.isascii() and c not in "<>&" else _escape(c) for c in data.decode())


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _figures(network: Network, sample: Sample, focus: int | None) -> Iterator[tuple[str, list[Figure]]]:
    """(heading, figures) of the inputs, then of each layer."""
    for source in network.inputs:
        yield inputs.named(source.name), [inputs.picture(network, sample, source.name, focus)]
    for lif in network.lif_layers:
        chosen = [neuron for neuron in sample.neurons if neuron.layer == lif.name]
        figures = [raster(sample, lif.name, focus), *(membrane(network, sample, neuron, focus) for neuron in chosen)]
        yield f"Layer {text.visible(lif.name)}", figures


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shared_folder("export") / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {
        "visible": text.visible, "number": text.number, "plural": text.plural, "size": text.file_size, "per": text.per,
    }  # fmt: skip
    environment.filters.update(filters)
    return environment
