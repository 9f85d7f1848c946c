"""Pipeline YAML files. Both formats are written out as PaddleX's documents have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kptk.errors import ConfigError
from kptk.pipeline.config import BUILTIN_CONFIGS, builtin_config, load_config

# The tutorial's file, section 4.2.
OLD = """
Pipeline:
  human_det_model: PP-YOLOE-S_human       #可修改为微调后行人检测模型的本地路径
  keypoint_det_model: PP-TinyPose_128x96  #可修改为微调后关键点检测模型的本地路径
  human_det_batch_size: 1
  keypoint_det_batch_size: 1
  device: gpu
"""
# PaddleX 3.x.
NEW = """
pipeline_name: human_keypoint_detection
SubModules:
  ObjectDetection:
    module_name: object_detection
    model_name: PP-YOLOE-L_human
    model_dir: null
    batch_size: 2
    threshold: 0.25
  KeypointDetection:
    module_name: keypoint_detection
    model_name: PP-TinyPose_256x192
    model_dir: null
    batch_size: 8
    flip: True
    use_udp: null
"""


def write(folder: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_several_devices(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, OLD.replace("device: gpu", "device: npu:0,1")))
    assert config.device == "npu:0,1"


def test_old_format(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, OLD))
    assert (config.det_model, config.kpt_model) == ("PP-YOLOE-S_human", "PP-TinyPose_128x96")
    assert (config.det_batch_size, config.kpt_batch_size) == (1, 1)
    assert config.device == "gpu:0"
    assert config.det_threshold is None
    assert config.path == tmp_path / "pipeline.yaml"


def test_old_format_with_global(tmp_path: Path) -> None:
    text = "Global:\n  pipeline_name: human_keypoint_detection\n  input: x.jpg\n" + OLD
    assert load_config(str(write(tmp_path, text))).kpt_model == "PP-TinyPose_128x96"


def test_new_format(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, NEW))
    assert (config.det_model, config.kpt_model) == ("PP-YOLOE-L_human", "PP-TinyPose_256x192")
    assert (config.det_batch_size, config.kpt_batch_size) == (2, 8)
    assert config.det_threshold == 0.25
    assert (config.flip, config.udp, config.device) == (True, False, None)


@pytest.mark.parametrize("text", [OLD, NEW])
def test_extra_keys_of_kptk(tmp_path: Path, text: str) -> None:
    extra = "engine: openvino\nchannel_order: bgr\n"
    indented = "".join(f"  {line}\n" for line in extra.splitlines())
    config = load_config(write(tmp_path, text + (indented if text == OLD else extra)))
    assert (config.engine, config.channel_order) == ("openvino", "bgr")


def test_model_directories_are_found_beside_the_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "yaml", tmp_path / "cwd"
    for folder in (here / "det", there / "det", there / "kpt"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(there)
    old = OLD.replace("PP-YOLOE-S_human ", "det ").replace("PP-TinyPose_128x96", "./kpt")
    config = load_config(write(here, old))
    assert config.det_model == str(here / "det")
    assert config.kpt_model == str(there / "kpt")
    new = NEW.replace("model_dir: null", "model_dir: det", 1)
    assert load_config(write(here, new)).det_model == str(here / "det")


def test_a_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PP-YOLOE-S_human").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config(write(tmp_path, OLD)).det_model == "PP-YOLOE-S_human"


@pytest.mark.parametrize("text", ["img_size: 320", "img_size: [320, 320]"])
def test_img_size(tmp_path: Path, text: str) -> None:
    new = NEW.replace("threshold: 0.25", text)
    assert load_config(write(tmp_path, new)).det_img_size == (320, 320)


@pytest.mark.parametrize(
    ("base", "old", "new", "message"),
    [
        (NEW, "threshold", "treshold", "unknown key 'treshold'. Did you mean 'threshold'"),
        (OLD, "human_det_model", "det_model", "unknown key 'det_model'.* Did you mean"),
        (NEW, "ObjectDetection", "ObjectDetektion", "Did you mean 'ObjectDetection'"),
        (NEW, "threshold: 0.25", "threshold: 1.5", r"ObjectDetection.threshold .* less than"),
        (NEW, "threshold: 0.25", "threshold: .nan", "threshold"),
        (NEW, "threshold: 0.25", "threshold: high", "valid number. Got 'high'"),
        (NEW, "batch_size: 2", "batch_size: 0", "batch_size .* Got 0"),
        (NEW, "batch_size: 2", "batch_size: two", "batch_size .* Got 'two'"),
        (NEW, "batch_size: 2", "batch_size: true", "batch_size .* Got True"),
        (NEW, "threshold: 0.25", "img_size: [1, 2, 3]", "img_size"),
        (NEW, "PP-YOLOE-L_human", "PP-YOLOE-L_humans", "Did you mean 'PP-YOLOE-L_human'"),
        (NEW, "model_dir: null", "model_dir: nowhere", "model_dir .* must exist. .*looked for"),
        (OLD, "PP-TinyPose_128x96", "runs/night/best", "keypoint_det_model .* must exist"),
        (OLD, "device: gpu", "device: cuda:0", "'gpu:0'"),
        (OLD, "device: gpu", "device: [gpu]", "device"),
        (OLD, "device: gpu", "engine: tensorrt", "engine .* Got 'tensorrt'"),
        (NEW, "human_keypoint_detection", "object_detection", "pipeline_name"),
        (OLD, "Pipeline:", "Pipelines:", "either 'Pipeline' .* or 'SubModules'"),
        (NEW, "SubModules:", "SubModules: [", "not valid YAML"),
        (OLD, OLD, "- a list", "must hold a mapping"),
        (OLD, OLD, "", "must hold a mapping"),
        (OLD, OLD, "a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_wrong_files(tmp_path: Path, base: str, old: str, new: str, message: str) -> None:
    assert old in base
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, base.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmo", "Did you mean 'demo'"),
        ("human_keypoint_detect", "Did you mean 'human_keypoint_detection'"),
        ("pipelin.yaml", "no file .*Did you mean 'pipeline.yaml'"),
        (".", "is a folder"),
    ],
)
def test_wrong_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    write(tmp_path, NEW)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_config(name)


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("demo", ("demo-det", "demo-kpt")),
        ("human_keypoint_detection", ("PP-YOLOE-S_human", "PP-TinyPose_128x96")),
    ],
)
def test_builtin(name: str, models: Any) -> None:
    config = load_config(name)
    assert (config.det_model, config.kpt_model) == models
    assert (config.det_batch_size, config.kpt_batch_size) == (1, 16)
    assert config.det_threshold == 0.5
    assert config.path is None


@pytest.mark.parametrize("name", BUILTIN_CONFIGS)
def test_top_level_copies_are_the_same(name: str) -> None:
    copy = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    assert copy.read_text(encoding="utf-8") == builtin_config(name)


def test_unknown_builtin() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        builtin_config("demos")
