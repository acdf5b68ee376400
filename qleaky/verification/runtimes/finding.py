"""Which operation a runtime computes otherwise than ONNX Runtime without optimisation does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky.export import twin
from qleaky.verification.operation import Operation
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

    def first_difference(self, wanted: Callable[[str], bool]) -> Difference | None:
        """The first value that differs while those of the ``wanted`` names are outputs, and all others are not."""
        model, shown = exposed(self.model, wanted)
        data = model.SerializeToString()
        trusted, other = (
            SequenceRunner(model, loader.load(data, setting))
            for loader, setting in ((self.trusted, self.trusted.settings[0]), (self.runtime, self.setting))
        )
        expected, got = (self._run(runner) for runner in (trusted, other))
        for step in range(len(expected)):
            found = _first(shown, expected[step], got[step])
            if found is not None:
                value, inner = found
                left, right = (each[step][value.output] for each in (expected, got))
                if inner is not None:
                    left, right = left[inner], right[inner]
                before = expected[step - 1] if step else None
                entered = trusted.entering(self.inputs, step, before) if self._is_step else self.inputs
                known = entered | _around(value, {each.name: (each, expected[step][each.output]) for each in shown}, inner)
                return Difference(value, step if self._is_step else inner, left, right, known)
        return None

    def _run(self, runner: SequenceRunner) -> list[Arrays]:
        """The outputs of all steps of a step graph, else of the whole sequence."""
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
            expected=float(found.expected[element]),
            got=float(found.got[element]) if same else "another shape",
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
        self._seen[high] = shipped
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._differs(middle) else (middle, high)
        for _ in range(MOST_WALKS):
            before = [self._makers[name] for name in self._values[high].sources if name in self._makers]
            earlier = next((i for i in before if self._is_earlier(i, high)), None)
            if earlier is None:
                return self._seen[high]
            high = earlier
        return None

    def _is_earlier(self, i: int, than: int) -> bool:
        """Whether a value differs, before another does: at an earlier step, or as an earlier value."""
        if not self._differs(i):
            return False
        steps = [found.step if (found := self._seen.get(j)) is not None and found.step is not None else -1 for j in (i, than)]
        return (steps[0], i) < (steps[1], than)

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


def _around(value: Value, shown: dict[str, tuple[Value, NDArray[Any]]], step: int | None) -> Arrays:
    """What the trusted runtime has of all values, at a step of a Scan's those of the step and the states that entered it."""
    if step is None:
        return {name: array for name, (each, array) in shown.items() if not each.per_step}
    found = {name: array[step] if each.per_step and step < len(array) else array for name, (each, array) in shown.items()}
    found |= {name: shown[of][1][step] for name, of in value.pieces.items() if of in shown}
    return found | {name: shown[of][1][step - 1] for name, of in value.states.items() if of in shown and step}


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
