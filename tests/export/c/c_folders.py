"""Files as an export would write them, with a manifest that describes them."""

import hashlib
from collections.abc import Mapping

from qleaky.export.c.manifest import (
    FILE,
    CoreEntry,
    FileEntry,
    LayerEntry,
    Manifest,
    NetworkEntry,
    SizesEntry,
    VectorsEntry,
)


def manifest(held: Mapping[str, bytes]) -> Manifest:
    entries = {name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in held.items()}
    return Manifest(
        kind="qleaky-c",
        version=1,
        created_by="qleaky 0.1.0",
        name="model",
        dsp=False,
        network=NetworkEntry(digest="0" * 64, num_steps=5, proved=True, reasons=()),
        layers=(
            LayerEntry(layer="fc", kind="linear", accumulate=12, accumulator_bits=5, largest=12, flush_interval=15),
            LayerEntry(layer="lif", kind="lif", accumulate=12, accumulator_bits=5, largest=150, flush_interval=None),
        ),
        sizes=SizesEntry(weights=6, state=16),
        expected={"cortex-m4": CoreEntry(instructions_per_step=100, code=200, stack=64)},
        vectors=VectorsEntry(seed=0, searched=6, given=0),
        files=entries,
    )


def files(held: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, and their manifest."""
    return dict(held) | {FILE: manifest(held).encode()}
