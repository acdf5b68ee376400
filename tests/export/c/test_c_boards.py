"""Boards: each has a core that can be built for, more flash than RAM or nearly so, and a source of its figures."""

import re
from pathlib import Path

import pytest

from qleaky.errors import InputError
from qleaky.export.c.boards import Board, board_named, boards
from qleaky.export.c.targets import TARGETS


@pytest.mark.parametrize("board", boards().values(), ids=lambda board: board.name)
def test_a_board_has_a_known_core_whole_kilobytes_and_a_source(board: Board) -> None:
    assert board.core in {target.name for target in TARGETS}
    assert 4096 <= board.ram < board.flash
    assert board.flash % 1024 == board.ram % 1024 == 0
    assert board.source
    assert board.title


def test_the_page_lists_every_board_with_its_figures() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "microcontrollers.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| ([\d,]+) \| ([\d,]+) \|$", page, re.M)
    rows = [(b.name, b.title, b.core, f"{b.flash // 1024:,}", f"{b.ram // 1024:,}") for b in boards().values()]
    assert listed == rows


@pytest.mark.parametrize(
    ("name", "kilobytes"), [("microbit-v1", (256, 16)), ("nrf52840-dk", (1024, 256)), ("longan-nano", (128, 32))]
)
def test_a_board_has_the_memory_that_its_data_sheet_says(name: str, kilobytes: tuple[int, int]) -> None:
    board = board_named(name)
    assert (board.flash // 1024, board.ram // 1024) == kilobytes


def test_an_unknown_board_is_refused_with_the_one_that_was_meant_and_the_list() -> None:
    with pytest.raises(
        InputError, match=r"board='nrf52840dk' is unknown\. Did you mean 'nrf52840-dk'\? Choose one of microbit-v1, "
    ):
        board_named("nrf52840dk")
