"""Whether the graphs of a bundle, and what its manifest says of them, are what qleaky makes of a contract."""

from __future__ import annotations

from qleaky.errors import ArtefactError
from qleaky.export import twin
from qleaky.export.artefact import Options
from qleaky.export.bundle_entries import Network, artefact_entry, state_kinds
from qleaky.export.bundle_manifest import ArtefactEntry
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.origin import artefact_reasons, check_origin


def check_bundle(bundle: Bundle, network: Network) -> tuple[str, ...]:
    """Why it is no theorem that a bundle's graphs compute the contract; none if it is one.

    Raises:
        ArtefactError: the bundle is of another network, or a twin, or what the manifest says of a graph, is another.
    """
    manifest = bundle.manifest
    if manifest.network.digest != network.digest:
        raise ArtefactError(
            f"{bundle.path} was made from another network: it names contract {manifest.network.digest[:12]}, this one is "
            f"{network.digest[:12]}. Pass the network it came from."
        )
    reasons: dict[str, None] = {}
    for artefact in manifest.artefacts:
        reasons |= dict.fromkeys(_graph_reasons(bundle, network, artefact))
    return tuple(reasons)


def _graph_reasons(bundle: Bundle, network: Network, artefact: ArtefactEntry) -> tuple[str, ...]:
    where = f"{bundle.path}: {artefact.model}"
    model = twin.parse(bundle.read(artefact.model), where)
    check_origin(twin.metadata(model), network, where)
    reasons = artefact_reasons(network, model, where)
    probe = twin.parse(bundle.read(artefact.probe), f"{bundle.path}: {artefact.probe}")
    options = Options.of(twin.metadata(model))
    data, outputs = twin.with_probes(model, state_kinds(network), options.form, network.num_steps)
    if not twin.same_model(twin.parse(data, where), probe) or artefact != artefact_entry(network, options, model, outputs):
        raise ArtefactError(
            f"{where}: its probe twin, or what the manifest says of them, is not what qleaky makes of the graph. Make the "
            f"bundle again."
        )
    return reasons
