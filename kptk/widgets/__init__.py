"""Widgets for JupyterLab: browse, check, compare. Imported when first used."""

from __future__ import annotations
