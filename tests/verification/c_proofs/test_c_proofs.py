"""The C of every shipped model, and of layers with every option, is proved for all inputs."""

import provers  # noqa: F401
import pytest
from neuron_programs import Case
from small_models import packed, prove
from small_neurons import draw

from qleaky import models
from qleaky.errors import InputError
from qleaky.model_reference import HowToLower, load_model
from qleaky.verification.c_proofs import CProofs, Open, Proved, prove_c


def layers_of(proofs: CProofs) -> set[str]:
    return {result.layer for result in proofs}


@pytest.mark.parametrize("name", models.names())
def test_the_c_of_every_shipped_model_is_proved(name: str) -> None:
    network = load_model(name, HowToLower())
    proofs = prove_c(network)
    assert proofs.proved, str(proofs)
    assert layers_of(proofs) >= {lif.name for lif in network.lif_layers} | {"input", "fc2" if "conv" not in name else "conv2"}


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_packed_lanes_of_every_width_are_proved(bits: int) -> None:
    proofs = prove_c(packed(bits), "net")
    assert proofs.proved, str(proofs)
    assert sum("lane" in result.statement for result in proofs) == 1


@pytest.mark.parametrize("seed", range(8))
def test_random_layers_of_every_option_are_proved(seed: int) -> None:
    proofs = prove(Case.of(*draw(seed), prefix="net_lif"))
    assert proofs.proved, str(proofs)
    assert len(proofs.results) == 3


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(8, 300))
def test_more_random_layers_are_proved(seed: int) -> None:
    proofs = prove(Case.of(*draw(seed), prefix="net_lif"))
    assert proofs.proved, str(proofs)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_random_layers_with_wide_states_are_proved(seed: int) -> None:
    proofs = prove(Case.of(*draw(seed, bits=16 if seed % 2 else 12), prefix="net_lif"), seconds=600.0)
    assert proofs.proved, str(proofs)


def test_a_statement_without_an_answer_in_time_is_open_and_never_proved() -> None:
    proofs = prove(Case.of(*draw(1000, bits=16), prefix="net_lif"), seconds=1e-6)
    assert not proofs.proved
    assert len(proofs.open) == 3
    assert "z3 gave no answer within 1e-06 s" in str(proofs)


def test_nothing_is_proved_by_no_statements() -> None:
    assert not CProofs(()).proved
    assert not CProofs((Proved("lif", "x", 0.1), Open("lif", "y", "late"))).proved


def test_a_proof_without_time_is_refused() -> None:
    with pytest.raises(InputError, match=r"seconds=0; each statement needs some time"):
        prove_c(packed(1), seconds=0)
