"""Layers that never spike cannot be calibrated."""

from __future__ import annotations

import warnings

from torch import nn

from qleaky.calibration.measuring import batch_size, run
from qleaky.calibration.readouts import Readouts
from qleaky.calibration.samples import Samples
from qleaky.errors import InputError
from qleaky.lowering.stages import ends


def check_alive(net: nn.Module, samples: Samples, read: Readouts) -> tuple[str, ...]:
    """Notes about last layers that never spike.

    Raises:
        InputError: a layer whose spikes are needed never spikes on any sample.
    """
    silent = {neurons.name for neurons in samples.graph.neurons}
    for batch in samples.batches(batch_size(samples)):
        silent -= {name for name, spikes in run(net, batch).spikes.items() if bool(spikes.any())}
        if not silent:
            return ()
    last = {neurons.name for neurons in ends(samples.graph)}
    for name in (n.name for n in samples.graph.neurons if n.name in silent - last):
        raise InputError(
            f"calibration_inputs: layer {name!r} never spikes on any of the {samples.count} samples, so nothing behind it can "
            f"be calibrated. Check that they are scaled as in training (input_format too), pass more of them, or train the "
            f"layer to fire."
        )
    notes = []
    for name in sorted(silent):
        if "membrane" in read.kinds.get(name, ""):
            continue
        if read.kinds.get(name):
            raise InputError(
                f"calibration_inputs: layer {name!r} never spikes on any of the {samples.count} samples, but its spikes are "
                f"the readout. Read its membranes with readout='membrane_mean', or pass samples on which it fires."
            )
        notes.append(f"layer {name!r} never spikes on the calibration samples; its format is chosen by its membranes alone")
        warnings.warn(f"quantize: {notes[-1]}.", stacklevel=4)
    return tuple(notes)
