"""The model card: what it says of a run, and that it says the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kptk.files import file_hash
from kptk.models.export import model_card
from kptk.models.weights import write_npz
from kptk.training.run import add_event
from kptk.training.settings import DataSettings, TrainSettings, write_settings
from tests.training.fakes import N_TRAIN, N_VAL, make_layout

MODEL = "PP-TinyPose_128x96"


def make_finished(tmp_path: Path) -> Path:
    data = make_layout(tmp_path / "night")
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "mine.pdparams").write_bytes(b"weights")
    train, val = (
        DataSettings(
            images=data / "images", annotations=data / "annotations" / f"instance_{split}.json"
        )
        for split in ("train", "val")
    )
    settings = TrainSettings(
        model=MODEL,
        weights=tmp_path / "mine.pdparams",
        train=train,
        val=val,
        steps=40,
        batch_size=2,
        learning_rate=0.25,
        sample_transforms=[],
        batch_transforms=[],
    )
    write_settings(settings, run / "settings.yml")
    write_npz(run / "best.npz", {"a": np.ones(2)})
    for step, ap in ((0, 0.1234), (20, 0.5), (40, 0.4)):
        add_event(run, "eval", step=step, AP=ap)
    return run / "best.npz"


def test_the_card_of_a_run(tmp_path: Path) -> None:
    params = make_finished(tmp_path)
    card = model_card(params, MODEL, (128, 96))
    assert card.startswith(f"# {MODEL}, trained on night\n")
    for line in [
        "| input | 128 x 96 (height x width), RGB |",
        f"| start | mine.pdparams, SHA-256 {file_hash(tmp_path / 'mine.pdparams')[:32]} |",
        f"| training | night | {N_TRAIN} | {2 * N_TRAIN} | SHA-256 ",
        f"| validation | night | {N_VAL} | {2 * N_VAL} | SHA-256 ",
        "| 12.3 | 50.0 | 20 of 40 |",
        "learning_rate: 0.25",
        "--kpt-model path/to/this/folder",
        "kptk does not know the terms of the start, mine.pdparams",
        "Apache-2.0",
    ]:
        assert line in card
    assert str(tmp_path) not in card
    assert model_card(params, MODEL, (128, 96)) == card


def test_the_card_of_weights_alone(tmp_path: Path) -> None:
    params = tmp_path / "PP-YOLOE-S_human_pretrained.pdparams"
    params.write_bytes(b"weights")
    card = model_card(params, "PP-YOLOE-S_human", (640, 640))
    assert "| architecture | PP-YOLOE-S_human |" in card
    assert file_hash(params)[:32] in card
    assert "--det-model" in card and "does not know" not in card
    assert "## Data" not in card
