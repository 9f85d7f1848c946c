"""AnalysisExplorer in a real JupyterLab: bar, matrix cell, lasso, sliders, export, both themes."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from tests.widgets.browsing import SETUP, save_predictions

pytestmark = pytest.mark.browser

SHOW = "an = kptk.analyze(ev, progress=False)\nx = kptk.AnalysisExplorer(an, ev, data)\nx"
BELOW = "an.persons[an.persons.label == 'below-threshold'].annotation_id.tolist()"
FOUND = "an.persons[an.persons.label == 'ok'].annotation_id.tolist()"


@pytest.fixture
def notebook(open_notebook, tmp_path):
    data = save_predictions(tmp_path / "predictions")
    setup = SETUP.format(folder=str(tmp_path / "predictions"), ids=data.image_ids)
    opened = open_notebook([setup, SHOW])
    opened.output(1).locator(".kptk-bar").first.wait_for(state="visible")
    opened.page.wait_for_function(
        "e => Number(e.dataset.shown || 0) > 0",
        arg=opened.output(1).locator(".kptk-view").element_handle(),
    )
    return opened


def shown(notebook):
    return notebook.value("[p.annotation_id for p in x.browser.pages]")


def caption(notebook):
    return notebook.output(1).locator(".kptk-chosen").inner_text()


def press_bar(notebook, label, **options):
    notebook.output(1).locator(f"[data-id='bar {label}']").click(**options)
    notebook.wait_idle()


def pressed(notebook, expected):
    """Wait until the figures say what is chosen."""
    ids = "e => [...e.querySelectorAll('[aria-pressed=true]')].map(b => b.dataset.id).join()"
    view = notebook.output(1).locator(".kptk-chooser").element_handle()
    notebook.page.wait_for_function(f"([e, ids]) => ({ids})(e) === ids", arg=[view, expected])


def drag(notebook, corners):
    """Draw through these shares of the scatter's width and height."""
    svg = notebook.output(1).locator(".kptk-scatter svg")
    svg.scroll_into_view_if_needed()
    box, mouse = svg.bounding_box(), notebook.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=4)
    mouse.up()
    notebook.wait_idle()


def test_choose_relabel_and_export(notebook, lab, shots, tmp_path):
    output = notebook.output(1)
    view = output.locator(".kptk-view")
    assert shown(notebook) == [None] * 3
    notebook.shot(shots / "explorer_all.png", output)

    # a bar: its people, and a second one with Shift
    n = int(view.get_attribute("data-shown"))
    press_bar(notebook, "below-threshold")
    below = notebook.value(BELOW)
    assert shown(notebook) == below
    pressed(notebook, "bar below-threshold")
    assert caption(notebook).startswith(f"{len(below)} people")
    notebook.page.wait_for_function(
        "([e, n]) => Number(e.dataset.shown) > n", arg=[view.element_handle(), n]
    )
    lab.theme("light")
    notebook.shot(shots / "explorer_light.png", output)
    press_bar(notebook, "ok", modifiers=["Shift"])
    assert len(shown(notebook)) == len(below) + len(notebook.value(FOUND))

    # a cell of the matrix: those with such a joint
    output.locator("[data-id='cell good,good']").click()
    notebook.wait_idle()
    assert shown(notebook) == notebook.value(FOUND)
    pressed(notebook, "cell good,good")

    # a lasso round the top edge: those whose OKS is 1, which are found;
    # a click beside the points frees them
    drag(notebook, [(0.6, 0.004), (0.999, 0.004), (0.999, 0.055), (0.6, 0.055), (0.6, 0.02)])
    assert shown(notebook) == notebook.value(FOUND)
    assert output.locator(".kptk-scatter polygon").get_attribute("points").count(" ") > 4
    lab.theme("dark")
    notebook.shot(shots / "explorer_dark.png", output)
    drag(notebook, [(0.4, 0.4)])
    assert shown(notebook) == [None] * 3

    # the keyboard: a bar keeps the focus, Escape frees
    output.locator("[data-id='bar below-threshold']").focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_idle()
    assert shown(notebook) == below
    notebook.page.wait_for_timeout(200)
    assert notebook.page.evaluate("document.activeElement.dataset.id") == "bar below-threshold"
    notebook.page.keyboard.press("Escape")
    notebook.wait_idle()
    assert shown(notebook) == [None] * 3

    # export
    press_bar(notebook, "below-threshold")
    target = tmp_path / "chosen.json"
    field = output.locator(".widget-text input").first
    field.fill(str(target))
    field.press("Tab")
    output.get_by_role("button", name="Export selection").click()
    notebook.wait_idle()
    content = json.loads(target.read_text())
    assert content["kptk_selection"]["annotation_ids"] == below
    assert {i["id"] for i in content["images"]} == set(
        notebook.value("x.findings.images(x.choice)")
    )
    assert "Wrote" in output.locator(".kptk-said").inner_text()

    # the slider: below .3 nobody is below the threshold, without inference
    handle = output.locator(".noUi-handle").first
    handle.focus()
    for _ in range(25):
        notebook.page.keyboard.press("ArrowLeft")
    notebook.wait_idle()
    assert notebook.value("x.det_threshold.value") == pytest.approx(0.25)
    assert shown(notebook) == [] and caption(notebook).startswith("0 people")
    counts = output.locator("[data-id='bar below-threshold'] .count")
    notebook.page.wait_for_function("e => e.textContent === '0'", arg=counts.element_handle())
    notebook.shot(shots / "explorer_slider.png", output)
    assert lab.foreign == []
    assert not [p for p in lab.problems if "kptk" in p.lower() or "chooser" in p], lab.problems


def test_saved_notebook_keeps_a_picture(notebook, shots):
    widget, picture = notebook.save()["cells"][1]["outputs"]
    png = base64.b64decode("".join(picture["data"]["image/png"]))
    assert Image.open(io.BytesIO(png)).width == 975
    assert "".join(widget["data"]["text/plain"]).startswith("<AnalysisExplorer: ")
    notebook.reload_without_kernel()
    notebook.output(1).locator(".jp-RenderedImage").wait_for(state="visible")
    notebook.shot(shots / "explorer_reader.png", notebook.output(1))
