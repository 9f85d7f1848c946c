"""Names, folders and weight files → model directories. The network is a server on 127.0.0.1."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

import kptk.models.zoo
from kptk.errors import DownloadError, ModelError
from kptk.models.catalog import ARCHITECTURES
from kptk.models.modeldir import architecture_of
from kptk.models.zoo import MODELS, ModelSpec, find_model, find_weights, list_models, where_is
from tests.local_server import LocalServer, Page, serve, tar_of
from tests.tiny_models import detector_config, detector_dir, keypoint_dir, write_config

NAME = "PP-TinyPose_128x96"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddlex"))
    monkeypatch.setenv("KPTK_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """The official addresses, moved to this machine."""
    monkeypatch.delenv("KPTK_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as running:
        moved = {
            name: replace(
                spec,
                url=spec.url and f"{running.address}/{name}_infer.tar",
                weights_url=spec.weights_url and f"{running.address}/{name}_pretrained.pdparams",
            )
            for name, spec in MODELS.items()
        }
        monkeypatch.setattr(kptk.models.zoo, "MODELS", moved)
        yield running


def test_the_official_records_are_those_of_the_tutorial() -> None:
    # name, mAP, AP50, GPU ms, CPU ms, MB: PaddleX's tutorial, section 1
    tables = [
        ("PP-YOLOE-L_human", 48.0, 81.9, 32.8, 777.7, 196.02),
        ("PP-YOLOE-S_human", 42.5, 77.9, 15.0, 179.3, 28.79),
        ("PP-TinyPose_128x96", 58.4, None, None, None, 4.9),
        ("PP-TinyPose_256x192", 68.3, None, None, None, 4.9),
    ]
    for name, *numbers in tables:
        row = list_models().set_index("name").loc[name]
        for column, number in zip(
            ("AP", "AP50", "gpu_ms", "cpu_ms", "size_mb"), numbers, strict=True
        ):
            if number is None:
                assert math.isnan(row[column])
            else:
                assert row[column] == pytest.approx(number)
    base = "https://paddle-model-ecology.bj.bcebos.com/paddlex"
    assert MODELS[NAME].url == f"{base}/official_inference_model/paddle3.0.0/{NAME}_infer.tar"
    weights = f"{base}/official_pretrained_model/{NAME}_pretrained.pdparams"
    assert MODELS[NAME].weights_url == weights


def test_records_are_frozen() -> None:
    assert list(MODELS)[4:] == ["demo-det", "demo-kpt"]
    assert tuple(MODELS)[:4] == ARCHITECTURES
    with pytest.raises(FrozenInstanceError):
        MODELS[NAME].ap = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        MODELS["mine"] = MODELS[NAME]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PP-TinyPose_128x69", f"Did you mean '{NAME}'"),
        ("pp-yoloe-s_human", "Did you mean 'PP-YOLOE-S_human'"),
        ("PP-YOLOE-S", "Did you mean 'PP-YOLOE-S_human'"),
        ("demo", "The names are PP-YOLOE-L_human, .*demo-kpt"),
        ("", "no model named ''"),
        (None, "Got None"),
        ("folder/model", "no model at 'folder/model'"),
        ("best.pdparams", r"no model at 'best\.pdparams'"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    for find in (find_model, find_weights):
        with pytest.raises(ModelError, match=message):
            find(name)


def test_a_folder_and_a_file_in_it(tmp_path: Path) -> None:
    folder = keypoint_dir(tmp_path / "mine", name=None)
    assert find_model(folder).name == "mine"
    assert find_model(str(folder), kind="keypoint").path == folder
    with pytest.raises(ModelError, match="its folder would be"):
        find_model(folder / "inference.onnx")


def test_a_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"A detection model belongs here.*demo-det"):
        find_model(keypoint_dir(tmp_path / "mine"), kind="detection")
    with pytest.raises(ModelError, match="'PP-YOLOE-S_human' is a detection model"):
        find_model("PP-YOLOE-S_human", kind="keypoint")  # and nothing is fetched for it
    with pytest.raises(ModelError, match="kind must be"):
        find_model(NAME, kind="pose")


def test_an_official_name_is_fetched_once(server: LocalServer, tmp_path: Path, cache: Path) -> None:
    server.add(f"/{NAME}_infer.tar", Page(tar_of(keypoint_dir(tmp_path / "m"), f"{NAME}_infer")))
    for _ in range(2):
        model = find_model(NAME, kind="keypoint")
        assert model.path == cache / "models" / NAME and model.name == NAME
    assert server.asked == [f"/{NAME}_infer.tar"]
    table = list_models().set_index("name")["where"]
    assert table[NAME] == "cached" and table["PP-TinyPose_256x192"] == "to download"


def test_the_wrong_model_behind_an_address(
    server: LocalServer, tmp_path: Path, cache: Path
) -> None:
    wrong = keypoint_dir(tmp_path / "m", size=256)
    server.add(f"/{NAME}_infer.tar", Page(tar_of(wrong, "m")))
    with pytest.raises(DownloadError, match=r"input size \(128, 96\).*\(256, 192\)"):
        find_model(NAME)
    (wrong / "inference.yml").unlink()
    server.add(f"/{NAME}_infer.tar", Page(tar_of(wrong, "m")))
    with pytest.raises(DownloadError, match="does not hold a model"):
        find_model(NAME)
    assert not (cache / "models" / NAME).exists() and not (cache / "pins").exists()


def test_a_damaged_cache_says_what_to_delete(cache: Path) -> None:
    folder = keypoint_dir(cache / "models" / NAME)
    assert find_model(NAME).path == folder
    (folder / "inference.onnx").unlink()
    with pytest.raises(ModelError, match=f"Delete .*{NAME}' to fetch it again"):
        find_model(NAME)


def test_paddlexs_own_cache_is_used(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="KPTK_OFFLINE"):
        find_model(NAME)
    theirs = keypoint_dir(tmp_path / "paddlex" / "official_models" / NAME)
    assert find_model(NAME).path == theirs
    assert where_is(MODELS[NAME]) == "PaddleX cache"
    (theirs / "inference.yml").write_text("broken: [")
    with pytest.raises(DownloadError, match="KPTK_OFFLINE"):
        find_model(NAME)  # a broken copy there is left aside


def test_offline_says_where_to_put_the_model(cache: Path) -> None:
    with pytest.raises(DownloadError) as error:
        find_model(NAME)
    for part in (str(MODELS[NAME].url), str(cache / "models" / NAME / "inference.yml")):
        assert part in str(error.value)


def test_demo_models_are_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kptk.models.zoo, "_PACKAGED", tmp_path)
    assert where_is(MODELS["demo-kpt"]) == "missing"
    for find in (find_model, find_weights):
        with pytest.raises(ModelError, match="make demo-models"):
            find("demo-kpt")
    folder = keypoint_dir(tmp_path / "demo-kpt")
    assert find_model("demo-kpt").path == folder
    assert find_weights("demo-kpt") == folder
    used = sum(path.stat().st_size for path in folder.iterdir())
    (folder / "README.md").write_bytes(b" " * (500_000 - used))
    row = list_models().set_index("name").loc["demo-kpt"]
    assert row["where"] == "packaged" and row["size_mb"] == 0.5


def test_training_weights(server: LocalServer, tmp_path: Path, cache: Path) -> None:
    body = pickle.dumps({"w": np.zeros(3)}, protocol=2)
    server.add(f"/{NAME}_pretrained.pdparams", Page(body))
    for _ in range(2):
        path = find_weights(NAME)
        assert path == cache / "weights" / f"{NAME}_pretrained.pdparams"
        assert path.read_bytes() == body
    assert len(server.asked) == 1
    assert find_weights(path) == path
    with pytest.raises(ModelError, match=r"must be a \.pdparams file"):
        find_weights(keypoint_dir(tmp_path / "m"))


def write_weights(path: Path, **shapes: tuple[int, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name.replace("__", "."): np.zeros(shape, "f4") for name, shape in shapes.items()}
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


TINYPOSE = {"backbone__stem__conv1__norm__weight": (32,), "final_conv__weight": (17, 40, 1, 1)}
YOLOE = {"yolo_head__stem_cls__0__fc__weight": (1,)}


@pytest.mark.parametrize(
    ("file", "shapes", "expected"),
    [
        # the four official file names, and PaddleDetection's
        ("PP-TinyPose_128x96_pretrained.pdparams", TINYPOSE, "PP-TinyPose_128x96"),
        ("tinypose_256x192.pdparams", TINYPOSE, "PP-TinyPose_256x192"),
        # a training run keeps the name in its folder
        (
            "runs/PP-TinyPose_256x192/best_model/best_model.pdparams",
            TINYPOSE,
            "PP-TinyPose_256x192",
        ),
        # the file's own name counts before its folder's
        ("PP-TinyPose_256x192/tinypose_128x96.pdparams", TINYPOSE, "PP-TinyPose_128x96"),
        (
            "best.pdparams",
            {"backbone__stem__conv1__conv__weight": (16, 3, 3, 3)},
            "PP-YOLOE-S_human",
        ),
        (
            "best.pdparams",
            {"backbone__stem__conv1__conv__weight": (32, 3, 3, 3)},
            "PP-YOLOE-L_human",
        ),
    ],
)
def test_the_architecture_is_told_from_weights_and_path(
    tmp_path: Path, file: str, shapes: dict[str, tuple[int, ...]], expected: str
) -> None:
    shapes = shapes if "final_conv__weight" in shapes else shapes | YOLOE
    assert architecture_of(write_weights(tmp_path / "w" / file, **shapes), None) == expected


def test_an_architecture_nobody_can_tell_is_asked_for(tmp_path: Path) -> None:
    params = write_weights(tmp_path / "w" / "best.pdparams", **TINYPOSE)
    with pytest.raises(ModelError, match=r"Say which with like='PP-TinyPose_128x96'"):
        architecture_of(params, None)
    assert architecture_of(params, "PP-TinyPose_256x192") == "PP-TinyPose_256x192"
    assert architecture_of(params, "demo-kpt") == "PP-TinyPose_128x96"
    with pytest.raises(ModelError, match="not of 'PP-YOLOE-S_human'"):
        architecture_of(params, "PP-YOLOE-S_human")
    other = write_weights(tmp_path / "w" / "resnet.pdparams", fc__weight=(3, 3))
    with pytest.raises(ModelError, match=r"first parameters are fc\.weight"):
        architecture_of(other, None)


def test_weights_are_exported_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kptk.models.export as export

    calls: list[tuple[Path, str, tuple[int, int]]] = []

    def fake(params: Path, model: str, out_dir: Path, *, input_size: tuple[int, int]) -> Path:
        calls.append((params, model, input_size))
        return keypoint_dir(out_dir)

    monkeypatch.setattr(export, "export_weights", fake)
    params = write_weights(tmp_path / "w" / "tinypose_128x96.pdparams", **TINYPOSE)
    for _ in range(2):
        model = find_model(params)
        assert model.path.parent == cache / "exported" and model.kind == "keypoint"
    assert calls == [(params, NAME, (128, 96))]
    write_weights(params, **TINYPOSE, extra=(1,))
    find_model(params)
    assert len(calls) == 2  # other bytes, another export
    with pytest.raises(ModelError, match="A detection model belongs here"):
        find_model(params, kind="detection")


def test_a_spec_says_what_the_table_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("x", "keypoint", NAME, (128, 96), "mine")
    monkeypatch.setattr(kptk.models.zoo, "MODELS", {"x": spec})
    (row,) = list_models().to_dict("records")
    assert row["input_size"] == "128 x 96" and row["where"] == "missing"
    assert isinstance(row["AP"], float) and math.isnan(row["AP"])


def test_folder_names_never_hide_a_models_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    detector_dir(tmp_path / NAME)
    write_config(tmp_path / NAME / "inference.yml", detector_config(None))
    with pytest.raises(DownloadError):
        find_model(NAME)
    assert find_model(f"./{NAME}").kind == "detection"
