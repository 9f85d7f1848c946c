"""Films and cameras: frames in, people followed and smoothed, films with poses out."""

from __future__ import annotations

from kptk.video.reader import VideoInfo, probe
from kptk.video.smoothing import OneEuro
from kptk.video.tracking import Tracker, track
from kptk.video.writer import VideoWriter, save_video

__all__ = ["OneEuro", "Tracker", "VideoInfo", "VideoWriter", "probe", "save_video", "track"]
