"""Numbers that only look like a code once they are cut, cast or wrapped are no code; a runtime that gives them differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_contracts import INPUTS, artefact, contract
from wrong_runtimes import Evaluated

from qleaky import verify
from qleaky.errors import ArtefactError, InputError
from qleaky.verification.compare import converted, differences
from qleaky.verification.runtimes import Executor, Runtime, Setting
from qleaky.verification.runtimes.registry import chosen, is_own, runtime

Tamper = Callable[[str, Any], Any]
BIG = 1 << 53


class Tampering(Runtime):
    """The reference evaluator, whose outputs then go through ``tamper``."""

    name = "tampering"
    exact = True

    def __init__(self, tamper: Tamper = lambda _, array: array, name: str = "tampering") -> None:
        self._tamper, self.name = tamper, name

    def versions(self) -> dict[str, str]:
        return {}

    def load(self, data: bytes, setting: Setting) -> Executor:
        evaluated, tamper = Evaluated(onnx.load_model_from_string(data), []), self._tamper

        class Tampered:
            def run(self, arrays: Any) -> Any:
                return {name: tamper(name, array) for name, array in evaluated.run(arrays).items()}

        return Tampered()


def only(*kinds: str) -> Callable[[Callable[[Any], Any]], Tamper]:
    def of(change: Callable[[Any], Any]) -> Tamper:
        return lambda name, array: change(array) if array.dtype.kind != "b" and any(f"/{k}" in name for k in kinds) else array

    return of


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array + np.float32(0.5) * np.sign(array),
        lambda array: np.nextafter(array, np.float32(np.inf)),
        lambda array: np.full_like(array, np.nan),
        lambda array: np.where(array == 0, np.float32("inf"), array),
    ],
    ids=["a half more", "an ulp more", "NaN", "infinity for zero"],
)
def test_floats_that_are_no_integers_are_no_codes(change: Any, form: str, tmp_path: Path) -> None:
    report = verify(artefact(tmp_path, form, "float"), contract(), INPUTS, runtime=Tampering(only("mem", "spk")(change)))
    assert report.verdict == "differs"
    found = report.first_divergence
    assert found is not None
    assert found.kind in ("mem", "spk")
    assert float(found.got) != found.expected


@pytest.mark.parametrize(
    ("expected", "got", "wrong"),
    [
        (np.array([3, -3]), np.array([3.7, -3.0]), [True, False]),
        (np.array([0, 0, -(2**63)]), np.array([np.nan, np.inf, np.nan]), [True, True, True]),
        (np.array([BIG + 1, BIG]), np.array([float(BIG), float(BIG)]), [True, False]),
        (np.array([-1, 7]), np.array([2**64 - 1, 7], np.uint64), [True, False]),
        (np.array([2**63 - 1]), np.array([2.0**63]), [True]),
        (np.array([0.1], np.float32), np.array([0.1]), [True]),
        (np.array([np.nan, 1.0], np.float32), np.array([np.nan, 1.0], np.float32), [True, False]),
        (np.array([2.0**53, 0.5]), np.array([BIG + 1, 0]), [True, True]),
        (np.array([1, 0]), np.array([True, False]), [False, False]),
        (np.array([3]), np.array([3 + 4j]), [True]),
        (np.array([3]), np.array(["3"]), [True]),
        (np.array([[3], [3]]), np.array([3]), [[True], [True]]),
    ],
)
def test_differences_round_nothing(expected: Any, got: Any, wrong: Any) -> None:
    assert differences(expected, got).tolist() == wrong


def test_only_the_same_numbers_are_converted() -> None:
    assert converted(np.array([3.0, -0.0]), np.int64).dtype == np.int64
    for kept in (np.array([3.5]), np.array([np.nan]), np.array([1e300]), np.array([2**64 - 1], np.uint64), np.array(["3"])):
        assert converted(kept, np.int64) is kept
    assert converted(np.array([0.1]), np.float32).dtype == np.float64


@pytest.mark.parametrize("form", ["unrolled", "scan"])
def test_states_of_another_shape_are_not_made_to_fit(form: str, tmp_path: Path) -> None:
    turned = only("mem")(lambda array: np.ascontiguousarray(array.swapaxes(-1, -2)))
    with pytest.raises(ArtefactError, match=r"the mem of layer 'lif1' has the shape .*, where one ending in"):
        verify(artefact(tmp_path, form, "float"), contract(), INPUTS, runtime=Tampering(turned))


def test_a_step_with_the_samples_of_another_step_is_refused(tmp_path: Path) -> None:
    def shift(name: str, array: Any) -> Any:
        return array[:0] if name == "lif1/mem/0" else np.repeat(array, 2, axis=0) if name == "lif1/mem/1" else array

    with pytest.raises(ArtefactError, match=r"lif1' has the shape \(0, 6\), \(\d+, 6\)"):
        verify(artefact(tmp_path), contract(), INPUTS, runtime=Tampering(shift))


def test_what_a_plug_in_says_of_its_exactness_is_no_ground_for_a_proof(tmp_path: Path) -> None:
    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=Tampering())
    assert (report.verdict, report.mismatches) == ("measured", 0)
    assert report.reasons == ("that runtime 'tampering' computes every operator as ONNX defines it is measured, not known.",)
    assert is_own(runtime("onnx-reference"))
    assert not is_own(Tampering())


@pytest.mark.parametrize("name", ["onnxruntime", "onnx-reference", "onnxruntime:SomeExecutionProvider"])
def test_a_runtime_with_the_name_of_one_of_qleakys_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"Tampering bears the name '{name}', which is another runtime's"):
        chosen(Tampering(name=name))


def test_two_runtimes_of_one_name_are_refused() -> None:
    class Other(Tampering):
        pass

    with pytest.raises(InputError, match="Other bears the name 'tampering', which is another runtime's"):
        chosen([Tampering(), Other()])


def test_a_runtime_without_settings_has_no_verdict(tmp_path: Path) -> None:
    class Idle(Tampering):
        settings = ()

    path = artefact(tmp_path)
    with pytest.raises(ArtefactError, match="no verdict in runtime 'tampering': it has no settings to run with"):
        verify(path, contract(), INPUTS, runtime=Idle())
    report = verify(path, contract(), INPUTS, runtime=["onnxruntime", Idle()])
    assert [(each.runtime, each.reason[:21]) for each in report.not_run] == [("tampering", "it has no settings to")]


def test_what_differs_in_one_setting_stands_where_another_fails(tmp_path: Path) -> None:
    class Halting(Tampering):
        settings = (Setting(optimize=False), Setting(optimize=True))

        def load(self, data: bytes, setting: Setting) -> Executor:
            if setting.optimize:
                raise ValueError("no optimiser")
            return super().load(data, setting)

    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=Halting(only("mem")(lambda array: array + 1)))
    assert report.verdict == "differs"
    assert [each.reason for each in report.not_run] == ["no optimiser."]
    with pytest.raises(ArtefactError, match="no verdict in runtime 'tampering': no optimiser"):
        verify(artefact(tmp_path), contract(), INPUTS, runtime=Halting())
