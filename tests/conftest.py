"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Public reference data kept outside the repository; see KPTK_REFERENCE_DIR in the README."""
    value = os.environ.get("KPTK_REFERENCE_DIR", "")
    if value and Path(value).is_dir():
        return Path(value)
    message = f"KPTK_REFERENCE_DIR must name the folder of reference data. Got {value!r}."
    if os.environ.get("KPTK_REQUIRE_REFERENCE") == "1":
        pytest.fail(message)
    pytest.skip(message)
