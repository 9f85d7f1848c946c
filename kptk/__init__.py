"""kptk: run, measure, explain and fine-tune the PaddleX human keypoint pipeline.

Public names are imported when they are first used, so ``import kptk`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AnalysisExplorer": "kptk.widgets.explorer",
    "create_pipeline": "kptk.pipeline",
    "create_model": "kptk.pipeline",
    "Pipeline": "kptk.pipeline",
    "CompareRuns": "kptk.widgets.compare",
    "DatasetReport": "kptk.widgets.dataset",
    "PoseBrowser": "kptk.widgets.browser",
    "PoseResult": "kptk.results",
    "list_models": "kptk.zoo",
    "show_versions": "kptk.doctor",
    "demo_path": "kptk.demo",
    "evaluate": "kptk.evaluation",
    "Evaluation": "kptk.evaluation",
    "analyze": "kptk.analysis.api",
    "ErrorAnalysis": "kptk.analysis.result",
    "load_coco": "kptk.coco",
    "KeypointData": "kptk.coco",
    "LabelEditor": "kptk.widgets.editor",
    "TrainingMonitor": "kptk.widgets.monitor",
    "check_model": "kptk.preflight",
    "export_edge": "kptk.edge.export",
    "export_model": "kptk.training.export_model",
    "finetune": "kptk.training.finetune",
    "load_run": "kptk.training.run",
    "compare_runs": "kptk.training.table",
    "Run": "kptk.training.run",
    "VideoWriter": "kptk.video.writer",
    "save_video": "kptk.video.writer",
    "track": "kptk.video.tracking",
    "swap_weights": "kptk.swap",
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
    from kptk.analysis.api import analyze
    from kptk.analysis.result import ErrorAnalysis
    from kptk.bulk import StoredPredictions, predict_dataset, read_predictions
    from kptk.coco import KeypointData, load_coco
    from kptk.demo import demo_path
    from kptk.doctor import show_versions
    from kptk.edge.export import export_edge
    from kptk.errors import KptkError
    from kptk.evaluation import Evaluation, evaluate
    from kptk.pipeline import Pipeline, create_model, create_pipeline
    from kptk.preflight import check_model
    from kptk.results import PoseResult
    from kptk.swap import swap_weights
    from kptk.training.export_model import export_model
    from kptk.training.finetune import finetune
    from kptk.training.run import Run, load_run
    from kptk.training.table import compare_runs
    from kptk.video.tracking import track
    from kptk.video.writer import VideoWriter, save_video
    from kptk.widgets.browser import PoseBrowser
    from kptk.widgets.compare import CompareRuns
    from kptk.widgets.dataset import DatasetReport
    from kptk.widgets.editor import LabelEditor
    from kptk.widgets.explorer import AnalysisExplorer
    from kptk.widgets.monitor import TrainingMonitor
    from kptk.zoo import list_models


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kptk' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
