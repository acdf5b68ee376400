"""Which runtimes compute the same integers: a table of verdicts by network, form and carrier, in Markdown.

    pip install '.[openvino,tract]' && npm install onnxruntime-web
    OMP_NUM_THREADS=1 python benchmarks/runtimes.py                          # prints the table
    OMP_NUM_THREADS=1 python benchmarks/runtimes.py --write docs/runtimes.md    # ... and puts it there, between its marks

``qleaky.verify`` runs each artefact in each runtime that is installed, the shipped bytes and their twin, on vectors at the ends
of the range and random ones, and compares every output, final state, spike and membrane.
"""

from __future__ import annotations

import argparse
import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, lower, models, verify
from qleaky._files import write_atomically
from qleaky.errors import ArtefactError
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS, FORMS
from qleaky.releasing.golden import Golden
from qleaky.verification.golden import synthetic_inputs
from qleaky.verification.runtimes import Runtime
from qleaky.verification.runtimes.registry import installed

T, SAMPLES = 6, 16
TRAINED = ("digits", "japanese-vowels")
BEGIN, END = "<!-- table: benchmarks/runtimes.py -->", "<!-- end of table -->"


def on_grid(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.copy_(torch.randint(-127, 128, tensor.shape, generator=generator) / 128)
    return layer


def lif(bits: int) -> Leaky:
    return Leaky(115 / 128, 2.0, init_hidden=True, state_quant=FixedPoint(8, 3) if bits == 8 else FixedPoint(16, 6))


def drawn(bits: int) -> dict[str, IntegerNetwork]:
    """Networks with random weights, dense and convolutional, with states of ``bits`` bits."""
    dense = nn.Sequential(on_grid(nn.Linear(40, 32)), lif(bits), on_grid(nn.Linear(32, 5)), lif(bits))
    conv = nn.Sequential(
        *(on_grid(nn.Conv2d(2, 4, 3, padding=1)), lif(bits), nn.AvgPool2d(2), on_grid(nn.Conv2d(4, 6, 3)), lif(bits)),
        *(nn.MaxPool2d(2), nn.Flatten(), on_grid(nn.Linear(6, 3)), lif(bits)),
    )
    return {
        f"dense, {bits}-bit states": lowered(dense, (40,), QFormat(1, 0, signed=False)),
        f"convolutional, {bits}-bit states": lowered(conv, (2, 8, 8), QFormat(8, 8, signed=False)),
    }


def lowered(net: nn.Module, shape: tuple[int, ...], fmt: QFormat) -> IntegerNetwork:
    network = lower(net, torch.zeros(2, *shape), num_steps=T, input_format=fmt, readout="membrane_mean:argmax")
    assert isinstance(network, IntegerNetwork), network.reasons
    return network


def trained(name: str) -> tuple[IntegerNetwork, Any]:
    """A network that ships, and the first of its golden inputs."""
    found = models.load(name)
    network = lower(found.network, found.sample_input, input_format=found.input_format, readout=found.readout)
    assert isinstance(network, IntegerNetwork), network.reasons
    codes = Golden.load(found.folder / "golden.npz").inputs
    return network, codes[:, :SAMPLES] if found.time == "sequence" else codes[:SAMPLES]


@dataclass
class Table:
    """Cells, and the notes that they refer to by number."""

    runtimes: Sequence[Runtime]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def note(self, text: str) -> str:
        return f"[{self.notes.setdefault(text, len(self.notes) + 1)}]"

    def text(self) -> Iterator[str]:
        versions = {name: version for each in self.runtimes for name, version in each.versions().items()}
        script = "[benchmarks/runtimes.py](../benchmarks/runtimes.py)"
        yield f"Printed by {script} on {platform.machine()}, with {listed(versions)}."
        columns = list(zip(*self.rows, strict=True))
        names = ["network", "form", "carrier", *(each.name for each in self.runtimes)]
        same = [i for i, column in enumerate(columns) if i > 2 and len(set(column)) == 1 and "no verdict" in column[0]]
        yield from (f"{names[i]}: {columns[i][0]} in all rows." for i in same)
        shown = [i for i in range(len(names)) if i not in same]
        yield f"\n| {' | '.join(names[i] for i in shown)} |"
        yield f"|{'---|' * len(shown)}"
        yield from (f"| {' | '.join(row[i] for i in shown)} |" for row in self.rows)
        yield ""
        yield from (f"{number}. {text}" for text, number in self.notes.items())


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def cell(path: Path, network: IntegerNetwork, inputs: Any, runtime: Runtime, table: Table) -> str:
    """What came of one artefact in one runtime: differing numbers of those compared, or that there is no verdict; and why."""
    try:
        report = verify(path, network, inputs, runtime=runtime)
    except ArtefactError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ArtefactError) else error
        return f"no verdict {table.note(f'{runtime.name}: {generic(str(cause))}')}"
    if not report.mismatches:
        return f"exact: 0 of {report.compared:,}"
    counts = f"**differs**: {report.mismatches:,} of {report.compared:,}"
    if not report.operations:
        return f"{counts}, operation not found"
    operation = report.operations[0]
    key = f"{runtime.name}: {operation.op_type}"
    known = next((text for text in table.notes if text.startswith(key)), f"{key}, for example {operation}")
    return f"{counts}, {operation.op_type} {table.note(known)}"


def generic(reason: str) -> str:
    """A reason without the numbers and names of one graph, and without its causes, so that other graphs share the note."""
    for pattern in (r" ?#\d+", r" ['\"][^'\"]*['\"]", r" \(\d+ by \w+\)", r"(\b[A-Za-z]+_\d+,? ?)+", r" \(\d+\)"):
        reason = re.sub(pattern, "", reason)
    return reason.partition(": ")[0].replace("|", "/").rstrip(".") + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page")
    parser.add_argument("--only", metavar="TEXT", default="", help="networks whose name holds this")
    arguments = parser.parse_args()
    text = "\n".join(measured(arguments.only).text())
    print(text)
    if arguments.write is not None:
        page = arguments.write.read_text()
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        write_atomically(arguments.write, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())


def measured(only: str) -> Table:
    every = {**drawn(8), **drawn(16)}
    pairs: dict[str, tuple[IntegerNetwork, Any]] = {
        **{name: (network, synthetic_inputs(network, SAMPLES)) for name, network in every.items()},
        **{name: trained(name) for name in TRAINED},
    }
    table = Table(installed())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for name, (network, inputs) in pairs.items():
            for form, carrier in ((form, carrier) for form in FORMS[1:] for carrier in CARRIERS if only in name):
                path.write_bytes(onnx_bytes(network, form=form, carrier=carrier))
                cells = (cell(path, network, inputs, each, table) for each in table.runtimes)
                table.rows.append((name, form, carrier, *cells))
    return table


if __name__ == "__main__":
    main()
