"""``import kptk`` leaves heavy packages alone, and every public name has a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kptk

HEAVY = (
    "paddle",
    "onnxruntime",
    "openvino",
    "matplotlib",
    "pandas",
    "ipywidgets",
    "cv2",
    "IPython",
    "av",
)


def loaded_after(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(Path(kptk.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import kptk",
        "import kptk.io.sources, kptk.pipeline.results, kptk.pipeline.results",
        "import kptk.cli",
        "import kptk.pipeline.pipeline, kptk.models.zoo, kptk.engines.load",
        "import kptk; kptk.create_pipeline; kptk.PoseResult; kptk.list_models; kptk.show_versions",
        "import kptk; repr(kptk.show_versions())",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert loaded_after(code) == set()


def test_the_check_itself_can_fail() -> None:
    assert "cv2" in loaded_after("import cv2")


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(kptk.__all__) <= set(dir(kptk))
    assert kptk.PoseResult.__name__ == "PoseResult"
    with pytest.raises(AttributeError, match="nothing"):
        kptk.nothing  # noqa: B018
