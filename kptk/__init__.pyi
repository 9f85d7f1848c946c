# The public names and their homes: what `kptk/__init__.py` imports on first use.

from .analysis.result import ErrorAnalysis as ErrorAnalysis
from .analysis.result import analyze as analyze
from .bulk import predict_dataset as predict_dataset
from .check import check_model as check_model
from .check import show_versions as show_versions
from .coco import KeypointData as KeypointData
from .coco import load_coco as load_coco
from .demo import demo_path as demo_path
from .errors import KptkError as KptkError
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate as evaluate
from .export import export_edge as export_edge
from .models.zoo import list_models as list_models
from .pipeline.config import swap_weights as swap_weights
from .pipeline.pipeline import Pipeline as Pipeline
from .pipeline.pipeline import create_model as create_model
from .pipeline.pipeline import create_pipeline as create_pipeline
from .pipeline.results import PoseResult as PoseResult
from .stored import StoredPredictions as StoredPredictions
from .stored import read_predictions as read_predictions
from .training.export import export_model as export_model
from .training.finetune import finetune as finetune
from .training.run import Run as Run
from .training.run import compare_runs as compare_runs
from .training.run import load_run as load_run
from .video import VideoWriter as VideoWriter
from .video import save_video as save_video
from .video import track as track
from .widgets.browser import PoseBrowser as PoseBrowser
from .widgets.compare import CompareRuns as CompareRuns
from .widgets.dataset import DatasetReport as DatasetReport
from .widgets.editor import LabelEditor as LabelEditor
from .widgets.explorer import AnalysisExplorer as AnalysisExplorer
from .widgets.monitor import TrainingMonitor as TrainingMonitor

__version__: str
