"""COCO keypoint data: read, check, mend in memory, write, split, convert.

COCO's (x, y, width, height) boxes live only in here.
"""

from kptk.coco.dataset import split_coco, write_coco
from kptk.coco.load import DatasetReport, KeypointData, check_coco, load_coco
from kptk.coco.rules import DataReport, Finding
from kptk.coco.sheets import save_sheets

__all__ = [
    "DataReport",
    "DatasetReport",
    "Finding",
    "KeypointData",
    "check_coco",
    "load_coco",
    "save_sheets",
    "split_coco",
    "write_coco",
]
