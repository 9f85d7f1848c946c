"""Paddle model → ONNX file, once, with paddle2onnx in a process of its own.

The process keeps Paddle's import, its prints and its possible crash out of the caller's kernel.
An ONNX file made here carries the hash of its source, so that a model directory whose weights
were exported again is converted again.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
from pathlib import Path

from kptk.errors import MissingDependencyError, ModelError
from kptk.files import cache_dir, file_hash, lock, make_dir, paddlex_cache, replacing, run_module
from kptk.models.modeldir import ModelDir

_log = logging.getLogger(__name__)

_STAMP = "kptk_source"
# A StringStringEntryProto: tag 0x12, length 64 (0x40), then the hash in hex.
_STAMP_BYTES = re.compile(_STAMP.encode() + rb"\x12\x40([0-9a-f]{64})")


def can_convert() -> bool:
    """Return whether paddle2onnx and Paddle are installed, without importing them."""
    return all(importlib.util.find_spec(name) for name in ("paddle", "paddle2onnx", "onnx"))


def onnx_file(model: ModelDir) -> Path:
    """Return the model's ONNX file, converting the Paddle model the first time.

    The file is kept beside the model, or in the cache where the model's folder is read-only.

    Raises:
        MissingDependencyError: a conversion is needed and paddle2onnx is not installed.
        ModelError: the conversion failed; the message ends with what paddle2onnx said.
    """
    if model.paddle is None:
        if model.onnx is None:
            raise ModelError(
                f"{str(model.path)!r} holds neither an ONNX nor a Paddle model"
                + (", only OpenVINO's: use engine='openvino'." if model.openvino else ".")
            )
        return model.onnx
    source = file_hash(*model.paddle)
    if model.onnx is not None and _stamp(model.onnx) in (None, source):
        return model.onnx
    beside = model.onnx or model.paddle[0].with_suffix(".onnx")
    cached = cache_dir() / "onnx" / source[:16] / "inference.onnx"
    with lock(cache_dir() / "locks" / f"onnx-{source[:16]}.lock"):
        for target in (beside, cached):
            if target.is_file() and _stamp(target) == source:
                return target
        # another tool's cache is read, never written to
        theirs = beside.parent.resolve().is_relative_to(paddlex_cache().resolve())
        target = cached if theirs or not os.access(beside.parent, os.W_OK) else beside
        make_dir(target.parent)
        _log.info("Converting %s to ONNX (once): %s", model.name, target)
        convert(*model.paddle, target)
        return target


def convert(program: Path, params: Path, target: Path) -> None:
    """Write the ONNX form of a Paddle inference model to ``target``, all or nothing.

    Raises:
        MissingDependencyError: Paddle or paddle2onnx is not installed.
        ModelError: paddle2onnx refused the model.
    """
    if not can_convert():
        raise MissingDependencyError(
            f"Running the Paddle model {str(program)!r} needs Paddle, or paddle2onnx to make an "
            "ONNX file once; neither pair is installed. "
            "Install them with: pip install 'kptk[paddle]'"
        )
    with replacing(target) as temporary:
        run_module(
            __name__,
            program.resolve(),
            params.resolve(),
            temporary.resolve(),
            task=f"Converting {str(program)!r} with paddle2onnx (engine='paddle' does without)",
        )
        if not temporary.is_file():
            raise ModelError(f"paddle2onnx made no file of {str(program)!r}. Try engine='paddle'.")


def _stamp(onnx: Path) -> str | None:
    """Return the hash of the source the file was made from; None for a file of other origin.

    Metadata stands at the end of an ONNX file, so the tail is enough and no parser is needed.
    """
    with onnx.open("rb") as stream:
        stream.seek(max(0, onnx.stat().st_size - 4096))
        found = _STAMP_BYTES.search(stream.read())
    return found.group(1).decode() if found else None


def is_quantized(onnx: Path) -> bool:
    """Whether an ONNX file computes in int8: by the operator's name in its bytes, no parser."""
    return b"QuantizeLinear" in onnx.read_bytes()


def _main(program: str, params: str, target: str) -> None:
    import onnx
    import paddle2onnx

    # optimize_tool: the default one takes a minute and more for no faster model.
    paddle2onnx.export(program, params, target, optimize_tool="None")
    model = onnx.load(target)
    model.metadata_props.add(key=_STAMP, value=file_hash(Path(program), Path(params)))
    onnx.save(model, target)


if __name__ == "__main__":
    _main(*sys.argv[1:])
