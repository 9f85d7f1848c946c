"""COCO keypoint data: read, check, repair in memory, write, split, convert.

COCO's (x, y, width, height) boxes live only in here.
"""

import warnings
from typing import Any

from kptk.coco.dataset import KeypointData, split_coco, write_coco
from kptk.coco.load import CheckReport, check_coco, load_coco
from kptk.coco.rules import DataReport, Finding
from kptk.coco.sheets import save_sheets

__all__ = [
    "CheckReport",
    "DataReport",
    "Finding",
    "KeypointData",
    "check_coco",
    "load_coco",
    "save_sheets",
    "split_coco",
    "write_coco",
]


def __getattr__(name: str) -> Any:
    if name == "DatasetReport":
        warnings.warn("kptk.coco.DatasetReport is now CheckReport.", DeprecationWarning, 2)
        return CheckReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
