"""Checks whose pages the tests read, and a reader of pages."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantLinear, lower, verify
from qleaky.dynamics import MulShift
from qleaky.export import onnx_bytes
from qleaky.integer import LIF, Add, Conv, Delay, FloatNetwork, Input, Linear, Readout, Synapse
from qleaky.report import html_report
from qleaky.verification import Report
from qleaky.verification.evidence import Evidence, collect

SPIKES = QFormat(1, 0, signed=False)
HOSTILE = (
    '<script>alert("1")</script>',
    "a\u202e\u2066evil\x00\x1b[31m\n\"'><img src=x onerror=alert(1)>",
    "</script><svg onload=alert(2)>" + "x" * 300,
    "{{ 7 * 7 }}{% for x in y %}",
)


class Net(nn.Module):
    def __init__(self, beta: float = 230 / 256) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = QuantLinear(12, 9), Leaky(beta, 0.25, state_quant=FixedPoint(8, 5))

    def forward(self, x: torch.Tensor) -> Any:
        return self.lif.sequence(self.fc(x))


def inputs(steps: int = 15, samples: int = 6) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 2, (steps, samples, 12)).astype(np.uint8)


def lowered(net: nn.Module) -> Any:
    return lower(net, torch.zeros(15, 1, 12), input_format="spikes", readout="spike_count:argmax")


def checked(folder: Path, network: Any, given: Any = None, *, module: Any = None, data: bytes | None = None) -> "Check":
    """The artefact, or ``data`` in its place, verified."""
    data = onnx_bytes(network) if data is None else data
    (folder / "net.onnx").write_bytes(data)
    report = verify(folder / "net.onnx", network, given, module=module)
    return Check(network, report, collect(data, network, report, inputs=given, module=module))


class Check:
    def __init__(self, network: IntegerNetwork | FloatNetwork, report: Report, evidence: Evidence) -> None:
        self.network, self.report, self.evidence = network, report, evidence

    def page(self, title: str = "net.onnx") -> str:
        return html_report(self.report, self.network, self.evidence, title)


def with_a_changed_weight(network: IntegerNetwork, by: int = 9) -> bytes:
    model = onnx.load_model_from_string(onnx_bytes(network))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[5, 3] += by
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    data: bytes = model.SerializeToString()
    return data


def hostile_network() -> IntegerNetwork:
    r = np.random.default_rng(0)
    first, second, third, fourth = HOSTILE
    weights: list[Any] = [r.integers(-20, 20, shape).astype(np.int8) for shape in ((9, 6), (4, 9))]
    lif = {"state": QFormat(8, 2), "theta": np.array(20, np.int8)}
    layers = (
        Linear(name=first, input='in<b>"', weight=weights[0], weight_frac_bits=2),
        LIF(name=second, input=first, **lif),  # type: ignore[arg-type]
        Linear(name=third, input=second, weight=weights[1], weight_frac_bits=2),
        LIF(name=fourth, input=third, **lif),  # type: ignore[arg-type]
    )
    readouts = (Readout(fourth, "spike_count", True),)
    return IntegerNetwork(inputs=(Input((6,), SPIKES, name='in<b>"'),), num_steps=8, layers=layers, readouts=readouts)


def maps_network() -> IntegerNetwork:
    """Events on maps, a synaptic current, a loop, and more neurons than a raster has rows."""
    r = np.random.default_rng(1)
    kernel = r.integers(-7, 8, (3, 2, 3, 3)).astype(np.int8)
    geometry: Any = {"stride": (1, 1), "pads": ((1, 1), (1, 1)), "dilation": (1, 1)}
    decay: Any = {"decay": MulShift(n=4), "multiplier": np.array(14)}
    synapse = Synapse(state=QFormat(10, 2), **decay)
    layers = (
        Delay(name="back", input="lif", shape=(3, 7, 8), frac_bits=0, low=0, high=1),
        Conv(name="conv", input="input", weight=kernel, weight_frac_bits=1, **geometry),
        Add(name="sum", inputs=("conv", "back"), signs=(1, -1)),
        LIF(name="lif", input="sum", state=QFormat(8, 1), theta=np.array(9), synapse=synapse, **decay),
    )
    inputs = (Input((2, 7, 8), QFormat(3, 0)),)
    return IntegerNetwork(inputs=inputs, num_steps=5, layers=layers, readouts=(Readout("lif", "spike_count"),))


class Reader(HTMLParser):
    """What a page is made of."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        where = {"script": self.scripts, "style": self.styles}.get(self.open[-1] if self.open else "", self.text)
        where.append(data)

    def tags(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def words(self) -> str:
        """All that a reader sees, with single spaces."""
        return " ".join(" ".join(self.text).split())
