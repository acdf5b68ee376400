"""A page is written whole, of the file and the inputs that were checked, or not at all."""

from pathlib import Path
from typing import Any

import pytest
from checks import Net, checked, inputs, lowered

from qleaky.check_page import write_page
from qleaky.errors import ArtefactError, InputError, OutputError


def test_a_file_that_changed_since_its_check_is_refused(tmp_path: Path) -> None:
    check = checked(tmp_path, lowered(Net()), inputs())
    (tmp_path / "net.onnx").write_bytes(b"other")
    with pytest.raises(ArtefactError, match="has changed since it was checked; check it again"):
        write_page(tmp_path / "page.html", check.report, check.network, artefact=tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_inputs_of_another_check_are_refused(tmp_path: Path) -> None:
    check = checked(tmp_path, lowered(Net()), inputs())
    other: dict[str, Any] = {"artefact": tmp_path / "net.onnx", "inputs": 1 - inputs()}
    with pytest.raises(InputError, match="these inputs are not those of the check"):
        write_page(tmp_path / "page.html", check.report, check.network, **other)
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    check = checked(tmp_path, lowered(Net()), inputs())
    with pytest.raises(OutputError, match="Cannot write"):
        write_page(
            tmp_path / "none" / "page.html", check.report, check.network, artefact=tmp_path / "net.onnx", inputs=inputs()
        )
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_the_written_page_is_the_page(tmp_path: Path) -> None:
    check = checked(tmp_path, lowered(Net()), inputs())
    write_page(tmp_path / "page.html", check.report, check.network, artefact=tmp_path / "net.onnx", inputs=inputs())
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == check.page()
