"""A network quantized by hand, layer by layer: what a calibration would give, without one."""

from torch import nn

from qleaky import FixedPoint, Leaky, MulShift, QFormat, QuantLinear
from qleaky.layers import QuantConv2d
from qleaky.models import FeedForward


def quantized(net: FeedForward, fmt: QFormat, frac_bits: int = 5, **settings: object) -> FeedForward:
    """The same network, its layers exchanged; ``fmt`` is the input's."""
    first = True
    for name, module in list(net.named_children()):
        if isinstance(module, Leaky):
            module.state_quant, module.decay = FixedPoint(8, frac_bits), MulShift(n=8)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            kind = QuantLinear if isinstance(module, nn.Linear) else QuantConv2d
            setattr(net, name, kind.from_float(module, input_format=fmt if first else "spikes", **settings))
            first = False
    return net.eval()
