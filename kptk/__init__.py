"""kptk: run, measure, explain and fine-tune the PaddleX human keypoint pipeline.

Public names are imported when they are first used, so ``import kptk`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "create_pipeline": "kptk.pipeline",
    "create_model": "kptk.pipeline",
    "Pipeline": "kptk.pipeline",
    "PoseResult": "kptk.results",
    "list_models": "kptk.zoo",
    "show_versions": "kptk.doctor",
    "demo_path": "kptk.demo",
    "KptkError": "kptk.errors",
}

__all__ = [
    "KptkError",
    "Pipeline",
    "PoseResult",
    "create_model",
    "create_pipeline",
    "demo_path",
    "list_models",
    "show_versions",
]

if TYPE_CHECKING:
    from kptk.demo import demo_path
    from kptk.doctor import show_versions
    from kptk.errors import KptkError
    from kptk.pipeline import Pipeline, create_model, create_pipeline
    from kptk.results import PoseResult
    from kptk.zoo import list_models


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kptk' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
