"""Error analysis: is it the detector, or the keypoint model?

Everything is array work on one bundle of candidates, poses and people (`kptk.analysis.bundle`).
The public way in is `kptk.analyze`.
"""

from __future__ import annotations

from kptk.analysis.options import AnalysisOptions

__all__ = ["AnalysisOptions"]
