"""Layers looked at as a whole: quantizers on the input, and Brevitas' weight layers."""

from __future__ import annotations

from torch import nn

from qleaky.brevitas_adapter import brevitas_weights, from_brevitas
from qleaky.errors import InputError
from qleaky.quantizers import FixedPoint
from qleaky.tracing.events import Event
from qleaky.tracing.overrides import overrides
from qleaky.tracing.symbols import Symbol, Symbols
from qleaky.tracing.window_operations import convolved


def leaf_layer(symbols: Symbols, event: Event) -> Symbol:
    """The symbol of what a leaf layer gives back."""
    module = event.module
    assert module is not None
    if isinstance(module, FixedPoint) or (hasattr(module, "act_quant") and not hasattr(module, "weight")):
        return _input_quantizer(symbols, event, module)
    if type(module).__module__.startswith("brevitas.") and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return _brevitas_layer(symbols, event, module)
    raise symbols.refuse(event, _unsupported(module))


def _unsupported(module: nn.Module) -> str:
    package, kind = type(module).__module__.partition(".")[0], type(module).__name__
    if package == "snntorch":
        hint = "convert the network with qleaky.from_snntorch(net)" if kind == "Leaky" else "only Leaky is supported"
    elif package == "brevitas":
        hint = "quantize weights with QuantLinear or QuantConv layers, and membranes with state_quant"
    else:
        hint = "quantize membranes with state_quant, and the input with a qleaky.FixedPoint of its own"
    return f"{package}.{kind} cannot be exported; {hint}."


def _input_quantizer(symbols: Symbols, event: Event, module: nn.Module) -> Symbol:
    """A quantizer on an input declares the input's format; elsewhere it has no place."""
    source = symbols.of(event.refs[0])
    name = source.node["name"] if source.node.kind == "input" else None
    if name is None:
        what = repr(source.node.path) if source.node.path else f"the {source.node.kind}"
        raise symbols.refuse(event, f"a quantizer on what {what} computes; only the inputs and the states may be quantized.")
    try:
        quantizer = module if isinstance(module, FixedPoint) else from_brevitas(module)
    except InputError as error:
        raise symbols.refuse(event, str(error)) from error
    if found := overrides(module):
        raise symbols.refuse(event, " ".join(found))
    if symbols.formats.setdefault(name, quantizer.format) != quantizer.format:
        raise symbols.refuse(event, f"a second quantizer, {quantizer.format}, on an input that has {symbols.formats[name]}.")
    return source


def _brevitas_layer(symbols: Symbols, event: Event, module: nn.Linear | nn.Conv1d | nn.Conv2d) -> Symbol:
    for place in ("input_quant", "output_quant"):
        if getattr(getattr(module, place, None), "is_quant_enabled", False):
            raise symbols.refuse(
                event,
                f"the layer has an {place}, which cannot be exported; quantize the network's input with a layer of its "
                f"own, and "
                f"membranes with state_quant.",
            )
    weight, bias = brevitas_weights(module)
    if isinstance(module, nn.Linear):
        source = symbols.of(event.refs[0])
        return symbols.node(event, "linear", [source], symbols.sample_shape(event, source), (weight, bias))
    if module.padding_mode != "zeros":
        raise symbols.refuse(event, f"padding_mode={module.padding_mode!r} has no integer form; pad with zeros.")
    settings = (module.stride, module.padding, module.dilation, module.groups)
    return convolved(symbols, event, event.args[0], weight, bias, settings)
