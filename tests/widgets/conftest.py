"""A JupyterLab server and a browser, one of each for the whole session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.widgets.lab import Lab, LabServer, Notebook, chromium, missing, write_notebook


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, open in headless Chromium. Its files are everybody's tmp_path."""
    reason = missing()
    if reason is not None:
        if os.environ.get("KPTK_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    server = LabServer(tmp_path_factory.getbasetemp())
    try:
        with sync_playwright() as play:
            options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
            browser = play.chromium.launch(executable_path=chromium(), args=options)
            yield Lab(server, browser)
            browser.close()
    finally:
        server.stop()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: the folder KPTK_SHOTS, to be looked at, or one that is thrown away."""
    return Path(os.environ.get("KPTK_SHOTS", tmp_path / "shots"))


@pytest.fixture
def open_notebook(lab: Lab, tmp_path: Path) -> Iterator[Callable[[Sequence[str]], Notebook]]:
    """Open a notebook of these cells, run them all, and close it after the test."""
    opened: list[Notebook] = []

    def run(cells: Sequence[str]) -> Notebook:
        path = write_notebook(tmp_path / f"notebook{len(opened)}.ipynb", cells)
        opened.append(lab.open(path))
        opened[-1].run()
        return opened[-1]

    yield run
    lab.theme("light")
    for notebook in opened:
        notebook.close()
