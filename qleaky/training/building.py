"""The data set and the untrained network of a recipe, checked against each other before anything trains."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from qleaky.datasets import DataSet, load
from qleaky.errors import InputError
from qleaky.models import build
from qleaky.neuron import Leaky
from qleaky.recipes import Recipe
from qleaky.training.samples import Samples
from qleaky.training.user_code import call


def data_from_recipe(recipe: Recipe, folder: str | os.PathLike[str] | None = None) -> DataSet:
    """The data set that ``[data]`` names.

    Args:
        recipe: the recipe.
        folder: where the files of data sets are that do not ship with the package; ``data.build`` gets it as it is.

    Raises:
        InputError, ArtefactError: there is no such data set, or files of it are missing or damaged.
    """
    reference = recipe.data.build
    if reference is None:
        return load(recipe.data.name, folder)
    data = call("data.build", reference, recipe.folder, folder)
    if not isinstance(data, DataSet):
        raise InputError(f'data.build = "{reference}" returned a {type(data).__name__}; return a qleaky.datasets.DataSet.')
    return data


def network_from_recipe(recipe: Recipe, data: DataSet | None = None) -> nn.Module:
    """The float network that ``[model]`` describes, its weights drawn from torch's generator.

    It takes (B, ...) of static data or (T, B, ...) of sequences, and returns spikes and membranes (T, B, classes) of its last
    layer. ``model.build`` is called with the recipe.

    Raises:
        InputError: layers that do not follow each other, or a network that does not fit the data.
    """
    reference = recipe.model.build
    if reference is None:
        return build(recipe.model, data)
    net = call("model.build", reference, recipe.folder, recipe)
    if not isinstance(net, nn.Module):
        raise InputError(f'model.build = "{reference}" returned a {type(net).__name__}; return a torch.nn.Module.')
    return net


def check_outputs(net: nn.Module, samples: Samples, classes: int) -> None:
    """Run two samples through the network: what it returns must be spikes and membranes of every class.

    Raises:
        InputError: it fails, or returns something else.
    """
    few = samples[torch.arange(min(2, len(samples)))]
    restart(net.eval())
    try:
        with torch.no_grad():
            result = net(few.values())
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"The network fails on samples of shape {tuple(few.codes.shape)}: {error}") from error
    restart(net)
    shapes = [tuple(part.shape) for part in result if isinstance(part, Tensor)] if isinstance(result, tuple) else []
    if len(shapes) != 2 or any(len(shape) != 3 or shape[1:] != (len(few), classes) for shape in shapes):
        returned = " and ".join(map(str, shapes)) or type(result).__name__
        raise InputError(
            f"The network returns {returned}; training needs (spikes, membranes) of the last layer, each (T, B, {classes}): "
            f"{len(few)} samples and {classes} classes here."
        )


def restart(net: nn.Module) -> None:
    """Empty the membranes that layers keep themselves: every batch begins at zero."""
    for module in net.modules():
        if isinstance(module, Leaky):
            module.reset_mem()
