"""Recipes: every key has a rule, and every error of a file is said at once, with its key, value, rule and fix."""

import re
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from qleaky.errors import ArtefactError, InputError
from qleaky.recipes import load_recipe, parse_recipe
from qleaky.recipes.reading import TABLES

GOOD = """
name = "vowels"
[data]
name = "japanese-vowels"
[model]
layers = [12, 8, 9]
[training]
epochs = 2
[quantization]
"""


def with_line(table: str, line: str) -> str:
    return GOOD.replace(f"[{table}]", f"[{table}]\n{line}")


def test_a_recipe_has_its_values_and_the_defaults_of_the_others() -> None:
    recipe = parse_recipe(GOOD)
    assert (recipe.name, recipe.model.layers, recipe.training.epochs) == ("vowels", (12, 8, 9), 2)
    assert (recipe.data.validation, recipe.training.optimizer) == (0.15, "adam")
    assert recipe.quantization is not None
    assert (recipe.quantization.weight_bits, recipe.quantization.epochs) == (8, 10)


def test_without_its_table_there_is_no_quantization() -> None:
    assert parse_recipe(GOOD.replace("[quantization]", "")).quantization is None


def test_all_errors_are_said_at_once() -> None:
    text = """
    name = "a b"
    extra = 3
    [data]
    name = "digits"
    validation = 2
    [model]
    layers = ["16C5"]
    epochs = 3
    [training]
    epoch = 5
    batch_size = 0.5
    [quantisation]
    """
    with pytest.raises(InputError) as raised:
        parse_recipe(text, name="bad.toml")
    lines = [line.strip() for line in str(raised.value).splitlines()]
    assert lines == [
        "bad.toml has 9 errors:",
        "extra = 3: there is no such key; there are name, data, model, training, quantization.",
        "[quantisation]: there is no such key; did you mean quantization?",
        "name = \"a b\": it must be a name of letters, digits, '-', '_' and '.'.",
        "data.validation = 2: it must be a number >= 0 and <= 0.9.",
        "model.epochs = 3: there is no such key; did you mean training.epochs or quantization.epochs?",
        'model.layers = ["16C5"]: it must be a list of layers: 128 (dense), "16C5" (16 channels, kernel 5), "AP2", "MP2" '
        "(pools), the last one dense.",
        "training.epoch = 5: there is no such key; did you mean training.epochs?",
        "training.epochs is missing; it must be a whole number >= 1.",
        "training.batch_size = 0.5: it must be a whole number >= 1.",
    ]


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("data", "validation = -0.1", r"data\.validation = -0\.1: it must be a number >= 0 and <= 0\.9"),
        ("data", "validation = nan", "data.validation = NaN: it must be a number"),
        ("data", "validation = true", "data.validation = true: it must be a number"),
        ("data", 'build = "loader.py"', r'data\.build = "loader\.py": it must be "file\.py:callable" or "module:callable"'),
        ("model", "beta = 1.5", r"model\.beta = 1\.5: it must be a number >= 0 and <= 1\."),
        ("model", "threshold = 0", r"model\.threshold = 0: it must be a number > 0\."),
        ("model", 'readout = "count"', r'model\.readout = "count": it must be one of "spike_count", "membrane_mean"'),
        ("model", "input = [28, 0]", r"model\.input = \[28, 0\]: it must be a list of one to four whole numbers >= 1"),
        ("training", "batch_size = 0", r"training\.batch_size = 0: it must be a whole number >= 1\."),
        ("training", "label_smoothing = 1", r"training\.label_smoothing = 1: it must be a number >= 0 and < 1\."),
        ("training", "learning_rate = 0", r"training\.learning_rate = 0: it must be a number > 0\."),
        ("training", "learning_rate = 1" + 400 * "0", r"learning_rate = 10+\.\.\.: it must be 0 or of a size from 1\.18e-38"),
        ("model", "threshold = 1e39", r"threshold = 1e\+39: it must be 0 or of a size from 1\.18e-38 to 3\.4e\+38, as float32"),
        ("model", "surrogate_slope = 1e-300", r"surrogate_slope = 1e-300: it must be 0 or of a size from 1\.18e-38"),
        ("training", "batch_size = 9223372036854775808", r"batch_size = 9223372036854775808: it must be at most 2147483647\."),
        ("training", "learning_rat = 1", r"learning_rat = 1: there is no such key; did you mean training\.learning_rate\?"),
        ("quantization", "weight_bits = 9", r'weight_bits = 9: it must be a whole number from 2 to 8, "ternary" or "binary"\.'),
        ("quantization", 'weight_bits = "tern"', 'weight_bits = "tern": it must be'),
        ("quantization", "per_channel = 1", r"per_channel = 1: it must be true or false\."),
        ("quantization", "state_bits = 17", r"state_bits = 17: it must be a whole number from 2 to 16\."),
        (
            "quantization",
            "frozen_epochs = 11",
            r"frozen_epochs = 11: .* last of quantization\.epochs = 10; choose at most that\.",
        ),
        (
            "model",
            'surrogate_slope = 2\nsurrogate = "straight_through_estimator"',
            "straight_through_estimator has no parameter",
        ),
    ],
)
def test_what_a_value_must_be(table: str, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_recipe(with_line(table, line))


@pytest.mark.parametrize("value", ["1" + 5000 * "0", 3000 * "[" + 3000 * "]"])
def test_values_that_no_reader_of_toml_takes_are_errors_too(value: str) -> None:
    with pytest.raises(InputError, match=r"the recipe holds a value that no recipe has: "):
        parse_recipe(with_line("model", f"num_steps = {value}"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epochs = 0", r"training\.epochs = 0: it must be a whole number >= 1\."),
        ("epochs = 2", "", r"training\.epochs is missing; it must be a whole number >= 1\."),
        ("layers = [12, 8, 9]", "", r"model\.layers is missing; list the layers, or name .* model\.build"),
        ("layers = [12, 8, 9]", "layers = [9]", r"without model\.input the first number is the input's size; add a layer"),
        ("layers = [12, 8, 9]", 'layers = ["8C3", 9]', r"convolutions and pools need the shape of a sample; add .* input ="),
        (
            "layers = [12, 8, 9]",
            'layers = [12, 9]\nbuild = "n.py:net"',
            r"build = .* and model\.layers = .*: give one of the two",
        ),
        ("layers = [12, 8, 9]", 'input = [1]\nbuild = "n.py:net"', r"model\.build says what it takes itself; leave input out"),
        ("[model]\nlayers = [12, 8, 9]", "", r"\[model\] is missing; every recipe has the tables"),
        ('name = "vowels"', "", "name is missing; it must be a name of letters"),
        ('name = "vowels"', 'name = "vowels"\ndata = 3', "is no TOML"),
    ],
)
def test_what_a_recipe_must_hold(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_recipe(GOOD.replace(old, new, 1))


def test_a_table_is_a_table() -> None:
    with pytest.raises(InputError, match=r"model = 3: it must be a table; write \[model\] and its keys below"):
        parse_recipe("model = 3\n" + GOOD.replace("[model]\nlayers = [12, 8, 9]", ""))


def test_the_best_epoch_needs_validation_samples() -> None:
    text = with_line("training", 'keep = "best"').replace('"japanese-vowels"', '"japanese-vowels"\nvalidation = 0')
    with pytest.raises(InputError, match=r'training\.keep = "best": .* data\.validation = 0; hold back a share such as 0\.15'):
        parse_recipe(text)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read recipe .*absent\.toml: No such file"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bad\.toml is no UTF-8 text \(byte 0\); a recipe is a TOML file"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("name = vowels")
    with pytest.raises(InputError, match=r"bad\.toml is no TOML: .* Strings stand in quotes, tables in \[brackets\]"):
        load_recipe(tmp_path / "bad.toml")


def test_the_digest_is_of_the_values() -> None:
    recipe = parse_recipe(GOOD)
    assert parse_recipe("# a comment\n" + GOOD.replace("epochs = 2", "batch_size = 64\nepochs = 2")).digest == recipe.digest
    assert parse_recipe(GOOD.replace("epochs = 2", "epochs = 3")).digest != recipe.digest
    assert parse_recipe(GOOD.replace("[quantization]", "")).digest != recipe.digest


@pytest.mark.parametrize("more", ["", "surrogate_slope = 1.5", 'input = [4, 3]\nreadout = "last_membrane"'])
def test_a_recipe_whose_values_were_replaced_is_written_with_them(more: str) -> None:
    recipe = parse_recipe(with_line("model", more))
    assert recipe.toml == recipe.text
    longer = replace(recipe, training=replace(recipe.training, epochs=7))
    again = parse_recipe(longer.toml)
    assert (again.training.epochs, again.digest) == (7, longer.digest)


def test_reading_a_recipe_loads_no_torch() -> None:
    code = f"import sys; from qleaky.recipes import parse_recipe; parse_recipe({GOOD!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def written(default: Any) -> str:
    """A default as the documentation shows it."""
    words = {"MISSING": "required", "None": "none", "()": "none", "True": "`true`", "False": "`false`"}
    name = "MISSING" if default is MISSING else repr(default)
    return words.get(name) or f"`{default:g}`" if not isinstance(default, str) else f"`{default}`"


def test_the_documentation_lists_every_key_with_its_default_and_rule() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    expected = [
        (f"{name}.{part.name}", written(part.default), part.metadata["rule"].words, part.metadata["what"])
        for name, table in TABLES.items()
        for part in fields(table)
    ]
    assert rows == expected
