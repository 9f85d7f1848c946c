"""Engines. Expected values: the same convolution in numpy, and the official graph's heatmaps."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk.engines.load
import kptk.engines.onnx
import kptk.engines.openvino
import kptk.files
from kptk.engines.base import Device, Engine, parse_device
from kptk.engines.load import load_engine
from kptk.engines.onnx import has_cuda
from kptk.errors import DeviceError, MissingDependencyError, ModelError
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model
from tests.tiny_models import (
    WEIGHT,
    detector_dir,
    keypoint_config,
    keypoint_dir,
    onnx_detector_dir,
    patch_sums,
    write_config,
)

IMAGE = np.random.default_rng(1).standard_normal((2, 3, 128, 96)).astype(np.float32)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


ONNX_ENGINES = ["onnxruntime", pytest.param("openvino", marks=needs("openvino"))]
ALL_ENGINES = [*ONNX_ENGINES, pytest.param("paddle", marks=needs("paddle"))]


@pytest.fixture(scope="module")
def onnx_model(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    return ModelDir.open(keypoint_dir(tmp_path_factory.mktemp("onnx")))


PADDLE_SOURCE = """
import sys, numpy, paddle
class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 17, 4, stride=4, bias_attr=False)
        self.conv.weight.set_value(numpy.load(sys.argv[2]))
    def forward(self, image):
        heatmaps = self.conv(image)
        return heatmaps, heatmaps.argmax(3)
paddle.jit.save(Net(), sys.argv[1], input_spec=[
    paddle.static.InputSpec([None, 3, 128, 96], "float32", "image")])
"""


@pytest.fixture(scope="module")
def save_paddle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """Write the same convolution as a Paddle model; Paddle stays out of pytest's process."""
    scripts = tmp_path_factory.mktemp("paddle_source")
    (scripts / "save_tiny.py").write_text(PADDLE_SOURCE)
    np.save(scripts / "weight.npy", WEIGHT)

    def save(folder: Path, stem: str, new_format: bool = True) -> Path:
        command = [sys.executable, "save_tiny.py", str(folder / stem), "weight.npy"]
        environment = kptk.files.environment(str(scripts))
        environment["FLAGS_enable_pir_api"] = str(int(new_format))
        subprocess.run(command, check=True, capture_output=True, cwd=scripts, env=environment)
        return folder

    return save


@pytest.fixture(scope="module")
def paddle_model(
    tmp_path_factory: pytest.TempPathFactory, save_paddle: Callable[[Path, str], Path]
) -> ModelDir:
    folder = save_paddle(tmp_path_factory.mktemp("paddle"), "inference")
    write_config(folder / "inference.yml", keypoint_config())
    return ModelDir.open(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddlex"))
    return tmp_path / "cache"


def check_outputs(engine: Engine) -> None:
    heatmaps, argmax = engine.run({"image": IMAGE})
    expected = patch_sums(IMAGE)
    assert heatmaps.dtype == np.float32 and argmax.dtype == np.int64
    np.testing.assert_allclose(heatmaps, expected, atol=1e-4)
    assert (argmax == expected.argmax(3)).mean() > 0.99  # ties may fall either way


@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_an_onnx_file_runs(onnx_model: ModelDir, name: str) -> None:
    engine = load_engine(onnx_model, engine=name, device="cpu", threads=1)
    assert (engine.name, engine.device, engine.input_names) == (name, "cpu", ("image",))
    check_outputs(engine)
    check_outputs(engine)  # outputs of the first run are not overwritten memory


@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_outputs_stay_as_they_were(onnx_model: ModelDir, name: str) -> None:
    engine = load_engine(onnx_model, engine=name)
    first = engine.run({"image": IMAGE})[0]
    before = first.copy()
    engine.run({"image": -IMAGE})
    np.testing.assert_array_equal(first, before)


@needs("paddle", "paddle2onnx")
def test_a_paddle_model_runs_in_every_engine(
    paddle_model: ModelDir, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("paddle", "auto", "openvino"):
        if name == "openvino" and importlib.util.find_spec("openvino") is None:
            continue
        engine = load_engine(paddle_model, engine=name, device="cpu", threads=1)
        assert engine.name == ("onnxruntime" if name == "auto" else name)
        check_outputs(engine)
    assert (paddle_model.path / "inference.onnx").is_file()
    assert capfd.readouterr().out == ""  # a kernel's standard output stays clean


@needs("paddle", "paddle2onnx")
def test_paddledetections_old_format_runs(tmp_path: Path, save_paddle: Callable[..., Path]) -> None:
    folder = tmp_path / "old"
    save_paddle(folder, "model", new_format=False)
    write_config(folder / "infer_cfg.yml", keypoint_config(name=None))
    assert (folder / "model.pdmodel").is_file()
    model = ModelDir.open(folder)
    check_outputs(load_engine(model, engine="paddle", device="cpu"))
    check_outputs(load_engine(model, engine="onnxruntime", device="cpu"))
    assert ModelDir.open(folder).onnx == folder / "model.onnx"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_a_detectors_batch_is_run_image_by_image(
    onnx_model: ModelDir, name: str, threads: int
) -> None:
    """At one thread one after the other, at two side by side: the same numbers."""
    model = replace(onnx_model, kind="detection")
    engine = load_engine(model, engine=name, device="cpu", threads=threads)
    assert (engine.name, engine.device, engine.input_names) == (name, "cpu", ("image",))
    check_outputs(engine)


@pytest.mark.parametrize(
    ("kind", "has_openvino", "machine", "expected"),
    [
        ("detection", True, "x86_64", "openvino"),
        ("detection", True, "AMD64", "openvino"),
        ("detection", True, "arm64", "onnxruntime"),
        ("detection", False, "x86_64", "onnxruntime"),
        ("keypoint", True, "x86_64", "onnxruntime"),
    ],
)
def test_auto_takes_what_was_measured_to_be_fastest(
    onnx_model: ModelDir,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    has_openvino: bool,
    machine: str,
    expected: str,
) -> None:
    """benchmarks/RESULTS.md has the measurement; both are 32-bit floats."""
    found = {"openvino": object() if has_openvino else None, "paddle": None}
    monkeypatch.setattr(kptk.engines.load.importlib.util, "find_spec", found.get)
    monkeypatch.setattr(kptk.engines.load.platform, "machine", lambda: machine)
    chosen = kptk.engines.load._choose(replace(onnx_model, kind=kind), parse_device("cpu"))
    assert chosen == expected


@needs("paddle")
def test_what_native_code_prints_is_kept_from_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import os

    from kptk.engines.paddle import standard_output_closed

    print("before")
    with standard_output_closed():
        os.write(1, b"ReduceMeanCheckIfOneDNNSupport\n")
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"


@needs("paddle")
def test_one_dnn_gives_the_same(tmp_path: Path, paddle_model: ModelDir) -> None:
    from dataclasses import replace

    engine = load_engine(replace(paddle_model, kind="detection"), engine="paddle", device="cpu")
    check_outputs(engine)


@pytest.mark.parametrize(
    "inputs",
    [{}, {"picture": IMAGE}, {"image": IMAGE, "scale_factor": np.ones((2, 2), np.float32)}],
)
def test_input_names_must_fit(onnx_model: ModelDir, inputs: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="inputs are image"):
        load_engine(onnx_model).run(inputs)


@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_input_shapes_must_fit(onnx_model: ModelDir, name: str) -> None:
    with pytest.raises(ModelError, match=r"image \(\d, 3, 96, 128\)"):
        load_engine(onnx_model, engine=name).run({"image": IMAGE.transpose(0, 1, 3, 2)})


def test_other_dtypes_and_strides_are_converted(onnx_model: ModelDir) -> None:
    flipped = IMAGE[::-1].astype(np.float64)
    heatmaps = load_engine(onnx_model).run({"image": flipped})[0]
    np.testing.assert_allclose(heatmaps, patch_sums(IMAGE)[::-1], atol=1e-4)


@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_a_broken_onnx_file(tmp_path: Path, name: str) -> None:
    folder = keypoint_dir(tmp_path)
    (folder / "inference.onnx").write_bytes(b"not an onnx file")
    with pytest.raises(ModelError, match=r"inference\.onnx' cannot be loaded"):
        load_engine(ModelDir.open(folder), engine=name)


@needs("paddle")
def test_a_broken_paddle_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"inference\.json' cannot be loaded"):
        load_engine(ModelDir.open(detector_dir(tmp_path)), engine="paddle", device="cpu")


@needs("paddle", "paddle2onnx")
def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = detector_dir(tmp_path / "m")
    with pytest.raises(ModelError, match=r"paddle2onnx.*failed"):
        load_engine(ModelDir.open(folder), engine="onnxruntime")
    assert sorted(path.name for path in folder.iterdir()) == [
        "inference.json",
        "inference.pdiparams",
        "inference.yml",
    ]


def test_the_paddle_engine_needs_a_paddle_model(onnx_model: ModelDir) -> None:
    with pytest.raises(ModelError, match="engine='onnxruntime'"):
        load_engine(onnx_model, engine="paddle")


def test_engine_names(onnx_model: ModelDir) -> None:
    with pytest.raises(ModelError, match="Did you mean 'onnxruntime'"):
        load_engine(onnx_model, engine="onnx-runtime")


def build_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


def test_devices_this_build_lacks(onnx_model: ModelDir) -> None:
    if has_cuda():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match="CPU build"):
        load_engine(onnx_model, engine="onnxruntime", device="gpu:0")
    with pytest.raises(DeviceError, match="engine='paddle'"):
        load_engine(onnx_model, engine="onnxruntime", device="npu:0")
    with pytest.raises(DeviceError, match="must be 'auto'"):
        load_engine(onnx_model, device="cuda")


def test_the_number_of_a_gpu_reaches_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    build_with_cuda(monkeypatch)
    place = Device("gpu", 1)
    _, providers = kptk.engines.onnx._providers(place)
    name, options = providers[0]
    assert (name, options["device_id"]) == ("CUDAExecutionProvider", "1")
    assert kptk.engines.openvino._target(place, ["CPU", "GPU.0", "GPU.1"]) == (
        place,
        "GPU.1",
    )


def test_onnx_on_a_device_that_only_paddle_has(onnx_model: ModelDir) -> None:
    with pytest.raises(ModelError, match="For npu:0 make one of its training weights: kptk export"):
        load_engine(onnx_model, device="npu:0")


@needs("openvino")
def test_bfloat16_is_allowed_only_by_enable_hpi(onnx_model: ModelDir) -> None:
    """The tiny network sums patches of noise: bfloat16 keeps 8 bits, float32 24."""
    import openvino

    inputs = {"image": IMAGE}
    exact = patch_sums(IMAGE)
    full = load_engine(onnx_model, engine="openvino")
    assert full.precision == "f32"
    np.testing.assert_allclose(full.run(inputs)[0], exact, atol=1e-4)
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.warns(UserWarning, match="does not compute in bfloat16"):
            found = load_engine(onnx_model, engine="openvino", enable_hpi=True)
        assert found.precision == "f32"
        return
    reduced = load_engine(onnx_model, engine="openvino", enable_hpi=True)
    assert (reduced.name, reduced.precision) == ("openvino", "bf16")
    error = np.abs(reduced.run(inputs)[0] - exact).max()
    assert 1e-4 < error < 0.05 * np.abs(exact).max()


def test_enable_hpi_says_why_there_is_none(
    onnx_model: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = ModelDir.open(onnx_detector_dir(tmp_path))
    with pytest.warns(UserWarning, match="only OpenVINO has a reduced precision"):
        found = load_engine(onnx_model, engine="onnxruntime", enable_hpi=True)
    assert (found.name, found.precision) == ("onnxruntime", "f32")
    monkeypatch.setattr(kptk.engines.load.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install 'kptk\[openvino\]'"):
        load_engine(detector, enable_hpi=True)


@needs("openvino")
def test_enable_hpi_leaves_pose_models_where_they_are_fast(onnx_model: ModelDir) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_engine(onnx_model, device="cpu", enable_hpi=True)
    assert (found.name, found.precision) == ("onnxruntime", "f32")


def test_auto_means_the_gpu_where_onnx_runtime_has_one(
    onnx_model: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU build is imitated: what CUDA's provider answers where no GPU is, is the CPU's."""
    assert kptk.engines.onnx._providers(parse_device("auto"))[0] == parse_device("cpu")
    build_with_cuda(monkeypatch)
    place, providers = kptk.engines.onnx._providers(parse_device("auto"))
    assert place == parse_device("gpu") and providers[0][0] == "CUDAExecutionProvider"
    monkeypatch.setattr(
        kptk.engines.onnx, "_providers", lambda _: (place, ["CPUExecutionProvider"])
    )
    assert load_engine(onnx_model, engine="onnxruntime", device="auto").device == "cpu"
    with pytest.raises(DeviceError, match="could not open gpu:0"):
        load_engine(onnx_model, engine="onnxruntime", device="gpu:0")
    detector = ModelDir.open(onnx_detector_dir(tmp_path))
    with pytest.warns(UserWarning, match="there is an accelerator"):
        assert load_engine(detector, enable_hpi=True).precision == "f32"


@needs("openvino")
def test_openvino_names_what_it_has(onnx_model: ModelDir) -> None:
    with pytest.raises(DeviceError, match="OpenVINO has CPU"):
        load_engine(onnx_model, engine="openvino", device="mlu:0")


@needs("paddle")
@pytest.mark.parametrize("device", ["gpu:99", "npu:0", "xpu:0", "mlu:0"])
def test_paddle_names_what_it_has(paddle_model: ModelDir, device: str) -> None:
    for engine in ("paddle", "auto"):
        with pytest.raises(DeviceError, match=rf"is built for .*cpu.*'{device}'"):
            load_engine(paddle_model, engine=engine, device=device)


class FakeDevices:
    """paddle.device of a build with two GPUs and one NPU."""

    class cuda:
        device_count = staticmethod(lambda: 2)

    get_all_custom_device_type = staticmethod(lambda: ["npu"])
    get_available_custom_device = staticmethod(lambda: ["npu:0"])
    is_compiled_with_cuda = staticmethod(lambda: True)
    is_compiled_with_xpu = staticmethod(lambda: False)


class FakePaddle:
    __version__ = "3.2.2"
    device = FakeDevices


@pytest.mark.parametrize(
    ("asked", "got"), [("gpu:1", "gpu:1"), ("npu:0", "npu:0"), ("auto", "npu:0"), ("cpu", "cpu")]
)
def test_paddle_takes_the_device_asked_for(asked: str, got: str) -> None:
    from kptk.engines.base import parse_device
    from kptk.engines.paddle import _find_device

    assert str(_find_device(FakePaddle, parse_device(asked))) == got
    with pytest.raises(DeviceError, match=r"finds cpu, npu:0, gpu:0, gpu:1; 'gpu:2' is not"):
        _find_device(FakePaddle, parse_device("gpu:2"))


def test_an_official_model_without_paddle_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "paddle" in name else found(name)
    )
    model = ModelDir.open(detector_dir(tmp_path))
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(MissingDependencyError, match=r"pip install 'kptk\[paddle\]'"):
            load_engine(model, engine=engine)


def test_an_onnx_file_needs_no_paddle(onnx_model: ModelDir) -> None:
    code = (
        "import sys; from kptk.engines.load import load_engine;"
        "from kptk.models.modeldir import ModelDir;"
        "load_engine(ModelDir.open(sys.argv[1])); print('paddle' in sys.modules)"
    )
    root = Path(kptk.engines.load.__file__).parent.parent
    finished = subprocess.run(
        [sys.executable, "-c", code, str(onnx_model.path)],
        capture_output=True,
        text=True,
        cwd=root,
        check=True,
    )
    assert (finished.stdout, finished.stderr) == ("False\n", "")


@pytest.fixture(scope="module")
def tinypose_engines(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Engine]:
    """The reference weights, exported once, in every engine that is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        model = find_model(
            reference_dir / "tinypose" / "PP-TinyPose_128x96.pdparams", kind="keypoint"
        )
        names = [n for n in kptk.engines.load.ENGINES if importlib.util.find_spec(n)]
        return [load_engine(model, engine=name, device="cpu") for name in names]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, 128, 96)).astype("f4")


@needs("paddle", "ppdet", "paddle2onnx")
@pytest.mark.slow
def test_all_engines_give_the_same_heatmaps(
    tinypose_engines: list[Engine],
) -> None:
    assert len(tinypose_engines) >= 2
    first, *others = (engine.run({"image": noise(0)})[0] for engine in tinypose_engines)
    for heatmaps in others:
        np.testing.assert_allclose(heatmaps, first, atol=1e-5)


@needs("paddle", "ppdet", "paddle2onnx")
@pytest.mark.slow
def test_heatmaps_are_those_of_the_official_graph(
    reference_dir: Path,
    tinypose_engines: list[Engine],
) -> None:
    official = np.load(reference_dir / "tinypose" / "official_graph_heatmaps.npz")
    for seed, expected in zip(official["seeds"], official["heatmaps"], strict=True):
        for engine in tinypose_engines:
            heatmaps = engine.run({"image": noise(seed)})[0]
            np.testing.assert_allclose(heatmaps[0], expected, atol=1e-4, err_msg=engine.name)
            assert np.corrcoef(heatmaps[0].ravel(), expected.ravel())[0, 1] > 0.98
