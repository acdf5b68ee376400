"""A provider has a verdict only where it really computed nodes; and graphs are not fed more steps than sums hold."""

from pathlib import Path

import numpy as np
import pytest
from small_contracts import FORMS, INPUTS, artefact, contract, model

from qleaky import Runner, verify
from qleaky.errors import ArtefactError, InputError
from qleaky.verification.runners import CPU, providers
from qleaky.verification.running import _check_assigned
from qleaky.verification.runtimes.ort import OnnxRuntime
from qleaky.verification.runtimes.profile import nodes_by_provider

IDLE = "AzureExecutionProvider"  # every build for the CPU has it, and it takes no node of ours


def node(provider: str | None, name: str = "a", index: str = "0") -> dict[str, object]:
    args = {} if provider is None else {"provider": provider, "node_index": index}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": args}


def test_nodes_count_once_however_often_they_ran() -> None:
    events = [node("A"), node("A"), node("A", "b"), node("B"), node(None), {"cat": "Session", "args": {"provider": "A"}}]
    assert nodes_by_provider(events) == {"A": 2, "B": 1}
    assert nodes_by_provider([]) == {}


@pytest.mark.parametrize("form", FORMS)
def test_a_provider_that_computes_nothing_has_no_verdict(form: str, tmp_path: Path) -> None:
    if IDLE not in providers():
        pytest.skip(f"this build of ONNX Runtime has no {IDLE}")
    path = artefact(tmp_path, form)
    name = f"onnxruntime:{IDLE}"
    with pytest.raises(ArtefactError, match=rf"none of the graph's nodes was computed by {IDLE} \(\d+ by {CPU}\)\."):
        verify(path, contract(), INPUTS, runtime=name)
    report = verify(path, contract(), INPUTS, runtime=("onnxruntime", name))
    assert [each.runtime for each in report.not_run] == [name]
    assert {run.runtime for run in report.runs} == {"onnxruntime"}


@pytest.mark.parametrize("form", FORMS)
def test_the_nodes_that_each_provider_computed_are_counted(form: str) -> None:
    if IDLE not in providers():
        pytest.skip(f"this build of ONNX Runtime has no {IDLE}")
    graph = model(form)
    runner = Runner(graph.SerializeToString(), optimize=False, provider=IDLE)
    assert runner.assigned is None
    runner.run(INPUTS)
    nodes = len(graph.graph.node) + sum(len(a.g.node) for n in graph.graph.node for a in n.attribute if a.name == "body")
    assert runner.assigned is not None
    assert set(runner.assigned) == {CPU}
    assert nodes // 2 < runner.assigned[CPU] <= nodes


def test_a_provider_that_computed_some_nodes_has_a_verdict() -> None:
    runtime = OnnxRuntime()
    _check_assigned(runtime, {CPU: 3, "OtherExecutionProvider": 1})
    _check_assigned(runtime, None)
    with pytest.raises(ArtefactError, match=r"computed by CPUExecutionProvider \(none by any\)"):
        _check_assigned(runtime, {})


def test_the_kernels_of_the_cpu_alone_are_known_to_be_exact() -> None:
    assert OnnxRuntime().exact
    if IDLE in providers():
        assert not OnnxRuntime(IDLE).exact


@pytest.mark.parametrize("form", ["scan", "step"])
def test_more_steps_than_sums_hold(form: str) -> None:
    many = np.broadcast_to(INPUTS[:1, :1], (1_000_001, 1, 3))
    with pytest.raises(InputError, match=r"input has 1,000,001 time steps; a graph of qleaky's runs for 1 to 1,000,000\."):
        Runner(model(form).SerializeToString()).run(many)
