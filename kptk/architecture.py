"""Which official network a file of training weights belongs to."""

from __future__ import annotations

from pathlib import Path

from kptk.catalog import ARCHITECTURES, MODELS
from kptk.errors import ModelError


def architecture_of(params: Path, like: str | None) -> str:
    """Tell which official network weights belong to, from ``like``, the path and the weights."""
    fitting = _fitting_architectures(params)
    if like is not None:
        chosen = MODELS[like].architecture if like in MODELS else like
        if chosen not in fitting:
            raise ModelError(
                f"{str(params)!r} holds weights of {' or '.join(fitting)}, not of {like!r}."
            )
        return chosen
    named = [name for name in fitting if name in _names_in_path(params, fitting)]
    candidates = named or list(fitting)
    if len(candidates) == 1:
        return candidates[0]
    raise ModelError(
        f"{str(params)!r} fits {' and '.join(candidates)}: their weights have the same shapes. "
        f"Say which with like={candidates[0]!r}, or put the size into the file's name, as in "
        f"'{candidates[0]}.pdparams'."
    )


def _names_in_path(params: Path, fitting: tuple[str, ...]) -> set[str]:
    """Official names whose size (``128x96``) is in the file's name or, failing that, above it."""
    for part in (params.stem, *(parent.name for parent in params.resolve().parents)):
        found = {name for name in fitting if name.rpartition("_")[2] in part.lower()}
        if found:
            return found
    return set()


def _fitting_architectures(params: Path) -> tuple[str, ...]:
    """Return the official networks whose parameters look like these.

    The stem of CSPResNet has 32 channels times the width: 1 for PP-YOLOE-L, 0.5 for S
    (PaddleDetection, configs/ppyoloe). The two sizes of PP-TinyPose share every shape.
    """
    from kptk.training.weights import read_pdparams

    shapes = {name: array.shape for name, array in read_pdparams(params).items()}
    stem = shapes.get("backbone.stem.conv1.conv.weight", ())
    if any(name.startswith("yolo_head.") for name in shapes) and stem[:1] in ((16,), (32,)):
        return ("PP-YOLOE-S_human",) if stem[0] == 16 else ("PP-YOLOE-L_human",)
    if "final_conv.weight" in shapes and "backbone.stem.conv1.norm.weight" in shapes:
        return ("PP-TinyPose_128x96", "PP-TinyPose_256x192")
    raise ModelError(
        f"{str(params)!r} must hold the weights of one of {', '.join(ARCHITECTURES)}. Its first "
        f"parameters are {', '.join(list(shapes)[:3]) or 'none'}."
    )
