"""Recipes: what is accepted, what a wrong one is told, and how what is not said is completed.

Published values are PaddleDetection's, named in the YAML.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import kptk
from kptk.errors import ConfigError, KptkError
from kptk.training.settings import (
    DataSettings,
    TrainSettings,
    complete,
    read_recipe,
    read_settings,
    transforms,
    write_settings,
)

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


DATA = DataSettings(images=Path("a"), annotations=Path("a.json"))
POSE, DETECTOR = "PP-TinyPose_128x96", "PP-YOLOE-S_human"


def settle(model: str, n_samples: int, **options: Any) -> TrainSettings:
    outside = {name: options.pop(name) for name in ("epochs", "augment") if name in options}
    given = {"model": model, "weights": Path("w.npz"), "train": DATA, "val": DATA, **options}
    return complete(n_samples, given, **outside)


def test_what_a_user_chooses_are_fields_of_the_settings() -> None:
    ours = ["model", "weights", "train", "val", "epochs", "augment", "run_dir", "wait", "progress"]
    chosen = set(inspect.signature(kptk.finetune).parameters) - set(ours)
    assert chosen == set(TrainSettings.CHOSEN) <= set(TrainSettings.model_fields)


@pytest.mark.parametrize(
    ("model", "n_samples", "steps", "batch", "rate", "frozen"),
    [
        (POSE, 960, 300, 32, 5e-4, False),  # 9600 people in all, 32 a step
        (POSE, 40, 75, 32, 5e-4, False),  # at most 60 epochs: 60 * 40 / 32
        (POSE, 8, 60, 8, 1.25e-4, True),  # the batch is not larger than the data
        (POSE, 100_000, 3125, 32, 5e-4, False),  # at least one epoch
        (DETECTOR, 200, 200, 8, 2e-4, True),
        (DETECTOR, 20, 100, 8, 2e-4, True),  # at most 40 epochs
    ],
)
def test_defaults_follow_the_size_of_the_data(
    model: str, n_samples: int, steps: int, batch: int, rate: float, frozen: bool
) -> None:
    settings = settle(model, n_samples)
    assert (settings.steps, settings.batch_size, settings.freeze_norm) == (steps, batch, frozen)
    assert settings.learning_rate == pytest.approx(rate)
    assert settings.warmup_steps == round(0.05 * steps)
    assert settings.eval_every == -(-steps // 10)


def test_the_stated_rate_is_the_published_one_by_the_linear_rule() -> None:
    # tinypose_128x96: 8e-3 for 512; tinypose_256x192: 2e-3 for 128
    assert settle(POSE, 9999, batch_size=512).learning_rate == pytest.approx(8e-3)
    assert settle("PP-TinyPose_256x192", 9999, batch_size=128).learning_rate == pytest.approx(2e-3)


def test_what_is_asked_for_wins() -> None:
    settings = settle(
        POSE,
        100,
        epochs=2,
        batch_size=16,
        learning_rate=0.5,
        warmup_steps=2,
        freeze_norm=True,
        freeze_backbone=True,
        patience=4,
        eval_every=3,
        eval_images=5,
        seed=9,
    )
    assert settings.steps == 13  # 2 * 100 / 16, rounded up
    assert (settings.learning_rate, settings.freeze_norm, settings.seed) == (0.5, True, 9)
    assert (settings.eval_every, settings.eval_images) == (3, 5)
    assert (settings.warmup_steps, settings.freeze_backbone, settings.patience) == (2, True, 4)
    assert settle(POSE, 100, steps=1).steps == 1


def test_transforms_fit_the_input_size() -> None:
    # as published for 256x192: trainsize [192, 256], hmsize [48, 64], sigma 2
    made = transforms(read_recipe(POSE), "PP-TinyPose_256x192", None)
    by_name = {name: values for step in made["sample_transforms"] for name, values in step.items()}
    assert by_name["TopDownAffine"] == {"trainsize": [192, 256], "use_udp": False}
    assert by_name["ToHeatmapsTopDown_DARK"] == {"hmsize": [48, 64], "sigma": 2}
    assert by_name["RandomFlipHalfBodyTransform"]["prob_half_body"] == 0.3
    # as published for 640: 320 to 768 in steps of 32
    made = transforms(read_recipe(DETECTOR), DETECTOR, None)
    sizes = made["batch_transforms"][0]["BatchRandomResize"]["target_size"]
    assert sizes == list(range(320, 769, 32))


def test_augment_scales_probabilities_and_ranges() -> None:
    recipe = read_recipe(POSE)
    half = transforms(recipe, POSE, None, 0.5)["sample_transforms"]
    by_name = {name: values for step in half for name, values in step.items()}
    flip = by_name["RandomFlipHalfBodyTransform"]
    assert (flip["rot"], flip["scale"], flip["prob_half_body"]) == (15, 0.125, 0.15)
    assert by_name["RandomDistort"]["contrast"] == [0.7, 1.3, 0.25]
    none = transforms(read_recipe(DETECTOR), DETECTOR, (320, 256), 0.0)
    names = [name for step in none["sample_transforms"] for name in step]
    assert "RandomCrop" not in names
    assert none["batch_transforms"][0]["BatchRandomResize"]["target_size"] == [[320, 256]]


def test_the_strengths_of_augmentation_by_name() -> None:
    def changed(model: str, augment: str) -> dict[str, Any]:
        made = settle(model, 100, augment=augment).sample_transforms
        return {name: values for step in made for name, values in step.items()}

    for augment, rot, cutout, contrast in [
        ("none", 0, 0, 0),
        ("light", 15, 0.25, 0.25),
        ("default", 30, 0.5, 0.5),
        ("strong", 45, 0.75, 0.75),
    ]:
        made = changed(POSE, augment)
        assert made["RandomFlipHalfBodyTransform"]["rot"] == rot
        assert made["AugmentationbyInformantionDropping"]["prob_cutout"] == cutout
        assert made["RandomDistort"]["contrast"][2] == contrast
        assert made["RandomFlipHalfBodyTransform"].get("flip", True) == (augment != "none")
    strong = changed(DETECTOR, "strong")
    assert (strong["RandomExpand"]["prob"], strong["RandomFlip"]["prob"]) == (0.75, 0.5)
    sizes = settle(DETECTOR, 100, augment="strong").batch_transforms[0]["BatchRandomResize"]
    assert sizes["target_size"] == list(range(320, 769, 32))  # as published, not beyond


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "epochs": 1}, "not both"),
        ({"steps": 0}, "steps must be a positive integer. Got 0"),
        ({"steps": 2.5}, "steps must be a positive integer. Got 2.5"),
        ({"epochs": float("nan")}, "epochs must be"),
        ({"epochs": "many"}, "epochs must be"),
        ({"batch_size": True}, "batch_size must be"),
        ({"learning_rate": -1.0}, "learning_rate: .*greater than 0. Got -1.0"),
        ({"eval_images": 0}, "eval_images"),
        ({"augment": 3}, "augment must be 'none', .* or a number from 0 to 2. Got 3"),
        ({"augment": "stong"}, "Did you mean 'strong'"),
        ({"augment": True}, "augment must be"),
        ({"patience": 0}, "patience must be a positive integer. Got 0"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"input_size": (100, 96)}, "multiples of 32"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KptkError, match=message):
        settle(POSE, 100, **options)
