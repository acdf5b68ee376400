"""Faults in what leaves the graph: a step too few, the wrong one among equals, channels exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from onnx import helper

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault
from qleaky.verification.mutants.reading import Reading


def wrong_readouts(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """Sums without the first or the last step, classes that are the last among equals, final states of the step before."""
    for site in reading.sites:
        node, output = site.node, _output_of(reading, site.name)
        if node.op_type == "ArgMax":
            yield Fault(output, "the last index among equals", partial(_last_among_equals, name=site.name))
        if node.op_type == "ReduceSum" and reading.num_steps > 1:
            for what, ends in (("last", (0, -1)), ("first", (1, 1 << 31))):
                yield Fault(output, f"the {what} step is not counted", partial(_cut, name=site.name, ends=ends))
        if node.op_type == "Add" and not site.layer and node.input[0].endswith(".state"):
            edit = partial(_take_state, output=output, state=node.input[0])
            yield Fault(output, "the last step is not counted", edit)
        for slot, value in enumerate(node.input):
            anchor = reading.anchor(value)
            if site.layer or anchor is None or anchor.kind != "mem" or not anchor.step or node.op_type == "Concat":
                continue
            earlier = f"{anchor.layer}/mem/{anchor.step - 1}"
            if earlier in reading.by_name:
                edit = partial(_take, name=site.name, slot=slot, value=earlier)
                yield Fault(output, "the state of the last step but one", edit)


def swapped_outputs(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """Two channels of an output exchanged."""
    for value in reading.model.graph.output:
        dims = value.type.tensor_type.shape.dim
        channels = int(dims[-1].dim_value) if len(dims) > 1 else 0
        for _ in range(2 if channels > 1 and not value.name.endswith(".next") else 0):
            a, b = (int(i) for i in rng.choice(channels, 2, replace=False))
            order = np.arange(channels)
            order[[a, b]] = b, a
            yield Fault(value.name, f"channels {a} and {b} swapped", partial(_reorder, name=value.name, order=order))


def _output_of(reading: Reading, value: str) -> str:
    """The output of the graph that a value becomes."""
    names = {output.name for output in reading.model.graph.output}
    while value not in names:
        users = reading.users.get(value)
        if not users:
            return value
        value = users[0][0].name
    return value


def _last_among_equals(editor: Editor, name: str) -> None:
    node = editor.node(name)
    kept = [attribute for attribute in node.attribute if attribute.name != "select_last_index"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("select_last_index", 1)])


def _cut(editor: Editor, name: str, ends: tuple[int, int]) -> None:
    first, last, axis = (editor.constant([number], np.int64) for number in (*ends, 0))
    editor.take(name, 0, editor.before(name, "Slice", editor.node(name).input[0], first, last, axis))


def _take_state(editor: Editor, output: str, state: str) -> None:
    editor.take(output, 0, state)


def _take(editor: Editor, name: str, slot: int, value: str) -> None:
    editor.take(name, slot, value)


def _reorder(editor: Editor, name: str, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    editor.become(name, "Gather", editor.node(name).input[0], editor.constant(order, np.int64), axis=-1)
