"""``kptk.export_model``: training weights, from wherever, to a checked model directory."""

from __future__ import annotations

import os
from pathlib import Path

from kptk.errors import ModelError, nearest
from kptk.preflight import ModelReport, check_model
from kptk.training.export import export_weights
from kptk.training.run import Run
from kptk.training.start import Start, StrPath, find_start


def export_model(
    source: StrPath | Run,
    save_path: StrPath,
    *,
    like: str | None = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> ModelReport:
    """Turn training weights into a model directory that PaddleX and kptk run.

    It holds ``inference.json``, ``.pdiparams``, ``.yml`` and ``.onnx``, and a model card. Every
    engine that is installed loads and runs it, and the answers are compared, before it is kept.

    Args:
        source: a ``.pdparams`` file, a run (its best weights) or its directory, or a name as in
            ``kptk.list_models()``.
        save_path: the directory to make.
        like: the name of the architecture, for a ``.pdparams`` file where neither its weights nor
            its path tell; one of the demo models for its input size too.
        input_size: (height, width) in pixels, multiples of 32; None: the source's.
        overwrite: replace the directory, if it is a model's.

    Returns:
        What `kptk.check_model` says of the directory; ``.path`` is where it is.

    Raises:
        ModelError: the weights cannot be read or do not fit, the engines do not agree, or the
            directory exists.
        DownloadError: the weights of a name could not be fetched.
        MissingDependencyError: ``kptk[finetune]`` is not installed.
    """
    target = Path(save_path).expanduser()
    check_target(target, overwrite)
    start = _start(source.path if isinstance(source, Run) else source, like)
    size = input_size or start.input_size
    if len(size) != 2 or any(side < 32 or side % 32 for side in size):
        raise ModelError(f"input_size must be (height, width), multiples of 32. Got {size}.")
    export_weights(start.weights, start.model, target, input_size=size, check=True)
    return check_model(target)


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


def _start(source: StrPath, like: str | None) -> Start:
    if like is None:
        return find_start(source)
    from kptk.architecture import architecture_of
    from kptk.catalog import MODELS

    if like not in MODELS:
        raise ModelError(
            f"like must be one of {', '.join(MODELS)}. Got {like!r}.{nearest(like, MODELS)}"
        )
    params = Path(os.fspath(source)).expanduser()
    if params.suffix != ".pdparams":
        raise ModelError(f"like is for a .pdparams file. Got {os.fspath(source)!r}.")
    architecture_of(params, like)
    return find_start(like, params)
