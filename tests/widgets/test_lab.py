"""The harness itself: a page that shows what a kernel said, in both themes, without a network."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_slider_in_the_page_moves_the_value_in_the_kernel(open_notebook, lab):
    notebook = open_notebook(["import ipywidgets as w", "s = w.IntSlider(value=3, max=9)\ns"])
    handle = notebook.output(1).locator(".noUi-handle")
    handle.focus()
    notebook.page.keyboard.press("ArrowRight")
    assert notebook.value("s.value") == 4


def test_both_themes(open_notebook, lab):
    notebook = open_notebook(["1 + 1"])
    colours = {}
    for name in ("dark", "light"):
        lab.theme(name)
        colours[name] = notebook.root.evaluate(
            "e => getComputedStyle(e).getPropertyValue('--jp-layout-color1')"
        )
    assert colours["dark"] != colours["light"]
    assert notebook.output(0).inner_text().split()[-1] == "2"


def test_a_cell_that_fails_is_a_failure(open_notebook):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_notebook(["1 / 0"])


def test_nothing_comes_from_elsewhere(lab):
    assert lab.foreign == []
