"""COCO keypoint data: read, check, mend in memory, write, split, convert.

COCO's (x, y, width, height) boxes live only in here.
"""

from kptk.coco.check import DatasetReport, check_coco
from kptk.coco.data import KeypointData, load_coco
from kptk.coco.report import DataReport, Finding
from kptk.coco.sheets import save_sheets
from kptk.coco.split import split_coco
from kptk.coco.write import write_coco

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
