"""Whole networks as C: what the compiled code computes is what the reference does."""

from pathlib import Path

import pytest
from export.c.model_programs import assert_computes
from export.layer_contracts import LAYERS
from export.random_contracts import inputs


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer(kind: str, tmp_path: Path) -> None:
    assert_computes(LAYERS[kind], inputs(LAYERS[kind], batch=8), tmp_path)
