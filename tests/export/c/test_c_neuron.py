"""The C of a neuron equals the reference on every state and current of small layers, and on random ones of wide layers."""

import subprocess

import numpy as np
import pytest
from mcu_tools import need_program
from neuron_programs import HEAD, SANITIZED, WARNINGS, Case, build, program, results
from small_neurons import draw

from qleaky import QFormat
from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.export.c.neuron import mem_type, neuron_code, syn_type
from qleaky.fixed import Overflow
from qleaky.integer import LIF, Signal, Synapse
from qleaky.integer.bounds import lif_bounds

SMALL = range(400)
WIDE = range(1000, 1060)


def needs(compiler: str) -> None:
    need_program(compiler)


@pytest.fixture(scope="module")
def small() -> list[Case]:
    return [Case.of(*draw(seed), prefix=f"k{seed}") for seed in SMALL]


@pytest.fixture(scope="module")
def wide() -> list[Case]:
    return [Case.of(*draw(seed, bits=16 if seed % 2 else 12), prefix=f"k{seed}") for seed in WIDE]


def differing(cases: list[Case], binary: object, limit: int) -> list[str]:
    found = []
    for index, case in enumerate(cases):
        tried = case.all_cases(limit)
        got, wanted = results(binary, index, tried), case.expected(tried)
        if not np.array_equal(got, wanted):
            row = int(np.argmax((got != wanted).any(axis=1)))
            found.append(f"{case.layer}: {tried[row]} gives {got[row]}, not {wanted[row]}\n{case.code.functions}")
    return found


def test_every_state_and_current_of_small_layers_gives_what_the_reference_says(small, tmp_path) -> None:
    needs("gcc")
    assert differing(small, build(tmp_path, program(small)), limit=3 * 256 * 500) == []


def test_random_states_and_currents_of_wide_layers_give_what_the_reference_says(wide, tmp_path) -> None:
    needs("gcc")
    assert differing(wide, build(tmp_path, program(wide)), limit=30_000) == []


def test_the_settings_that_are_drawn_cover_the_contract(small) -> None:
    layers = [case.layer for case in small]
    settings = {
        (str(layer.reset_mechanism), str(layer.reset_timing), str(layer.compare), type(layer.decay).__name__)
        for layer in layers
    }
    assert len(settings) > 50
    assert {layer.overflow for layer in layers} == set(Overflow)
    assert {(layer.rounding, layer.rounding_site) for layer in layers if layer.decay} >= {
        (rounding, site) for rounding in ("floor", "half_up", "half_even", "toward_zero") for site in ("sum", "decay")
    }
    assert any(layer.max_spikes > 1 for layer in layers)
    assert any(layer.graded is not None for layer in layers)
    assert any(layer.synapse for layer in layers)
    assert any(layer.state.narrow for layer in layers)
    assert any(case.bounds.overflows for case in small)
    assert not all(case.bounds.overflows for case in small)


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-O3 -x c++ -std=c++11"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_text_compiles_without_a_warning(compiler, flags, small, wide, tmp_path) -> None:
    needs(compiler)
    some = small[::5] + wide[::5]
    warnings = [flag for flag in WARNINGS if "c++" not in flags or not flag.startswith("-std")]
    source = tmp_path / "neurons.c"
    source.write_text(HEAD + "".join(case.source().replace("static void", "void") for case in some))
    command = [compiler, *warnings, *flags.split(), "-c", str(source), "-o", str(tmp_path / "n.o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mutant_of_the_text_gives_other_results(small, tmp_path) -> None:
    """The comparison with the reference can fail."""
    needs("gcc")
    case = next(case for case in small if "v > " in case.code.functions)
    wrong = Case(case.layer, case.x, case.bounds, replaced(case.code, "v > ", "v >= "), case.prefix)
    assert differing([wrong], build(tmp_path, program([wrong]), flags=SANITIZED), limit=400_000)


def replaced(code, old: str, new: str):
    from dataclasses import replace

    assert old in code.functions
    return replace(code, functions=code.functions.replace(old, new))


X = Signal((4,), 5, np.array(-100), np.array(100))


def layer(**fields) -> LIF:
    given = {"name": "lif1", "input": "x", "state": QFormat(8, 5), "theta": np.array(32)}
    return LIF(**given | {"decay": MulShift(n=8), "multiplier": np.array(230)} | fields)


def code(x: Signal = X, **fields):
    made = layer(**fields)
    return neuron_code(made, x, lif_bounds(made, x), prefix="net_lif1")


def test_equal_constants_are_literals_and_others_are_arrays() -> None:
    assert code().constants == ()
    (theta,) = code(theta=np.array([32, 33, 34, 200 - 100])).constants
    assert (theta.name, theta.ctype, theta.values.tolist()) == ("net_lif1_theta", "int8_t", [32, 33, 34, 100])
    assert code(theta=np.array([32, 32, 32, 32])).constants == ()


def test_an_update_passes_the_neurons_own_constants() -> None:
    given = code(theta=np.array([1, 2, 3, 4]), graded=np.array([1, 2, 3, 400]))
    assert given.update(mem="s->mem[k]", syn=None, current="i", index="k", emitted="spike") == [
        "const int32_t spike = net_lif1_step(&s->mem[k], i, net_lif1_theta[k], net_lif1_graded[k]);"
    ]


def test_the_step_of_a_common_layer_reads_like_its_equation() -> None:
    assert code(x=Signal((4,), 9, np.array(-3000), np.array(3000))).functions.startswith(
        """/* n = 1 where V > theta */
QLEAKY_INLINE int32_t net_lif1_count(int32_t v) {
    return v > 32 ? 1 : 0;
}

/* V = saturated(half_up(m*U/2^8 + I/2^4 - R*theta)) */
QLEAKY_INLINE int32_t net_lif1_charged(int32_t u, int32_t current) {
    const int32_t sum = 230 * u + 16 * current - (u > 32 ? 256 * 32 : 0);
    const int32_t v = (sum + 128) >> 8;
    return v < -128 ? -128 : v > 127 ? 127 : v;
}
"""
    )


def test_states_are_stored_in_the_smallest_type_of_their_format() -> None:
    stored = {mem_type(layer(state=QFormat(bits, 2, signed=signed))) for bits in (8, 16) for signed in (True, False)}
    assert stored == {"int8_t", "uint8_t", "int16_t", "uint16_t"}
    assert mem_type(layer(state=QFormat(9, 2, signed=False))) == "int16_t"
    assert syn_type(layer(synapse=Synapse(state=QFormat(12, 4)))) == "int16_t"


def test_a_sum_beyond_int32_is_refused_with_its_size() -> None:
    with pytest.raises(InputError, match=r"layer 'lif1': the sum of its lif reaches 51200\d+, more than int32_t holds"):
        code(x=Signal((4,), 5, np.array(-2_000_000), np.array(20_000_000)))


def test_a_state_beyond_int32_is_refused() -> None:
    with pytest.raises(InputError, match=r"membrane .* has codes above 2147483647; use at most 31 unsigned bits"):
        code(state=QFormat(32, 5, signed=False), decay=None, multiplier=None)


def test_a_false_claim_that_nothing_overflows_is_refused() -> None:
    with pytest.raises(InputError, match=r"its lif can leave Q2.5 .* overflow='proved_none' says that it never does"):
        code(overflow="proved_none")


def test_a_layer_without_a_synapse_stores_none() -> None:
    with pytest.raises(InputError, match=r"layer 'lif1' has no synaptic current"):
        syn_type(layer())
