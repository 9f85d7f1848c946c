"""From weights to a model directory that PaddleX and kptk can run.

A directory holds ``inference.json``, ``inference.pdiparams`` and ``inference.yml`` as PaddleX names
and fills them, ``inference.onnx``, and ``README.md``, the model card.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kptk.errors import ModelError
from kptk.files import run_module, to_yaml
from kptk.models import network
from kptk.models.catalog import MODELS
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import onnx_file
from kptk.models.weights import read_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB


def export_weights(
    params: str | os.PathLike[str],
    model: str,
    out_dir: str | os.PathLike[str],
    *,
    input_size: tuple[int, int] | None = None,
    card: str | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Make a model directory from a weight file.

    The work runs in a process of its own, since ppdet and Paddle print and keep global state.

    Args:
        params: a ``.pdparams`` file, kptk's ``.npz`` weights or a packed demo model.
        model: the architecture, e.g. ``"PP-TinyPose_128x96"``.
        out_dir: the directory to make; replaced whole if it exists.
        input_size: (height, width); None takes the published size.
        card: the text of ``README.md``; None writes none.
        check: called with the new directory before it is kept; raises if it must not be.

    Returns:
        The directory.

    Raises:
        ModelError: the weights do not fit the architecture, the export failed, or ``check``
            refused it; what was at ``out_dir`` stays then.
    """
    network.read_config(model)  # an unknown name fails here, before a process is started
    out_dir = Path(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".export-") as folder:
        target = Path(folder).resolve() / "model"
        target.mkdir()
        size = map(str, input_size or MODELS[model].input_size)
        task = f"Exporting {os.fspath(params)} as {model}"
        run_module(__name__, Path(params).resolve(), model, target, *size, task=task)
        onnx_file(ModelDir.open(target))
        if card is not None:
            (target / "README.md").write_text(card, encoding="utf-8")
        if check is not None:
            check(target)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        os.replace(target, out_dir)
    return out_dir


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a directory that is there, unless it is a model's and may be replaced.

    Raises:
        ModelError: it is in the way.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise ModelError(
            f"{target} exists already. Choose another save_path, or replace it with "
            "overwrite=True (kptk export --force)."
        )
    if not (target / "inference.yml").is_file():
        raise ModelError(f"{target} is no model directory, so it is not replaced.")


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

    detects = MODELS[model].kind == "detection"

    # the names of the arguments become the names of the graph's inputs
    class Graph(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: Any, scale_factor: Any = None) -> Any:
            out = self.net({"image": image, "scale_factor": scale_factor})
            return (out["bbox"], out["bbox_num"]) if detects else out["keypoint"]

    net.eval()
    for layer in net.sublayers():
        if deploy and hasattr(layer, "convert_to_deploy"):
            layer.convert_to_deploy()
    spec = [InputSpec([None, 3, *input_size], "float32", "image")]
    if detects:
        head = net.yolo_head
        head.eval_size = list(input_size)
        head.anchor_points, head.stride_tensor = head._generate_anchors()
        spec.append(InputSpec([None, 2], "float32", "scale_factor"))
    graph = Graph()
    graph.eval()
    static = paddle.jit.to_static(graph, input_spec=spec, full_graph=True)
    paddle.jit.save(static, str(out_dir / "inference"))
    (out_dir / "inference.yml").write_text(inference_yml(model, input_size), encoding="utf-8")


def inference_yml(model: str, input_size: tuple[int, int]) -> str:
    """The text of ``inference.yml``: preprocessing and labels, as PaddleX reads them."""
    height, width = input_size
    config: dict[str, Any] = {"mode": "paddle", "min_subgraph_size": 3}
    if MODELS[model].kind == "detection":
        size = {"target_size": [height, width], "keep_ratio": False, "interp": 2}
        fit = {"type": "Resize", **size}
        config |= {"arch": "YOLO", "draw_threshold": 0.5, "label_list": ["pedestrian"]}
    else:
        fit = {"type": "TopDownEvalAffine", "trainsize": [width, height]}
        config |= {"arch": "KeyPoint", "label_list": ["keypoint"]}
    scale = {"mean": list(MEAN), "std": list(STD), "norm_type": "mean_std", "is_scale": True}
    steps = [fit, {"type": "NormalizeImage", **scale}, {"type": "Permute"}]
    return to_yaml({**config, "Preprocess": steps, "Global": {"model_name": model}})


if __name__ == "__main__":
    params, model, out_dir, height, width = sys.argv[1:]
    net = network.build(model)
    network.load(net, read_weights(params), params)
    save_inference_model(net, model, Path(out_dir), (int(height), int(width)))
