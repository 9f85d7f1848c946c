"""What ONNX Runtime needs on CUDA, without a GPU. Expected values: the same batch, unfilled."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import kptk.engines.onnx
from kptk.engines.base import parse_device
from kptk.engines.load import load_engine
from kptk.engines.onnx import (
    FixedBatches,
    OnnxRuntimeEngine,
    cuda_options,
    preload_libraries,
)
from kptk.errors import ModelError
from kptk.models.modeldir import ModelDir
from tests.tiny_models import keypoint_dir, onnx_detector_dir, patch_sums, write_onnx

pytestmark = pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
onnx = pytest.importorskip("onnx")
NOISE = np.random.default_rng(1).standard_normal((70, 3, 128, 96)).astype(np.float32)


class Counting(OnnxRuntimeEngine):
    """The CPU's engine, which says that it is the second GPU's and keeps the batch sizes."""

    def __init__(self, onnx: Path, place: Any, threads: int) -> None:
        super().__init__(onnx, parse_device("cpu"), threads)
        self.device = "gpu:1"
        self.sizes: list[int] = []

    def run(self, inputs: Any) -> tuple[Any, ...]:
        self.sizes += [len(array) for array in inputs.values()]
        return super().run(inputs)


@pytest.fixture
def engine(tmp_path: Path) -> Counting:
    return Counting(write_onnx(tmp_path / "f.onnx"), None, 1)


class Graph:
    """In place of a recorded graph: the tiny network's sums, and a note of what it was made for."""

    made: ClassVar[list[Any]] = []

    def __init__(self, onnx: Path, number: int, dimension: Any, example: Any, answers: Any) -> None:
        self.made.append((onnx.name, number, dimension, example.shape, [a.shape for a in answers]))
        self.runs: list[str] = []

    def run(self, batch: Any) -> tuple[Any, ...]:
        self.runs.append(threading.current_thread().name)
        if not np.isfinite(batch).all():
            raise RuntimeError("CUDA failure 2: out of memory")
        return (patch_sums(batch),)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(kptk.engines.onnx, "_Graph", Graph)
    Graph.made.clear()
    return Graph.made


def fixed(engine: Counting, folder: Path) -> FixedBatches:
    batches = FixedBatches(engine, folder / "f.onnx", 1, (3, 128, 96))
    assert engine.sizes == [16]  # to learn the shapes of what comes out
    engine.sizes.clear()
    return batches


@pytest.mark.parametrize(
    ("people", "sizes"), [(1, [16]), (16, [16]), (17, [64]), (64, [64]), (70, [64, 16])]
)
def test_batches_have_few_sizes(
    engine: Counting, tmp_path: Path, people: int, sizes: list[int]
) -> None:
    """There is no CUDA here, so no graph: the engine itself gets the filled batches."""
    found = fixed(engine, tmp_path).run({"image": NOISE[:people]})
    np.testing.assert_allclose(found[0], patch_sums(NOISE[:people]), atol=1e-4)
    assert all(len(output) == people for output in found)
    assert engine.sizes == sizes


def test_a_graph_is_made_once_and_stays_with_its_thread(
    engine: Counting, tmp_path: Path, graphs: list[Any]
) -> None:
    batches = fixed(engine, tmp_path)
    shapes = [(16, 17, 32, 24), (16, 17, 32)]
    assert graphs == [("f.onnx", 1, "n", (16, 3, 128, 96), shapes)]
    for people in (3, 9, 30):
        found = batches.run({"image": NOISE[:people]})
        np.testing.assert_allclose(found[0], patch_sums(NOISE[:people]), atol=1e-4)
    assert len(graphs) == 1
    assert engine.sizes == [64]  # of 30 people; the others went through the graph
    runs = batches._graph.runs  # type: ignore[union-attr]
    assert len(runs) == 2 and len(set(runs)) == 1 and runs[0].startswith("kptk-graph")


def test_what_does_not_fit_is_an_error_as_before(
    engine: Counting, tmp_path: Path, graphs: list[Any]
) -> None:
    batches = fixed(engine, tmp_path)
    good = batches.run({"image": NOISE[:2]})[0]
    for wrong in (NOISE[:2, :, :60], NOISE[:2].transpose(0, 1, 3, 2)):  # the second is as long
        shape = ", ".join(map(str, wrong.shape))
        with pytest.raises(ModelError, match=rf"could not run on image \({shape}\)"):
            batches.run({"image": wrong})
    with pytest.raises(ModelError, match="out of memory"):
        batches.run({"image": np.full_like(NOISE[:2], np.nan)})
    with pytest.raises(ModelError, match="inputs are image"):
        batches.run({"picture": NOISE[:2]})
    assert (batches.run({"image": NOISE[:2]})[0] == good).all()
    assert len(batches.run({"image": NOISE[:0]})[0]) == 0


def test_pose_models_on_a_gpu_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kptk.engines.onnx, "OnnxRuntimeEngine", Counting)
    pose = ModelDir.open(keypoint_dir(tmp_path / "kpt"))
    found = load_engine(pose, engine="onnxruntime", device="gpu:1")
    assert (found.name, found.device) == ("onnxruntime", "gpu:1")
    together = found._together  # type: ignore[attr-defined]
    assert isinstance(together, FixedBatches)
    detector = ModelDir.open(onnx_detector_dir(tmp_path / "det"))
    found = load_engine(detector, engine="onnxruntime", device="gpu:1")
    assert isinstance(found._together, Counting)  # type: ignore[attr-defined]


def test_a_file_whose_batch_is_fixed_is_run_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kptk.engines.onnx, "OnnxRuntimeEngine", Counting)
    folder = keypoint_dir(tmp_path / "kpt")
    model = onnx.load(folder / "inference.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "inference.onnx")
    found = load_engine(ModelDir.open(folder), engine="onnxruntime", device="gpu:1")
    assert isinstance(found._together, Counting)  # type: ignore[attr-defined]
    assert len(found.run({"image": NOISE[:1]})[0]) == 1


def test_options_are_strings_and_keep_float32() -> None:
    options = cuda_options(2)
    assert options["device_id"] == "2" and options["use_tf32"] == "0"
    assert all(isinstance(value, str) for value in options.values())


def test_libraries_are_loaded_once_and_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    calls = []
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: calls.append(print("nothing found")), raising=False
    )
    preload_libraries.cache_clear()
    preload_libraries()
    preload_libraries()
    assert len(calls) == 1 and capsys.readouterr().out == ""
    preload_libraries.cache_clear()
