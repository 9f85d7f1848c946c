"""kptk: run, measure, explain and fine-tune the PaddleX human keypoint pipeline.

Public names are imported when they are first used, so ``import kptk`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AnalysisExplorer": "kptk.widgets.explorer",
    "create_pipeline": "kptk.pipeline.pipeline",
    "create_model": "kptk.pipeline.pipeline",
    "Pipeline": "kptk.pipeline.pipeline",
    "CompareRuns": "kptk.widgets.compare",
    "DatasetReport": "kptk.widgets.dataset",
    "PoseBrowser": "kptk.widgets.browser",
    "PoseResult": "kptk.pipeline.results",
    "list_models": "kptk.models.zoo",
    "show_versions": "kptk.check",
    "demo_path": "kptk.demo",
    "evaluate": "kptk.evaluation",
    "Evaluation": "kptk.evaluation",
    "analyze": "kptk.analysis.result",
    "ErrorAnalysis": "kptk.analysis.result",
    "load_coco": "kptk.coco",
    "KeypointData": "kptk.coco",
    "LabelEditor": "kptk.widgets.editor",
    "TrainingMonitor": "kptk.widgets.monitor",
    "check_model": "kptk.check",
    "export_edge": "kptk.export",
    "export_model": "kptk.training.export",
    "finetune": "kptk.training.finetune",
    "load_run": "kptk.training.run",
    "compare_runs": "kptk.training.run",
    "Run": "kptk.training.run",
    "VideoWriter": "kptk.video",
    "save_video": "kptk.video",
    "track": "kptk.video",
    "swap_weights": "kptk.pipeline.config",
    "predict_dataset": "kptk.bulk",
    "read_predictions": "kptk.bulk",
    "StoredPredictions": "kptk.bulk",
    "KptkError": "kptk.errors",
}

__all__ = [
    "AnalysisExplorer",
    "CompareRuns",
    "DatasetReport",
    "ErrorAnalysis",
    "Evaluation",
    "KeypointData",
    "KptkError",
    "LabelEditor",
    "Pipeline",
    "PoseBrowser",
    "PoseResult",
    "Run",
    "StoredPredictions",
    "TrainingMonitor",
    "VideoWriter",
    "analyze",
    "check_model",
    "compare_runs",
    "create_model",
    "create_pipeline",
    "demo_path",
    "evaluate",
    "export_edge",
    "export_model",
    "finetune",
    "list_models",
    "load_coco",
    "load_run",
    "predict_dataset",
    "read_predictions",
    "save_video",
    "show_versions",
    "swap_weights",
    "track",
]

if TYPE_CHECKING:
    from kptk.analysis.result import ErrorAnalysis, analyze
    from kptk.bulk import StoredPredictions, predict_dataset, read_predictions
    from kptk.check import check_model, show_versions
    from kptk.coco import KeypointData, load_coco
    from kptk.demo import demo_path
    from kptk.errors import KptkError
    from kptk.evaluation import Evaluation, evaluate
    from kptk.export import export_edge
    from kptk.models.zoo import list_models
    from kptk.pipeline.config import swap_weights
    from kptk.pipeline.pipeline import Pipeline, create_model, create_pipeline
    from kptk.pipeline.results import PoseResult
    from kptk.training.export import export_model
    from kptk.training.finetune import finetune
    from kptk.training.run import Run, compare_runs, load_run
    from kptk.video import VideoWriter, save_video, track
    from kptk.widgets.browser import PoseBrowser
    from kptk.widgets.compare import CompareRuns
    from kptk.widgets.dataset import DatasetReport
    from kptk.widgets.editor import LabelEditor
    from kptk.widgets.explorer import AnalysisExplorer
    from kptk.widgets.monitor import TrainingMonitor


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kptk' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
