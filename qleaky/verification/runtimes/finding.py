"""Which operation a runtime computes otherwise than ONNX Runtime without optimisation does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky.export import twin
from qleaky.verification.operation import Operation, number
from qleaky.verification.runtimes.exposing import Value, exposed, values
from qleaky.verification.runtimes.ort import OnnxRuntime
from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting
from qleaky.verification.runtimes.sequences import SequenceRunner

UNOPTIMISED = Setting(optimize=False)
SHOWN_INPUTS = 4
MOST_WALKS = 40


def differing_operation(
    model: onnx.ModelProto, inputs: Arrays, runtime: Runtime, *, setting: Setting = UNOPTIMISED, trusted: Runtime | None = None
) -> Operation | None:
    """The first operation, in the order of execution, whose inputs agree in both runtimes and whose output differs.

    All values of the graph become outputs, those in the body of a Scan for every step. Where that makes the difference go away,
    as it stops a runtime from computing several operations as one, values become outputs one by one.

    Args:
        model: the graph.
        inputs: encoded, by name.
        runtime: the one that differs.
        setting: how it runs.
        trusted: the other one, at its first setting; None: ONNX Runtime without optimisation.

    Returns:
        None where both compute the same, or the operation cannot be found.
    """
    pair = _Pair(model, inputs, runtime, setting, trusted or OnnxRuntime())
    found = pair.first_difference(lambda _: True)
    if found is not None:
        return pair.operation(found, alone=True)
    hidden = _Search(pair, values(model)).first()
    return None if hidden is None else pair.operation(hidden, alone=False)


@dataclass(frozen=True)
class Difference:
    """A value of which two runtimes have other numbers, at a step or in all, and what the trusted one has of all values."""

    value: Value
    step: int | None
    expected: NDArray[Any]
    got: NDArray[Any]
    context: Arrays


class _Pair:
    """Two runtimes that run the same graph on the same inputs."""

    def __init__(self, model: onnx.ModelProto, inputs: Arrays, runtime: Runtime, setting: Setting, trusted: Runtime) -> None:
        self.model, self.inputs, self.runtime, self.setting, self.trusted = model, inputs, runtime, setting, trusted
        self._is_step = twin.metadata(model).get("qleaky.form") == "step"

    def first_difference(self, wanted: Any) -> Difference | None:
        """The first value that differs while those of the ``wanted`` names are outputs, and all others are not."""
        model, shown = exposed(self.model, wanted)
        data = model.SerializeToString()
        runs = [
            self._run(model, loader.load(data, setting))
            for loader, setting in ((self.trusted, self.trusted.settings[0]), (self.runtime, self.setting))
        ]
        for step, (expected, got) in enumerate(zip(*runs, strict=True)):
            if (found := _first(shown, expected, got)) is not None:
                value, inner = found
                time = step if self._is_step else inner
                left, right = (each[value.output] if inner is None else each[value.output][inner] for each in (expected, got))
                return Difference(value, time, left, right, _context(shown, expected, inner))
        return None

    def _run(self, model: onnx.ModelProto, executor: Any) -> list[Arrays]:
        """The outputs of all steps of a step graph, else of the whole sequence."""
        runner = SequenceRunner(model, executor)
        return runner.steps(self.inputs) if self._is_step else [runner.run(self.inputs)]

    def operation(self, found: Difference, *, alone: bool) -> Operation:
        """What is said of a difference."""
        differs = _differs(found.expected, found.got)
        element = tuple(int(i) for i in np.argwhere(differs)[0]) if differs.ndim else ()
        same = found.expected.shape == found.got.shape
        node = found.value.node
        return Operation(
            runtime=self.runtime.name,
            trusted=self.trusted.name,
            op_type=node.op_type,
            node=node.name,
            output=found.value.name,
            step=found.step,
            element=element,
            inputs=tuple(_described(name, found, element, self._known(found)) for name in node.input[:SHOWN_INPUTS] if name),
            expected=number(float(found.expected[element])),
            got=number(float(found.got[element])) if same else "another shape",
            alone=alone,
        )

    def _known(self, found: Difference) -> Arrays:
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        return constants | found.context


class _Search:
    """Looks for a value that differs while it is the only one added, and whose inputs do not."""

    def __init__(self, pair: _Pair, found: list[Value]) -> None:
        self._pair, self._values = pair, found
        self._makers = {value.name: i for i, value in enumerate(found)}
        self._seen: dict[int, Difference | None] = {}

    def first(self) -> Difference | None:
        """By halves from a shipped output that differs to a value before it that does not, then up along inputs."""
        shipped = self._pair.first_difference(lambda _: False)
        if shipped is None or shipped.value.name not in self._makers:
            return None
        low, high = -1, self._makers[shipped.value.name]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._differs(middle) else (middle, high)
        for _ in range(MOST_WALKS):
            inputs = (self._makers[name] for name in self._values[high].node.input if name in self._makers)
            before = next((i for i in inputs if i < high and self._differs(i)), None)
            if before is None:
                return self._seen.get(high) or shipped
            high = before
        return None

    def _differs(self, i: int) -> bool:
        if i not in self._seen:
            name = self._values[i].name
            found = self._pair.first_difference(lambda each: each == name)
            self._seen[i] = found if found is not None and found.value.name == name else None
        return self._seen[i] is not None


def _first(shown: list[Value], expected: Arrays, got: Arrays) -> tuple[Value, int | None] | None:
    """The first value that differs, and the step where it stands for every step; the earliest step of a Scan's body first."""
    start = 0
    while start < len(shown):
        end = start + 1
        while end < len(shown) and shown[start].per_step and shown[end].per_step:
            end += 1
        places = [(step, i) for i in range(start, end) if (step := _first_step(shown[i], expected, got)) is not None]
        if places:
            step, i = min(places)
            return shown[i], step if shown[i].per_step else None
        start = end
    return None


def _first_step(value: Value, expected: Arrays, got: Arrays) -> int | None:
    left, right = expected[value.output], got[value.output]
    differs = _differs(left, right)
    if not differs.any():
        return None
    return int(np.argwhere(differs)[0][0]) if value.per_step else 0


def _differs(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays differ as numbers; NaN equals NaN."""
    if expected.shape != got.shape:
        return np.ones(expected.shape, np.bool_)
    differs = np.asarray(expected != got)
    if expected.dtype.kind == "f":
        differs &= ~(np.isnan(expected) & np.isnan(got))
    return differs


def _context(shown: list[Value], expected: Arrays, step: int | None) -> Arrays:
    """What the trusted runtime has of each value, at one step of those inside Scans."""
    found = {}
    for value in shown:
        array = expected[value.output]
        if not value.per_step:
            found[value.name] = array
        elif step is not None and step < len(array):
            found[value.name] = array[step]
    return found


def _described(name: str, found: Difference, element: tuple[int, ...], known: Arrays) -> str:
    """An input of the operation: its number at the element where shapes fit as in elementwise operations, else its shape."""
    array = known.get(name)
    if array is None:
        return name
    try:
        picked = np.broadcast_to(array, found.expected.shape)[element]
    except ValueError:
        return f"{name} {array.dtype}{list(array.shape)}"
    return f"{name} = {float(picked):.9g}"
