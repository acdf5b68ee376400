"""The demo's networks recognise the speakers, exactly and reproducibly."""

from pathlib import Path

import pytest
import torch

from qleaky.demo import FILES, run_demo


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_exported_network_recognises_nineteen_of_twenty_recordings(seed: int, tmp_path: Path) -> None:
    result = run_demo(tmp_path, seed)
    assert result.runtime_accuracy >= 95
    assert result.torch_accuracy == result.runtime_accuracy
    assert (result.report.verdict, result.report.mismatches) == ("proved", 0)


def test_a_short_demo_leaves_threads_and_random_state_as_they_were(tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    told: list[tuple[str, int, int]] = []
    result = run_demo(tmp_path, epochs=1, progress=lambda stage, epoch, epochs, loss: told.append((stage, epoch, epochs)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert told == [("float training", 1, 1), ("8-bit training", 1, 1)]
    assert [path.name for path in result.files] == list(FILES)
    assert result.report.verdict == "proved"
