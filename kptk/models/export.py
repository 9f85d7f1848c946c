"""From weights to a model directory that PaddleX and kptk can run.

A directory holds ``inference.json``, ``inference.pdiparams`` and ``inference.yml`` as PaddleX names
and fills them, ``inference.onnx``, and ``README.md``, the model card.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from kptk.files import run_module
from kptk.models import network, weights

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's, RGB


def export_weights(
    params: str | os.PathLike[str],
    model: str,
    out_dir: str | os.PathLike[str],
    *,
    input_size: tuple[int, int] | None = None,
    onnx: bool = True,
    check: bool = False,
) -> Path:
    """Make a model directory from a weight file.

    The work runs in a process of its own, since ppdet and Paddle print and keep global state.

    Args:
        params: a ``.pdparams`` file, kptk's ``.npz`` weights or a packed demo model.
        model: the architecture, e.g. ``"PP-TinyPose_128x96"``.
        out_dir: the directory to make; replaced whole if it exists.
        input_size: (height, width); None takes the published size.
        onnx: also convert to ``inference.onnx``.
        check: load it again with every engine that is installed, and compare their answers.

    Returns:
        The directory.

    Raises:
        ModelError: the weights do not fit the architecture, the export failed, or the engines do
            not agree; what was at ``out_dir`` stays then.
    """
    network.read_config(model)  # an unknown name fails here, before a process is started
    out_dir = Path(out_dir)
    size = input_size or network.input_size_of(model)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".export-") as folder:
        target = Path(folder) / "model"
        run_module(
            "kptk.models.export",
            Path(params).resolve(),
            model,
            target.resolve(),
            str(size[0]),
            str(size[1]),
            task=f"Exporting {os.fspath(params)} as {model}",
        )
        if onnx:
            from kptk.models.modeldir import ModelDir
            from kptk.models.onnx import onnx_file

            onnx_file(ModelDir.open(target))
        if check:
            _check(target)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        os.replace(target, out_dir)
    return out_dir


def _check(folder: Path) -> None:
    from kptk.check import picture, try_model
    from kptk.errors import ModelError

    wrong = [check for check in try_model(folder, picture()) if not check.ok]
    if wrong:
        raise ModelError(
            "The exported model did not pass its check and was not kept. "
            + "; ".join(f"{check.name}: {check.detail}" for check in wrong)
        )


def save_inference_model(
    net: Any, model: str, out_dir: Path, input_size: tuple[int, int], *, deploy: bool = True
) -> None:
    """Write ``inference.json``, ``.pdiparams`` and ``.yml`` of a network.

    Args:
        net: the network; changed when ``deploy`` (re-parameterised), so export last.
        model: the architecture's name.
        out_dir: an existing directory.
        input_size: (height, width).
        deploy: merge the branches of RepVGG blocks, as PaddleDetection's export does.
    """
    import paddle
    from paddle.static import InputSpec

    net.eval()
    for layer in net.sublayers():
        if deploy and hasattr(layer, "convert_to_deploy"):
            layer.convert_to_deploy()
    height, width = input_size
    if network.kind_of(model) == "detection":
        net.yolo_head.eval_size = [height, width]
        net.yolo_head.anchor_points, net.yolo_head.stride_tensor = net.yolo_head._generate_anchors()
        spec = [
            InputSpec([None, 3, height, width], "float32", "image"),
            InputSpec([None, 2], "float32", "scale_factor"),
        ]
        wrapped: Any = _detection_layer(net)
    else:
        spec = [InputSpec([None, 3, height, width], "float32", "image")]
        wrapped = _keypoint_layer(net)
    wrapped.eval()
    static = paddle.jit.to_static(wrapped, input_spec=spec, full_graph=True)
    paddle.jit.save(static, str(out_dir / "inference"))
    (out_dir / "inference.yml").write_text(inference_yml(model, input_size), encoding="utf-8")


def _detection_layer(net: Any) -> Any:
    import paddle

    class Detection(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        # the names of the arguments become the names of the graph's inputs
        def forward(self, image: Any, scale_factor: Any) -> Any:
            out = self.net({"image": image, "scale_factor": scale_factor})
            return out["bbox"], out["bbox_num"]

    return Detection()


def _keypoint_layer(net: Any) -> Any:
    import paddle

    class Keypoint(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: Any) -> Any:
            return self.net({"image": image})["keypoint"]

    return Keypoint()


def inference_yml(model: str, input_size: tuple[int, int]) -> str:
    """The text of ``inference.yml``: preprocessing and labels, as PaddleX reads them."""
    from io import StringIO

    from ruamel.yaml import YAML

    height, width = input_size
    normalize = {"mean": _MEAN, "std": _STD, "norm_type": "mean_std", "is_scale": True}
    if network.kind_of(model) == "detection":
        resize = {"type": "Resize", "target_size": [height, width], "keep_ratio": False}
        preprocess = [{**resize, "interp": 2}, {"type": "NormalizeImage", **normalize}]
        config: dict[str, Any] = {"arch": "YOLO", "min_subgraph_size": 3, "draw_threshold": 0.5}
        labels = ["pedestrian"]
    else:
        preprocess = [
            {"type": "TopDownEvalAffine", "trainsize": [width, height]},
            {"type": "NormalizeImage", **normalize},
        ]
        config = {"arch": "KeyPoint", "min_subgraph_size": 3}
        labels = ["keypoint"]
    config = {
        "mode": "paddle",
        **config,
        "Preprocess": [*preprocess, {"type": "Permute"}],
        "label_list": labels,
        "Global": {"model_name": model},
    }
    out = StringIO()
    YAML(typ="safe", pure=True).dump(config, out)
    return out.getvalue()


def _main(params: str, model: str, target: str, height: str, width: str) -> None:
    from kptk.training.export import model_card

    folder = Path(target)
    folder.mkdir(parents=True)
    state = weights.read_weights(params)
    net = network.build(model, state, params)
    save_inference_model(net, model, folder, (int(height), int(width)))
    card = model_card(Path(params), model, (int(height), int(width)))
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
