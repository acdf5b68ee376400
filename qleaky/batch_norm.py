"""Batch normalisation folded into the layer before it, and a report of what that did to its weights."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from qleaky.errors import InputError
from qleaky.layers import QuantizedLayer

# What is folded: the layer, the BatchNorm that normalises its channels, and the dimensions of what goes between them.
_PAIRS: tuple[tuple[type[Any], type[Any], int], ...] = (
    (nn.Linear, nn.BatchNorm1d, 2),
    (nn.Conv1d, nn.BatchNorm1d, 3),
    (nn.Conv2d, nn.BatchNorm2d, 4),
)
_LAYERS = tuple(layer for layer, _, _ in _PAIRS)
_BY_FLOW = "pass sample_input=... to pair by data flow"


@dataclass(frozen=True)
class Fold:
    """One BatchNorm that was folded.

    ``layer`` took in ``batch_norm`` (both are paths; an ``nn.Identity`` is there now). ``weight_change`` is max |W_after -
    s * W_before| of the weights that the layer computes with: rounding for a float layer, the error of quantizing anew for a
    quantized one. ``step_before`` and ``step_after`` are the steps of the quantized weights, the largest where each channel
    has its own; None for a float layer.
    """

    layer: str
    batch_norm: str
    weight_change: float
    step_before: float | None
    step_after: float | None


def fold_batch_norm(net: nn.Module, sample_input: Any = None) -> nn.Module:
    """A copy of a network whose BatchNorms are folded into the layers they normalise; the original is not changed.

    ::

        s = gamma / sqrt(var + eps)
        W' = W * s        b' = (b - mean) * s + beta        per output channel

    computed in float64 and rounded once. Linear, Conv1d and Conv2d layers take part, Brevitas' and qleaky's quantized ones
    too: their float weights are replaced, and their quantizers then quantize W' and b'. In place of each BatchNorm stands an
    ``nn.Identity``; ``folded.batch_norm_folds`` is a tuple with a :class:`Fold` for each.

    Args:
        net: a network whose BatchNorms are in evaluation mode.
        sample_input: what ``net.forward`` takes, a tuple for several arguments. A copy is run on it, and a BatchNorm is
            paired with the layer whose output it gets (at every step of a loop), if nothing else uses that output. Without
            it a BatchNorm is paired with the layer registered directly before it, a Linear's output is taken to be (B, N),
            and that nothing else uses it is not checked.

    Raises:
        InputError: there is no BatchNorm, or one cannot be folded; all of them are listed.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    >>> folded = fold_batch_norm(net)
    >>> folded[1], folded.batch_norm_folds[0].layer
    (Identity(), '0')
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"fold_batch_norm: a {type(net).__name__} is no network; pass a torch.nn.Module.")
    norms = {path: module for path, module in net.named_modules() if isinstance(module, _BatchNorm)}
    if not norms:
        raise InputError(f"fold_batch_norm: the network {type(net).__name__} holds no BatchNorm; lower it as it is.")
    flow = None if sample_input is None else _Flow(net, sample_input)
    layers: dict[str, str] = {}
    problems: list[str] = []
    for path, norm in norms.items():
        try:
            _check_norm(norm)
            layers[path] = _layer_before(net, path) if flow is None else flow.layer_before(path)
            _check_pair(net, layers[path], path)
        except InputError as error:
            problems.append(f"\n  {path!r}, a {type(norm).__name__}: {error}")
    if problems:
        raise InputError(f"fold_batch_norm: {len(problems)} of {len(norms)} cannot be folded:{''.join(problems)}")
    folded = copy.deepcopy(net, {id(norm): nn.Identity().eval() for norm in norms.values()})
    folds = (_fold(folded.get_submodule(layers[path]), norm, layers[path], path) for path, norm in norms.items())
    folded.batch_norm_folds = tuple(folds)  # type: ignore[assignment]
    return folded


def _fold(layer: Any, norm: Any, layer_path: str, norm_path: str) -> Fold:
    """Fold one BatchNorm into a layer, in place: Brevitas' scales follow the tensor that they were made for."""
    scale, shift = _affine(norm)
    scaled = scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    with torch.no_grad():
        before, step_before = _effective(layer)
        bias = torch.zeros_like(scale) if layer.bias is None else _exact(layer.bias)
        layer.weight.copy_(_exact(layer.weight) * scaled)
        new = (bias * scale + shift).to(layer.weight)
        if layer.bias is None:
            layer.bias = nn.Parameter(new, requires_grad=layer.weight.requires_grad)
        else:
            layer.bias.copy_(new)
        if isinstance(layer, QuantizedLayer):
            layer.rescale()
        after, step_after = _effective(layer)
    return Fold(layer_path, norm_path, float((after - scaled * before).abs().max()), step_before, step_after)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """The evaluation of a BatchNorm as y = scale * x + shift, in float64."""
    scale = (_exact(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * _exact(norm.weight)
    shift = -_exact(norm.running_mean) * scale
    return scale, shift if norm.bias is None else shift + _exact(norm.bias)


def _exact(tensor: Tensor) -> Tensor:
    """A float64 copy on the CPU, as some accelerators have no float64."""
    return tensor.detach().to("cpu", torch.float64, copy=True)


def _effective(layer: Any) -> tuple[Tensor, float | None]:
    """The weights that the layer computes with, and their step if they are quantized."""
    if not isinstance(layer, QuantWeightBiasInputOutputLayer) or not layer.weight_quant.is_quant_enabled:
        return _exact(layer.weight), None
    quantized = layer.quant_weight()
    return _exact(quantized.value), float(quantized.scale.max())


def _check_norm(norm: Any) -> None:
    """Refuse a BatchNorm that is no fixed affine function."""
    if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or type(norm).forward is not _BatchNorm.forward:
        raise InputError("only BatchNorm1d and BatchNorm2d, with torch's own forward, can be folded; replace it by one.")
    if norm.running_mean is None or norm.running_var is None:
        raise InputError("it keeps no running statistics, so it depends on the batch; train it with track_running_stats=True.")
    if norm.training:
        raise InputError("it is in training mode, where it depends on the batch; call net.eval() first.")
    if not all(bool(numbers.isfinite().all()) for numbers in _affine(norm)):
        raise InputError("its statistics or parameters are not finite, or its variance is negative; train it again.")


def _layer_before(net: nn.Module, path: str) -> str:
    """Path of the layer registered directly before a BatchNorm.

    Raises:
        InputError: there is none that could be meant.
    """
    parent, _, own = path.rpartition(".")
    names = list(net.get_submodule(parent)._modules) if path else [own]
    position = names.index(own)
    if position == 0:
        raise InputError(f"nothing is registered before it; {_BY_FLOW}.")
    before = f"{parent}.{names[position - 1]}".lstrip(".")
    if not isinstance(net.get_submodule(before), _LAYERS):
        raise InputError(f"{_named(net, before)}, is registered before it, not a Linear, Conv1d or Conv2d; {_BY_FLOW}.")
    return before


def _check_pair(net: nn.Module, layer_path: str, norm_path: str) -> None:
    """Refuse a layer that cannot take the BatchNorm in, or that has other duties."""
    layer: Any = net.get_submodule(layer_path)
    norm: Any = net.get_submodule(norm_path)
    name = _named(net, layer_path)
    if not any(isinstance(layer, kind) and isinstance(norm, fitting) for kind, fitting, _ in _PAIRS):
        raise InputError(f"{name}, before it has other dimensions; fold BatchNorm1d after Linear or Conv1d, 2d after Conv2d.")
    if layer.weight.shape[0] != norm.num_features:
        raise InputError(f"it has {norm.num_features} features, {name}, has {layer.weight.shape[0]} outputs; {_BY_FLOW}.")
    _check_layer(layer, name)
    _check_sharing(net, layer, norm)


def _check_layer(layer: Any, name: str) -> None:
    """Refuse a layer that computes more than W x + b."""
    quantized = isinstance(layer, QuantWeightBiasInputOutputLayer)
    if not quantized and not any(type(layer).forward is kind.forward for kind in _LAYERS):
        raise InputError(f"{name}, has a forward of its own, so it may compute more than W x + b; use torch's layer.")
    if quantized and layer.output_quant.is_quant_enabled:
        raise InputError(f"{name}, quantizes its output before the BatchNorm; drop its output_quant.")
    if "weight" not in layer._parameters:
        raise InputError(f"{name}, computes its weight (parametrization, weight norm, pruning); make it permanent first.")
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise InputError(f"{name}, has forward hooks, which may change what it computes; remove them first.")


def _check_sharing(net: nn.Module, layer: Any, norm: Any) -> None:
    """Refuse modules and weights that are registered twice."""
    registered = [*net.named_modules(remove_duplicate=False), *net.named_parameters(remove_duplicate=False)]
    for shared in (layer, norm, layer.weight, layer.bias):
        paths = [path for path, part in registered if part is shared]
        if len(paths) > 1:
            raise InputError(f"{' and '.join(map(repr, paths))} are one and the same; give each place its own.")


def _named(net: nn.Module, path: str) -> str:
    return f"{path!r}, a {type(net.get_submodule(path)).__name__}"


class _Flow(TorchFunctionMode):
    """Who made and who used the outputs of layers when a copy of the network ran, as hooks and torch's functions see it."""

    def __init__(self, net: nn.Module, sample_input: Any) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval()
        self.paths: dict[Any, str] = {module: path for path, module in self.net.named_modules()}
        self.made: dict[int, tuple[nn.Module, Tensor, int]] = {}
        self.users: dict[int, list[nn.Module | str]] = defaultdict(list)
        self.normalised: dict[nn.Module, list[tuple[Tensor, int]]] = defaultdict(list)
        for module in self.paths:
            module.register_forward_pre_hook(self._enter, with_kwargs=True)
            module.register_forward_hook(self._leave)
        arguments = sample_input if isinstance(sample_input, tuple) else (sample_input,)
        with torch.inference_mode(False), torch.no_grad(), self:
            output = self.net(*arguments)
        self._use("the network's output", output)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._use(module, (args, kwargs))
        if isinstance(module, _BatchNorm):
            self.normalised[module] += [(tensor, tensor._version) for tensor in _tensors((args, kwargs))]

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, _LAYERS):  # holding the tensors keeps their ids their own
            self.made.update((id(tensor), (module, tensor, tensor._version)) for tensor in _tensors(output))

    def _use(self, user: nn.Module | str, values: Any) -> None:
        for tensor in _tensors(values):
            if id(tensor) in self.made:
                self.users[id(tensor)].append(user)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = list(_tensors((args, kwargs)))
        if func is not F.batch_norm and any(all(tensor is not own for own in given) for tensor in _tensors(result)):
            self._use(f"torch's {func.__name__}", given)
        return result

    def layer_before(self, path: str) -> str:
        """Path of the layer whose outputs, and nothing else, a BatchNorm normalised.

        Raises:
            InputError: there is none.
        """
        norm = self.net.get_submodule(path)
        inputs = self.normalised[norm]
        if not inputs:
            raise InputError("the run on sample_input does not reach it; pass an input that does.")
        if not all(id(tensor) in self.made for tensor, _ in inputs):
            raise InputError("its input is not the very output of a Linear, Conv1d or Conv2d; put it directly after one.")
        layers = list(dict.fromkeys(self.made[id(tensor)][0] for tensor, _ in inputs))
        if len(layers) > 1:
            raise InputError(f"it normalises {' and '.join(map(self._name, layers))}; give each its own BatchNorm.")
        if any(self.made[id(tensor)][2] != version for tensor, version in inputs):
            raise InputError(f"the output of {self._name(layers[0])} is changed in place; put it directly after the layer.")
        self._check_uses(layers[0], norm)
        return self.paths[layers[0]]

    def _check_uses(self, layer: nn.Module, norm: nn.Module) -> None:
        """Refuse outputs of a layer that do not go through the BatchNorm, once and alone, or have other dimensions."""
        expected = next(ndim for kind, _, ndim in _PAIRS if isinstance(layer, kind))
        passing = {module for module in self.paths if _hands_on(module) or norm in module.modules()} - {norm}
        passing.update(layer.modules())
        for tensor in [tensor for maker, tensor, _ in self.made.values() if maker is layer]:
            users = [user for user in self.users[id(tensor)] if user not in passing]
            if users != [norm]:
                others = [self._name(user) for user in users if user is not norm] or ["no BatchNorm, or by this one twice"]
                raise InputError(f"the output of {self._name(layer)} is used by {others[0]}; let the BatchNorm alone use it.")
            if tensor.ndim != expected:
                raise InputError(
                    f"it normalises dim 1 of {tuple(tensor.shape)}, not the output channels of {self._name(layer)}; pass "
                    f"inputs that give {expected} dimensions."
                )

    def _name(self, user: nn.Module | str) -> str:
        return user if isinstance(user, str) else repr(self.paths[user])


def _hands_on(module: nn.Module) -> bool:
    """Whether the module, in evaluation, returns what it gets."""
    return isinstance(module, (nn.Identity, _DropoutNd)) or (isinstance(module, nn.Sequential) and all(map(_hands_on, module)))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)
