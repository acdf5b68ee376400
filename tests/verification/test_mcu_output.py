"""Only what ports/check.c prints is read; anything else is refused, whoever printed it."""

import pytest

from qleaky.errors import ArtefactError
from qleaky.verification.mcu.output import LONGEST_OUTPUT, read_output

HEX = "ab" * 32
GOOD = f"""qleaky-check 1
model tiny contract {HEX} state 32
sample 0 digest 0123abcd
differs sample 1 layer lif 1 kind mem step 3 expected 00000001 got ffffffff
sample 1 digest 89abcdef
instructions 2240
stack 312
differs 1 of 40 digests
"""


def test_everything_that_is_said() -> None:
    output = read_output(GOOD.encode())
    assert (output.name, output.contract, output.state_size) == ("tiny", HEX, 32)
    assert output.digests == (0x0123ABCD, 0x89ABCDEF)
    (found,) = output.differences
    assert (found.sample, found.layer, found.kind, found.step) == (1, "lif 1", "mem", 3)
    assert (found.expected, found.got) == (1, 0xFFFFFFFF)
    assert (output.unit, output.cost, output.stack, output.overflow) == ("instructions", 2240, 312, False)
    assert (output.differing, output.compared, output.samples) == (1, 40, None)


def test_a_machine_that_counts_nothing() -> None:
    text = f"qleaky-check 1\nmodel tiny contract {HEX} state 32\nsample 0 digest 01234567\nequal 20 digests of 1 samples\n"
    output = read_output(text.encode())
    assert (output.unit, output.cost, output.stack) == (None, None, None)
    assert (output.differing, output.compared, output.samples) == (0, 20, 1)


def test_a_stack_that_used_all_there_was() -> None:
    assert read_output(GOOD.replace("stack 312", "stack overflow").encode()).overflow


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("qleaky-check 1\n", "qleaky-check 2\n", "line 1, 'qleaky-check 2', is not 'qleaky-check 1'"),
        ("model tiny", "fault", "line 2, .* is not the model's name"),
        (HEX, HEX.upper(), "line 2, .* is not the model's name"),
        ("sample 0 digest", "sample 1 digest", "names sample 1 where sample 0 was due"),
        ("0123abcd", "123abcd", "line 3, .* is not the verdict"),
        ("kind mem", "kind all", "line 4, .* is not the verdict"),
        ("instructions 2240", "instructions -2240", "line 6, .* is not the verdict"),
        ("stack 312", "stack 0312", "line 7, .* is not the verdict"),
        ("differs 1 of 40 digests\n", "", "output ends after line 7: the verdict"),
        ("digests\n", "digests", "output ends after line 7"),
        ("digests\n", "digests\nmore\n", "line 9, 'more', is not the verdict, and nothing after it"),
        ("layer lif 1", "layer \x1b[2J", r"line 4, 'differs sample 1 layer \\\\x1b"),
        ("instructions 2240", "instructions 22400000000000", "line 6, .* is not the verdict"),
    ],
)
def test_anything_else_is_refused(before: str, after: str, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        read_output(GOOD.replace(before, after, 1).encode())


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_an_output_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ArtefactError, match="output"):
        read_output(GOOD[:cut].encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ArtefactError, match="line 1"):
        read_output(b"\xff\x00\n" * 100)


def test_an_endless_output_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"printed more than the 1,048,576 bytes"):
        read_output(b"sample 0 digest 00000000\n" * (LONGEST_OUTPUT // 25 + 1))
