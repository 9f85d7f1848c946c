"""AnalysisExplorer without a browser: choosing, relabelling, exporting. The labels are known.

With the predictions of `demo`, the first person of each image is found; all others have a box
that scores .3, below the threshold of .5, and a pose of which one joint is wrong.
"""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

import kptk
from kptk.errors import DataError, InputError
from kptk.widgets.choosing import NO_BOX, Choice
from kptk.widgets.explorer import AnalysisExplorer
from tests.widgets.demo import SETUP, UNSURE, demo_data, evaluation_of, save_predictions

EVERYWHERE = [[-0.1, -0.2], [1.1, -0.2], [1.1, 1.1], [-0.1, 1.1]]


@pytest.fixture(scope="module")
def data():
    return demo_data()


@pytest.fixture(scope="module")
def evaluation(data):
    return evaluation_of(data)


@pytest.fixture(scope="module")
def analysis(evaluation):
    return kptk.analyze(evaluation, progress=False)


@pytest.fixture
def explorer(analysis, evaluation, data):
    return AnalysisExplorer(analysis, evaluation, data)


def shown(explorer):
    return [page.annotation_id for page in explorer.browser.pages]


def labelled(analysis, label):
    persons = analysis.persons
    return persons[persons["label"] == label]["annotation_id"].tolist()


def send(explorer, **message):
    explorer.figures._handle_custom_msg(message, [])


def test_at_first_all_images(explorer, data):
    assert [page.image_id for page in explorer.browser.pages] == data.image_ids
    assert shown(explorer) == [None] * len(data)
    assert explorer.export_button.disabled and explorer.clear.disabled
    assert kptk.AnalysisExplorer is AnalysisExplorer


def test_a_bar_shows_its_people(explorer, analysis):
    send(explorer, bar="below-threshold", add=False)
    below = labelled(analysis, "below-threshold")
    assert shown(explorer) == below and len(below) >= 2
    assert f"<b>{len(below)} people</b>" in explorer.caption.value
    assert sum(explorer.figures.picked) == len(below)
    bars = {bar["label"]: bar["count"] for bar in explorer.figures.bars}
    assert bars["below-threshold"] == len(below)
    send(explorer, bar="ok", add=True)
    assert sorted(shown(explorer)) == sorted(below + labelled(analysis, "ok"))
    send(explorer, clear=True)
    assert shown(explorer) == [None] * 3


def test_a_cell_shows_the_people_with_such_a_joint(explorer, analysis):
    # Whoever is found has only good joints, on both boxes.
    send(explorer, cell=["good", "good"])
    assert shown(explorer) == labelled(analysis, "ok")
    send(explorer, cell=["good", "miss"])
    assert shown(explorer) == [] and explorer.export_button.disabled


def test_an_outline_shows_those_inside(explorer, analysis):
    send(explorer, outline=EVERYWHERE)
    assert shown(explorer) == analysis.persons["annotation_id"].tolist()
    floor = NO_BOX + 0.04
    send(explorer, outline=[[-0.1, floor], [1.1, floor], [1.1, 1.1], [-0.1, 1.1]])
    with_box = analysis.persons[analysis.persons["oks"].notna()]
    assert shown(explorer) == with_box["annotation_id"].tolist()
    points = np.frombuffer(explorer.figures.points, "<f4").reshape(-1, 3)
    assert points[:, 0] == pytest.approx(analysis.persons["oks_given"].to_numpy(), abs=1e-6)


def test_what_the_page_cannot_mean_is_ignored(explorer):
    for message in ({"bar": "nobody"}, {"cell": ["good", "x"]}, {"cell": []}, {"clear": True}, {}):
        send(explorer, **message)
    assert explorer.choice == Choice()


def test_a_lower_threshold_finds_those_below_it(explorer, evaluation, analysis):
    send(explorer, bar="below-threshold", add=False)
    explorer.det_threshold.value = UNSURE - 0.05
    assert shown(explorer) == []  # the choice stays; nobody is below the threshold any more
    assert explorer.browser.view.picture == b""
    other = kptk.analyze(evaluation, det_threshold=UNSURE - 0.05, progress=False)
    assert explorer.findings.label.tolist() == other.persons["label"].tolist()
    assert explorer.figures.joints == other.transitions.to_numpy().tolist()
    assert explorer.browser.controls.box_threshold.value == UNSURE - 0.05
    assert "draws" not in vars(explorer.labelled) and "draws" not in vars(analysis)
    explorer.reset.click()
    assert shown(explorer) == labelled(analysis, "below-threshold")


def test_a_stricter_oks_threshold_breaks_the_imperfect(explorer):
    explorer.det_threshold.value = 0.2
    before = explorer.findings.counts["ok"]
    explorer.oks_threshold.value = 0.99
    imperfect = (explorer.findings.oks < 0.99).sum()
    assert imperfect > 0 and explorer.findings.counts["ok"] == before - imperfect
    assert explorer.figures.threshold == 0.99


def test_the_browser_says_the_new_label(explorer, analysis):
    person = labelled(analysis, "below-threshold")[0]
    send(explorer, outline=EVERYWHERE)
    explorer.browser.go(shown(explorer).index(person))
    assert "below-threshold" in explorer.browser.caption.value
    explorer.det_threshold.value = 0.2
    assert explorer.browser.page.annotation_id == person
    assert "below-threshold" not in explorer.browser.caption.value


def test_export(explorer, analysis, data, tmp_path):
    below = labelled(analysis, "below-threshold")
    send(explorer, bar="below-threshold", add=False)
    explorer.path.value = str(tmp_path / "selection.json")
    explorer.export_button.click()
    assert "Wrote" in explorer.said.value
    content = json.loads((tmp_path / "selection.json").read_text())
    assert content["kptk_selection"]["annotation_ids"] == below
    images = sorted({a["image_id"] for i in data.image_ids for a in data.people(i)
                     if a["id"] in below})  # fmt: skip
    again = kptk.load_coco(
        data.images_dir,
        annotations=tmp_path / "selection.json",
        images=data.images_dir,
        check=False,
    )
    assert again.image_ids == images
    assert [a["id"] for i in images for a in again.people(i)] == [
        a["id"] for i in images for a in data.people(i)
    ]
    explorer.export_button.click()  # the file is there
    assert "exists already" in explorer.said.value
    with pytest.raises(DataError, match="exists already"):
        explorer.export()


def test_without_a_choice_there_is_nothing_to_export(explorer, tmp_path):
    with pytest.raises(InputError, match="Nobody is chosen"):
        explorer.export(tmp_path / "all.json")
    assert not list(tmp_path.iterdir())


def test_a_picture_for_the_saved_notebook(explorer):
    image = Image.open(io.BytesIO(explorer.snapshot()))
    assert image.format == "PNG" and image.width == 975
    assert "below-threshold" in repr(explorer)


def test_what_it_refuses(analysis, evaluation, data):
    with pytest.raises(InputError, match="The evaluation is a ErrorAnalysis"):
        AnalysisExplorer(analysis, analysis, data)
    with pytest.raises(InputError, match="same images"):
        AnalysisExplorer(analysis, evaluation, data.subset(data.image_ids[:1]))


# -- AnalysisExplorer in a real JupyterLab: bar, matrix cell, lasso, sliders, export, both themes.


SHOW = "an = kptk.analyze(ev, progress=False)\nx = kptk.AnalysisExplorer(an, ev, data)\nx"
BELOW = "an.persons[an.persons.label == 'below-threshold'].annotation_id.tolist()"
OK = "an.persons[an.persons.label == 'ok'].annotation_id.tolist()"


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


def pages_shown(notebook):
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


@pytest.mark.browser
def test_choose_relabel_and_export(notebook, lab, shots, tmp_path):
    output = notebook.output(1)
    view = output.locator(".kptk-view")
    assert pages_shown(notebook) == [None] * 3
    notebook.shot(shots / "explorer_all.png", output)

    # a bar: its people, and a second one with Shift
    n = int(view.get_attribute("data-shown"))
    press_bar(notebook, "below-threshold")
    below = notebook.value(BELOW)
    assert pages_shown(notebook) == below
    pressed(notebook, "bar below-threshold")
    assert caption(notebook).startswith(f"{len(below)} people")
    notebook.page.wait_for_function(
        "([e, n]) => Number(e.dataset.shown) > n", arg=[view.element_handle(), n]
    )
    lab.theme("light")
    notebook.shot(shots / "explorer_light.png", output)
    press_bar(notebook, "ok", modifiers=["Shift"])
    assert len(pages_shown(notebook)) == len(below) + len(notebook.value(OK))

    # a cell of the matrix: those with such a joint
    output.locator("[data-id='cell good,good']").click()
    notebook.wait_idle()
    assert pages_shown(notebook) == notebook.value(OK)
    pressed(notebook, "cell good,good")

    # a lasso round the top edge: those whose OKS is 1, which are found;
    # a click beside the points frees them
    drag(notebook, [(0.6, 0.004), (0.999, 0.004), (0.999, 0.055), (0.6, 0.055), (0.6, 0.02)])
    assert pages_shown(notebook) == notebook.value(OK)
    assert output.locator(".kptk-scatter polygon").get_attribute("points").count(" ") > 4
    lab.theme("dark")
    notebook.shot(shots / "explorer_dark.png", output)
    drag(notebook, [(0.4, 0.4)])
    assert pages_shown(notebook) == [None] * 3

    # the keyboard: a bar keeps the focus, Escape frees
    output.locator("[data-id='bar below-threshold']").focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_idle()
    assert pages_shown(notebook) == below
    notebook.page.wait_for_timeout(200)
    assert notebook.page.evaluate("document.activeElement.dataset.id") == "bar below-threshold"
    notebook.page.keyboard.press("Escape")
    notebook.wait_idle()
    assert pages_shown(notebook) == [None] * 3

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
    assert pages_shown(notebook) == [] and caption(notebook).startswith("0 people")
    counts = output.locator("[data-id='bar below-threshold'] .count")
    notebook.page.wait_for_function("e => e.textContent === '0'", arg=counts.element_handle())
    notebook.shot(shots / "explorer_slider.png", output)
    assert lab.foreign == []
    assert not [p for p in lab.problems if "kptk" in p.lower() or "chooser" in p], lab.problems


@pytest.mark.browser
def test_saved_notebook_keeps_a_picture(notebook, shots):
    widget, image = notebook.save()["cells"][1]["outputs"]
    png = base64.b64decode("".join(image["data"]["image/png"]))
    assert Image.open(io.BytesIO(png)).width == 975
    assert "".join(widget["data"]["text/plain"]).startswith("<AnalysisExplorer: ")
    notebook.reload_without_kernel()
    notebook.output(1).locator(".jp-RenderedImage").wait_for(state="visible")
    notebook.shot(shots / "explorer_reader.png", notebook.output(1))
