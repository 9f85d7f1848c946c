"""Recipes: what is accepted, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from kptk.errors import ConfigError
from kptk.training.settings import read_settings, write_settings

RECIPE = """\
model: PP-TinyPose_128x96
train: {images: a, annotations: a.json}
val: {images: b, annotations: b.json}
steps: 10
batch_size: 4
learning_rate: 1.0e-3
sample_transforms: []
batch_transforms: [{Permute: {}}]
"""


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RECIPE)
    settings = read_settings(tmp_path / "a.yml")
    assert settings.size == (128, 96)  # from the architecture's name
    write_settings(settings, tmp_path / "b.yml")
    assert read_settings(tmp_path / "b.yml") == settings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 10", "step: 10", "Did you mean 'steps'"),
        ("steps: 10", "steps: -1", "steps: .*greater than 0"),
        ("steps: 10", "steps: many", "steps: .*valid integer"),
        ("128x96", "128x97", "Did you mean 'PP-TinyPose_128x96'"),
        (RECIPE, "- a\n- b\n", "must be a YAML mapping"),
        (RECIPE, "a: [", "cannot be read"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "a.yml").write_text(RECIPE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_settings(tmp_path / "a.yml")


def test_settings_of_version_0_1_0_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RECIPE)  # has none of what came later
    settings = read_settings(tmp_path / "a.yml")
    assert (settings.freeze_backbone, settings.patience) == (False, None)


@pytest.mark.parametrize("name", ["demo-det", "demo-kpt"])
def test_the_committed_recipes_are_valid(name: str) -> None:
    root = Path(__file__).parents[2]
    assert read_settings(root / "configs" / "train" / f"{name}.yml").batch_size > 1
