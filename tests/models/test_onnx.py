"""Which ONNX file is used, where a new one goes, and when it is made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kptk.models.onnx
from kptk.errors import ModelError
from kptk.files import file_hash
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import onnx_file
from tests.tiny_models import detector_dir, write_onnx


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddlex"))
    return tmp_path / "cache"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for paddle2onnx: a tiny network with the stamp; the targets are listed."""
    import onnx

    made: list[Path] = []

    def convert(program: Path, params: Path, target: Path) -> None:
        made.append(target)
        network = onnx.load(write_onnx(target))
        network.metadata_props.add(key="kptk_source", value=file_hash(program, params))
        onnx.save(network, target)

    monkeypatch.setattr(kptk.models.onnx, "convert", convert)
    return made


def test_a_model_is_converted_once_beside_its_folder(
    tmp_path: Path, conversions: list[Path]
) -> None:
    folder = detector_dir(tmp_path / "m")
    for _ in range(2):
        assert onnx_file(ModelDir.open(folder)) == folder / "inference.onnx"
    assert conversions == [folder / "inference.onnx"]


def test_new_weights_in_the_folder_are_converted_again(
    tmp_path: Path, conversions: list[Path]
) -> None:
    folder = detector_dir(tmp_path / "m")
    onnx_file(ModelDir.open(folder))
    (folder / "inference.pdiparams").write_bytes(b"trained further")
    onnx_file(ModelDir.open(folder))
    onnx_file(ModelDir.open(folder))
    assert len(conversions) == 2


def test_an_onnx_file_of_somebody_else_is_used_as_it_is(
    tmp_path: Path, conversions: list[Path]
) -> None:
    folder = detector_dir(tmp_path / "m")
    theirs = write_onnx(folder / "inference.onnx").read_bytes()
    assert onnx_file(ModelDir.open(folder)).read_bytes() == theirs
    assert conversions == []


def test_a_folder_one_may_not_write_to_is_left_alone(
    tmp_path: Path, cache: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = detector_dir(tmp_path / "m")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    first = onnx_file(ModelDir.open(folder))
    assert first.is_relative_to(cache / "onnx") and conversions == [first]
    assert onnx_file(ModelDir.open(folder)) == first and len(conversions) == 1


def test_paddlexs_cache_is_read_and_never_written(
    tmp_path: Path, cache: Path, conversions: list[Path]
) -> None:
    folder = detector_dir(tmp_path / "paddlex" / "official_models" / "PP-YOLOE-S_human")
    before = sorted(folder.iterdir())
    assert onnx_file(ModelDir.open(folder)).is_relative_to(cache)
    assert sorted(folder.iterdir()) == before


def test_a_converter_that_dies_is_reported_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[0] == sys.executable
        return subprocess.CompletedProcess(command, -11, "", "operator 'foo' is not supported")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(kptk.models.onnx, "can_convert", lambda: True)
    folder = detector_dir(tmp_path / "m")
    with pytest.raises(ModelError, match=r"exit code -11\).*operator 'foo'"):
        onnx_file(ModelDir.open(folder))
    assert not list(folder.glob("*.onnx"))
