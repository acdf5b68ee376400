"""The JSON Schema of certificates: the kept file is the one the types give, and certificates satisfy it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from json_schemas import KNOWN, problems

from qleaky import IntegerNetwork, QFormat, export_onnx, verify
from qleaky.errors import ArtefactError
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification import Certificate
from qleaky.verification.certificate_schema import schema, schema_text
from qleaky.verification.compare import Comparison, Divergence
from qleaky.verification.divergence import HistoryStep, Term

KEPT = Path(__file__).resolve().parents[2] / "export" / "schema" / "certificate.schema.json"


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    layers = (
        Linear(name="fc", input="input", weight=np.array([[5, -3], [100, 7]], np.int8), weight_frac_bits=2),
        LIF(name="lif", input="fc", state=QFormat(8, 3), theta=np.array(20)),
    )
    parts: dict[str, Any] = {"num_steps": 4, "layers": layers, "readouts": (Readout("lif", "spike_count"),)}
    network = IntegerNetwork(inputs=(Input((2,), QFormat(8, 4)),), **parts)
    export_onnx(network, tmp_path / "net.onnx")
    return verify(tmp_path / "net.onnx", network).certificate()


def differing(certificate: Certificate) -> dict[str, Any]:
    """The certificate as JSON, with a difference and its whole story in its first run."""
    term = Term(source="input", element=(1,), value=3, weight=-5)
    step = HistoryStep(step=0, current=-15, membrane_expected=-4, membrane_found="nan", spike_expected=0, spike_found=1.5)
    found = Divergence("lif", "mem", 0, 3, (1,), -4.0, float("inf"), (step,), (term,), 7)
    comparison = json.loads(msgspec.json.encode(Comparison(9, 9, 9, 1, 2, 0, found)))
    held = json.loads(certificate.encode())
    held["runs"][0]["comparison"] = comparison
    return held | {"verdict": "differs", "artefact_verdict": "differs"}


def test_the_kept_schema_is_the_one_of_the_code() -> None:
    command = "python -m qleaky.verification.certificate_schema > export/schema/certificate.schema.json"
    assert KEPT.read_text() == schema_text(), f"run: {command}"


def test_the_schema_uses_only_keywords_that_the_check_knows() -> None:
    def keywords(rule: Any) -> set[str]:
        if not isinstance(rule, dict):
            return set()
        inner = [*rule.get("properties", {}).values(), *rule.get("anyOf", ()), *rule.get("prefixItems", ())]
        inner += [rule[key] for key in ("items", "additionalProperties") if isinstance(rule.get(key), dict)]
        return set(rule).union(*map(keywords, inner))

    used = set(schema()) | set().union(*map(keywords, schema()["$defs"].values()))
    assert used - KNOWN == set()


def test_a_certificate_satisfies_the_schema(certificate: Certificate) -> None:
    assert problems(json.loads(certificate.encode()), schema(), schema()["$defs"]) == []


def test_a_certificate_of_a_difference_satisfies_the_schema_and_comes_back(certificate: Certificate) -> None:
    held = differing(certificate)
    assert problems(held, schema(), schema()["$defs"]) == []
    again = Certificate.decode(json.dumps(held).encode())
    assert json.loads(again.encode()) == held


def test_an_independent_validator_agrees(certificate: Certificate) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema()).validate(json.loads(certificate.encode()))
    jsonschema.Draft202012Validator(schema()).validate(differing(certificate))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda held: held.update(version=1), "file.version: 1"),
        (lambda held: held.update(colour="red"), "file: colour is unknown"),
        (lambda held: held.pop("samples"), "file: samples is missing"),
        (lambda held: held.update(samples="3"), "file.samples: '3' is no integer"),
        (lambda held: held.update(samples=-1), "file.samples: -1"),
        (lambda held: held.update(contract_digest="0"), "file.contract_digest: '0' is not like"),
        (lambda held: held["digests"][0]["steps"].append("x"), "file.digests[0].steps[4]: 'x' is not like"),
        (lambda held: held["runs"][0]["comparison"].pop("spikes"), "file.runs[0].comparison: spikes is missing"),
        (lambda held: held["bounds"][0].update(extra=1), "file.bounds[0]: extra is unknown"),
        (lambda held: held["coverage"][0].update(basis="hearsay"), "file.coverage[0].basis: 'hearsay'"),
    ],
)
def test_what_the_schema_forbids_the_reader_refuses(change: Any, found: str, certificate: Certificate) -> None:
    held = json.loads(certificate.encode())
    change(held)
    assert any(p.startswith(found) for p in problems(held, schema(), schema()["$defs"]))
    with pytest.raises(ArtefactError):
        Certificate.decode(json.dumps(held).encode())
