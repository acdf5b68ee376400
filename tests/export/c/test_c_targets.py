"""The cores of the folder's Makefile are those of `verify`: one compiler, one board, one count."""

import pytest

from qleaky.export.c.targets import TARGETS, Target
from qleaky.verification.mcu.machines import MACHINES


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_is_compiled_and_emulated_as_verify_does(target: Target) -> None:
    machine = MACHINES[target.name]
    assert (target.triple, tuple(target.flags.split())) == (machine.triple, machine.flags)
    assert (target.port, target.board, target.qemu) == (machine.port, machine.board, machine.qemu)
    assert target.eighths == (machine.nanoseconds if machine.port == "cortex_m" else None)
