"""PoseBrowser in a real JupyterLab: keys, sliders, zoom, hover, selection, both themes, saving."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.widgets.browsing import SETUP, save_predictions

pytestmark = pytest.mark.browser

SHOW = "b = kptk.PoseBrowser(ev, data, persons=persons, pipeline=kptk.create_pipeline('demo'))\nb"


def drawn(notebook, shown):
    """Wait until the page has drawn a further picture; return its pixels."""
    view = notebook.output(1).locator(".kptk-view")
    notebook.page.wait_for_function(
        "([e, n]) => Number(e.dataset.shown || 0) > n", arg=[view.element_handle(), shown]
    )
    return pixels(notebook)


def pixels(notebook):
    png = notebook.output(1).locator("canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def count(notebook):
    return int(notebook.output(1).locator(".kptk-view").get_attribute("data-shown") or 0)


def until_region(notebook, test):
    """Wait until the corners of what is shown, x1 y1 x2 y2, pass a test in JavaScript."""
    view = notebook.output(1).locator(".kptk-view").element_handle()
    notebook.page.wait_for_function(
        f"e => (({test})((e.dataset.view ?? '').split(' ').map(Number)))", arg=view
    )


def differ(a, b):
    return a.shape != b.shape or np.abs(a - b).mean() > 0.3


@pytest.fixture
def notebook(open_notebook, tmp_path):
    data = save_predictions(tmp_path / "predictions")
    setup = SETUP.format(folder=str(tmp_path / "predictions"), ids=data.image_ids)
    opened = open_notebook([setup, SHOW])
    drawn(opened, 0)
    return opened


def test_browse(notebook, lab, shots):
    canvas = notebook.output(1).locator("canvas")
    canvas.scroll_into_view_if_needed()
    first = pixels(notebook)
    notebook.shot(shots / "browser_light.png", notebook.output(1))

    # keys: only the picture in focus takes them
    size = canvas.bounding_box()
    canvas.click(position={"x": 5, "y": 5})
    n = count(notebook)
    notebook.page.keyboard.press("ArrowRight")
    second = drawn(notebook, n)
    assert differ(first, second)
    assert notebook.value("b.controls.position.value") == 2
    notebook.page.keyboard.press("ArrowLeft")
    notebook.wait_idle()
    assert notebook.value("b.controls.position.value") == 1

    # the slider: people below the threshold come in, without inference
    before = pixels(notebook)
    handle = notebook.output(1).locator(".kptk-side .noUi-handle").first
    handle.focus()
    n = count(notebook)
    for _ in range(30):
        notebook.page.keyboard.press("ArrowLeft")
    notebook.wait_idle()
    assert differ(before, drawn(notebook, n))
    assert notebook.value("b.controls.box_threshold.value") < 0.3
    assert notebook.value("len(b.state.shown)") == notebook.value(
        "len(data.people(data.image_ids[0]))"
    )

    # zoom by wheel and back by key
    canvas.click(position={"x": 5, "y": 5})
    notebook.page.mouse.move(size["x"] + 200, size["y"] + 200)
    notebook.page.mouse.wheel(0, -300)
    until_region(notebook, "r => r[0] > 0")
    notebook.until("b.view.region[0] > 0")
    x1, _, x2, _ = notebook.value("b.view.region")
    assert 0 < x1 < x2 and x2 - x1 < notebook.value("b.view.image_size")[0]
    notebook.page.keyboard.press("0")
    until_region(notebook, "r => r[0] === 0")
    notebook.until("b.view.region == [0, 0, *b.view.image_size]")

    # hover tells a joint's numbers
    x, y, _ = notebook.value("next(m for m in b.view.marks if 'score' in m[2])")
    scale = size["width"] / notebook.value("b.view.image_size")[0]
    now = canvas.bounding_box()
    notebook.page.mouse.move(now["x"] + x * scale, now["y"] + y * scale)
    tip = notebook.output(1).locator(".kptk-tip")
    tip.wait_for(state="visible")
    assert "score" in tip.inner_text() or "annotated" in tip.inner_text()
    notebook.shot(shots / "browser_hover.png", notebook.output(1))

    # a click on a person selects him; rings, crops and the heatmap come with keys
    notebook.page.mouse.click(now["x"] + x * scale, now["y"] + y * scale)
    notebook.wait_idle()
    assert notebook.value("b._selected") is not None
    for key, control in (("r", "rings"), ("c", "crops")):
        n = count(notebook)
        notebook.page.keyboard.press(key)
        drawn(notebook, n)
        assert notebook.value(f"b.controls.{control}.value") is True
    n = count(notebook)
    notebook.page.keyboard.press("h")
    drawn(notebook, n)
    assert notebook.value("b.state.heat.name") == "nose"

    # a label: one page a person
    notebook.output(1).locator("select").first.select_option("below-threshold")
    notebook.wait_idle()
    assert notebook.value("[p.annotation_id for p in b.pages]") == notebook.value(
        "persons[persons.label == 'below-threshold'].annotation_id.tolist()"
    )
    lab.theme("dark")
    notebook.shot(shots / "browser_dark.png", notebook.output(1))
    assert lab.foreign == []
    assert not [p for p in lab.problems if "kptk" in p.lower()], lab.problems


def test_saved_notebook_keeps_a_picture(notebook, shots):
    still = notebook.output(1).locator(".jp-RenderedImage")
    assert not still.is_visible()  # the widget is alive
    saved = notebook.save()
    widget, picture = saved["cells"][1]["outputs"]
    png = base64.b64decode("".join(picture["data"]["image/png"]))
    assert max(Image.open(io.BytesIO(png)).size) == 640
    assert "".join(widget["data"]["text/plain"]) == "<PoseBrowser: 3 images>"
    notebook.reload_without_kernel()
    still.wait_for(state="visible")
    notebook.shot(shots / "browser_reader.png", notebook.output(1))
