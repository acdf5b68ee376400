"""Rounding weights one input at a time, each error made good by the weights that are still to be rounded."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qleaky.layers.codes import Codes
from qleaky.layers.exponents import round_to_codes

MOST_INPUTS = 2048
"""Weights of one output beyond which the matrix of second moments is not worth its time."""
MOST_ROWS = 1 << 14
DAMPING = 0.01


def compensated(weight: Tensor, moments: Tensor, step: Tensor, codes: Codes) -> Tensor:
    """Weights on the grid with a small E[((W - Q) x)**2], where rounding to nearest makes each |W - Q| small.

    ::

        q_j = round(w_j)        w_k <- w_k - (w_j - q_j) U_jk / U_jj    for all k > j,    U^T U = (E[x x^T] + damping)^-1

    U is upper triangular. The recursion is that of Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training
    Quantization for Generative Pre-trained Transformers", ICLR 2023, section 3.3, with a damping of 1 % of the mean square.

    Args:
        weight: W (outputs, inputs).
        moments: E[x x^T] (inputs, inputs).
        step: of the grid, (outputs, 1) or (1, 1).
        codes: those of the layer; has_zero.

    Returns:
        Q, in the shape of W.
    """
    wide = moments.double()
    damped = wide + torch.eye(len(wide), dtype=wide.dtype, device=wide.device) * (wide.diagonal().mean() * DAMPING + 1e-12)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).to(weight)
    left, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(weight.shape[1]):
        column = left[:, j : j + 1]
        rounded[:, j : j + 1] = round_to_codes(column, step, codes) * step
        error = (column - rounded[:, j : j + 1]) / upper[j, j]
        left[:, j + 1 :] -= error * upper[j, j + 1 :]
    return rounded


def moments_of(x: Tensor, node: Any) -> Tensor | None:
    """E[x x^T] of what each output of a weighted node multiplies; None for grouped and very wide layers.

    Args:
        x: the node's input on samples, (T, B, ...).
        node: linear or conv.
    """
    weight: Tensor = node.constants[0]
    if weight[0].numel() > MOST_INPUTS:
        return None
    if node.kind == "linear":
        rows = x.reshape(-1, weight.shape[1])
    elif node["groups"] == 1:
        rows = _patches(x.flatten(0, 1), node, tuple(weight.shape[2:]))
    else:
        return None
    picked = rows[:: max(len(rows) // MOST_ROWS, 1)].double()
    return picked.T @ picked / len(picked)


def _patches(x: Tensor, node: Any, kernel: tuple[int, ...]) -> Tensor:
    """What a convolution multiplies with its kernels, (N, inputs); of many samples some."""
    widths = [width for pair in reversed(node["pads"]) for width in pair]
    places = 1
    for size in node.shape[1:]:
        places *= size
    few = x[:: max(len(x) * places // MOST_ROWS, 1)]
    padded = F.pad(few, widths)
    if len(kernel) == 1:
        padded, kernel = padded.unsqueeze(2), (1, *kernel)
    stride, dilation = (((1,) * (2 - len(each)) + tuple(each)) for each in (node["stride"], node["dilation"]))
    columns = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    return columns.transpose(1, 2).flatten(0, 1)
