"""Films and cameras: frames in, people followed and smoothed, films with poses out.

Its names are imported when they are first used: reading images needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "OneEuro": "kptk.video.smoothing",
    "Tracker": "kptk.video.tracking",
    "VideoInfo": "kptk.video.reader",
    "VideoWriter": "kptk.video.writer",
    "probe": "kptk.video.reader",
    "save_video": "kptk.video.writer",
    "track": "kptk.video.tracking",
}

__all__ = ["OneEuro", "Tracker", "VideoInfo", "VideoWriter", "probe", "save_video", "track"]

if TYPE_CHECKING:
    from kptk.video.reader import VideoInfo, probe
    from kptk.video.smoothing import OneEuro
    from kptk.video.tracking import Tracker, track
    from kptk.video.writer import VideoWriter, save_video


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kptk.video' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
