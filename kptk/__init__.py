"""kptk: run, measure, explain and fine-tune the PaddleX human keypoint pipeline.

Public names are imported when they are first used, so ``import kptk`` stays fast; ``__init__.pyi``
lists them with their homes, once for type checkers, editors and lazy-loader.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
