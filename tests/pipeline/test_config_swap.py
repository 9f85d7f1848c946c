"""Swapping weights: expected files are written by hand, formats as in PaddleX's documents."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kptk.errors import ConfigError, KptkError, ModelError
from kptk.pipeline.config import load_config, swap_weights
from tests.pipeline.test_config import NEW, OLD, write
from tests.tiny_models import detector_dir, keypoint_config, keypoint_dir, write_config


@pytest.fixture
def det(tmp_path: Path) -> Path:
    return detector_dir(tmp_path / "models" / "det", "PP-YOLOE-S_human")


@pytest.fixture
def kpt(tmp_path: Path) -> Path:
    return keypoint_dir(tmp_path / "models" / "kpt", "PP-TinyPose_128x96")


def test_old_format_changes_the_two_lines_and_nothing_else(
    tmp_path: Path, det: Path, kpt: Path
) -> None:
    source = write(tmp_path, OLD)
    target = tmp_path / "out" / "mine.yaml"
    assert (
        swap_weights(source, human_det_model=det, keypoint_det_model=kpt, save_path=target)
        == target
    )
    before, after = (p.read_text(encoding="utf-8").splitlines() for p in (source, target))
    assert source.read_text(encoding="utf-8") == OLD
    changed = [(a, b) for a, b in zip(before[1:], after, strict=True) if a != b]
    assert [b.split("#")[0].split() for _, b in changed] == [
        ["human_det_model:", str(det)],
        ["keypoint_det_model:", str(kpt)],
    ]
    assert all(a.split("#")[1] == b.split("#")[1] for a, b in changed)  # the comments
    config = load_config(target)
    assert (config.det_model, config.kpt_model) == (str(det), str(kpt))


def test_new_format_names_the_network_as_paddlex_insists(tmp_path: Path, kpt: Path) -> None:
    text = "# mine\n" + NEW.lstrip().replace("flip: True", "flip: true  # twice as long")
    source = write(tmp_path, text)
    target = swap_weights(source, keypoint_det_model=kpt, save_path=tmp_path / "mine.yaml")
    old = "    model_name: PP-TinyPose_256x192\n    model_dir: null\n"
    new = f"    model_name: PP-TinyPose_128x96\n    model_dir: {kpt}\n"
    assert text.count(old) == 1
    assert target.read_text(encoding="utf-8") == text.replace(old, new)


def test_a_demo_name_becomes_the_official_one_beside_a_directory(
    tmp_path: Path, det: Path, kpt: Path
) -> None:
    (det / "inference.yml").unlink()
    detector_dir(det, name=None)  # says nothing of its network, as older exports do
    target = tmp_path / "mine.yaml"
    swap_weights("demo", human_det_model=det, keypoint_det_model=kpt, save_path=target)
    modules = YAML(typ="safe").load(target.read_text(encoding="utf-8"))["SubModules"]
    assert modules["ObjectDetection"]["model_name"] == "PP-YOLOE-S_human"
    assert modules["KeypointDetection"]["model_name"] == "PP-TinyPose_128x96"
    assert "# lowest score of a person, 0 to 1" in target.read_text(encoding="utf-8")
    # and back by name
    swap_weights(
        target,
        human_det_model="demo-det",
        keypoint_det_model="demo-kpt",
        save_path=target,
        overwrite=True,
    )
    assert dataclasses.replace(load_config(target), path=None) == load_config("demo")


def test_a_missing_model_dir_key_is_added_after_the_name(tmp_path: Path, kpt: Path) -> None:
    source = write(tmp_path, NEW.replace("    model_dir: null\n", ""))
    target = swap_weights(source, keypoint_det_model=kpt, save_path=tmp_path / "mine.yaml")
    part = YAML(typ="safe").load(target.read_text())["SubModules"]["KeypointDetection"]
    assert list(part)[:3] == ["module_name", "model_name", "model_dir"]


def test_relative_paths_are_found_from_everywhere(
    tmp_path: Path, kpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "configs" / "mine.yaml"
    swap_weights("demo", keypoint_det_model=kpt, save_path=target, relative=True)
    assert "model_dir: ../models/kpt" in target.read_text()
    beside = kpt.parent / "mine.yaml"
    swap_weights("demo", keypoint_det_model=kpt, save_path=beside, relative=True)
    assert "model_dir: ./kpt" in beside.read_text()
    monkeypatch.chdir(os.sep)
    assert load_config(target).kpt_model == load_config(beside).kpt_model == str(kpt)


@pytest.mark.parametrize("text", [OLD, NEW])
def test_a_relative_model_that_stays_is_still_found(
    tmp_path: Path, det: Path, kpt: Path, text: str
) -> None:
    if text == OLD:
        text = text.replace("PP-YOLOE-S_human ", "./det ")
    else:
        text = text.replace("model_dir: null", "model_dir: det", 1)
    source = write(det.parent, text)
    target = swap_weights(source, keypoint_det_model=kpt, save_path=tmp_path / "a" / "mine.yaml")
    assert load_config(target).det_model == str(det)
    same = swap_weights(source, keypoint_det_model=kpt, save_path=det.parent / "same.yaml")
    assert str(det) not in same.read_text(encoding="utf-8")  # untouched in its own folder


EXTRA = "  engine: openvino  # fast\n  channel_order: bgr\n"


@pytest.mark.parametrize("swapped", [True, False])
def test_old_becomes_new_with_all_settings(
    tmp_path: Path, det: Path, kpt: Path, swapped: bool
) -> None:
    text = "Global:\n  input: x.jpg\n" + OLD.replace("batch_size: 1", "batch_size: 3") + EXTRA
    source = write(tmp_path, text.replace("PP-YOLOE-S_human ", "models/det "))
    target = tmp_path / "a" / "new.yaml"
    model = kpt if swapped else None
    swap_weights(source, keypoint_det_model=model, save_path=target, to_format="new")
    before, after = load_config(source), load_config(target)
    expected = dataclasses.replace(before, path=target)
    if swapped:
        expected = dataclasses.replace(expected, kpt_model=str(kpt))
    assert after == expected
    assert after.det_batch_size == 3 and after.device == "gpu:0"
    written = target.read_text(encoding="utf-8")
    assert "x.jpg" in written and "# fast" in written and "可修改为微调后行人" in written
    modules = YAML(typ="safe").load(written)["SubModules"]
    assert modules["ObjectDetection"]["model_name"] == "PP-YOLOE-S_human"  # the directory's own
    assert modules["ObjectDetection"]["model_dir"] == str(det)


def test_new_becomes_old_unless_a_setting_would_be_lost(tmp_path: Path, kpt: Path) -> None:
    target = tmp_path / "old.yaml"
    name = "human_keypoint_detection"
    swap_weights(name, keypoint_det_model=kpt, save_path=target, to_format="old")
    config = load_config(target)
    assert (config.det_model, config.kpt_model) == ("PP-YOLOE-S_human", str(kpt))
    assert (config.det_batch_size, config.kpt_batch_size) == (1, 16)
    with pytest.raises(ConfigError, match="no place for threshold, flip"):
        swap_weights(write(tmp_path, NEW), save_path=tmp_path / "b.yaml", to_format="old")


def test_nothing_is_overwritten_without_being_told(tmp_path: Path, kpt: Path) -> None:
    source = write(tmp_path, OLD)
    with pytest.raises(ConfigError, match=r"exists already.*overwrite=True"):
        swap_weights(source, keypoint_det_model=kpt, save_path=source)
    assert source.read_text(encoding="utf-8") == OLD
    swap_weights(source, keypoint_det_model=kpt, save_path=source, overwrite=True)
    assert load_config(source).kpt_model == str(kpt)


def test_wrong_models_are_refused_and_nothing_is_written(
    tmp_path: Path, det: Path, kpt: Path
) -> None:
    other = write_config(tmp_path / "other" / "inference.yml", keypoint_config("My-Pose")).parent
    (other / "inference.onnx").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for model, message in [
        (det, "must be a keypoint model.*belongs to human_det_model"),
        ("demo-det", "must be a keypoint model"),
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "must hold inference.yml"),
        (tmp_path / "models", "Did you mean"),
        (other, "official name.*Got 'My-Pose'"),
        ("demo-ktp", "Did you mean 'demo-kpt'"),
    ]:
        with pytest.raises(ModelError, match=message):
            swap_weights("demo", keypoint_det_model=model, save_path=tmp_path / "mine.yaml")
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEW.replace("threshold", "treshold"), "mine.yaml has an unknown|treshold"),
        (NEW.replace("ObjectDetection", "Detection"), "must hold 'Pipeline'"),
        (OLD.replace("PP-YOLOE-S_human", "gone/det"), "human_det_model .* must exist"),
        ("Pipeline: [", "not valid YAML"),
        ("", "must hold 'Pipeline'"),
    ],
)
def test_wrong_sources(tmp_path: Path, kpt: Path, text: str, message: str) -> None:
    source = write(tmp_path, text)
    target = tmp_path / "out" / "mine.yaml"
    with pytest.raises(ConfigError, match=message) as caught:
        swap_weights(source, keypoint_det_model=kpt, save_path=target)
    assert ".yaml" in str(caught.value)
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_wrong_arguments(tmp_path: Path, kpt: Path) -> None:
    for arguments, message in [
        ({}, "nothing to change"),
        ({"to_format": "newer"}, "to_format must be"),
        ({"keypoint_det_model": kpt, "save_path": tmp_path}, "must be a file"),
        ({"keypoint_det_model": kpt, "save_path": tmp_path / "mine"}, "ends in .yaml"),
    ]:
        with pytest.raises(KptkError, match=message):
            swap_weights("demo", **{"save_path": tmp_path / "a.yaml", **arguments})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"path of a YAML file.*Did you mean 'demo'"):
        swap_weights("dmo", keypoint_det_model=kpt, save_path=tmp_path / "a.yaml")


def test_command(tmp_path: Path, kpt: Path, det: Path) -> None:
    from typer.testing import CliRunner

    from kptk.cli import app

    source, target = write(tmp_path, OLD), tmp_path / "mine.yaml"
    command = ["swap", str(source), "--kpt-model", str(kpt), "--save-path", str(target), "--to-new"]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.output.strip()) == (0, str(target))
    assert load_config(target).kpt_model == str(kpt)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1 and "--force" in again.output
    assert CliRunner().invoke(app, [*command, "--force", "--relative"]).exit_code == 0
    assert "model_dir: ./models/kpt" in target.read_text(encoding="utf-8")
    wrong = CliRunner().invoke(app, ["swap", "demo", "--kpt-model", str(det), "-o", "x.yaml"])
    assert wrong.exit_code == 1 and "must be a keypoint model" in wrong.output
