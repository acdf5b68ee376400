"""Batch normalisations folded before anything is quantized."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qleaky.batch_norm import fold_batch_norm
from qleaky.calibration.samples import few
from qleaky.errors import InputError, QleakyError


def folded_copy(net: nn.Module, arguments: tuple[Any, ...], num_steps: int | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network with its batch normalisations folded, in evaluation mode, and their paths; the network itself without any."""
    if not any(isinstance(module, _BatchNorm) for module in net.modules()):
        return net, ()
    evaluated = copy.deepcopy(net).eval()
    failure: QleakyError | None = None
    for sample in few(arguments, num_steps):
        try:
            folded = fold_batch_norm(evaluated, sample)
        except QleakyError as error:
            failure = error
        except Exception as error:  # the user's forward, given a sample that it does not take
            failure = failure or InputError(f"quantize: forward fails on calibration_inputs: {error}")
        else:
            return folded, tuple(fold.batch_norm for fold in folded.batch_norm_folds)  # type: ignore[union-attr]
    assert failure is not None
    raise failure
