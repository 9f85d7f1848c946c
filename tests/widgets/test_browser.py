"""PoseBrowser without a page: filters, pages, state, what it refuses."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kptk
from kptk.errors import InputError
from kptk.pipeline.results import PoseResult
from kptk.widgets.browser import BY_IMAGE, WORST_FIRST
from tests.widgets.demo import (
    N_IMAGES,
    SETUP,
    SURE,
    UNSURE,
    WRIST,
    demo_data,
    evaluation_of,
    save_predictions,
)


@pytest.fixture(scope="module")
def data():
    return demo_data()


@pytest.fixture(scope="module")
def evaluation(data):
    return evaluation_of(data)


@pytest.fixture(scope="module")
def people(data):
    return [a for i in data.image_ids for a in data.people(i)]


@pytest.fixture(scope="module")
def persons(data, people):
    first = {data.people(i)[0]["id"] for i in data.image_ids}
    return pd.DataFrame(
        {
            "image_id": [a["image_id"] for a in people],
            "annotation_id": [a["id"] for a in people],
            "label": ["ok" if a["id"] in first else "below-threshold" for a in people],
        }
    )


@pytest.fixture
def browser(evaluation, data, persons):
    return kptk.PoseBrowser(evaluation, data, persons=persons)


def ids(browser):
    return [page.annotation_id for page in browser.pages]


def test_a_page_for_each_image_at_the_pipelines_threshold(browser, data):
    assert [page.image_id for page in browser.pages] == data.image_ids
    assert browser.controls.box_threshold.value == 0.5
    assert repr(browser) == f"<PoseBrowser: {N_IMAGES} images>"
    assert browser.state.poses.scores[browser.state.shown].tolist() == [SURE]


def test_a_slider_acts_on_what_was_predicted(browser, data):
    before = browser.view.picture
    browser.controls.box_threshold.value = UNSURE - 0.01
    assert browser.view.picture != before
    assert len(browser.state.shown) == len(data.people(data.image_ids[0]))


def test_turning_pages_stops_at_the_ends(browser):
    images = [browser.view.picture]
    for _ in range(N_IMAGES + 2):
        browser.go(1)
        images.append(browser.view.picture)
    assert browser.controls.position.value == N_IMAGES
    assert len(set(images)) == N_IMAGES
    assert browser.controls.next.disabled and not browser.controls.previous.disabled
    browser.go(-100)
    assert browser.controls.position.value == 1 and browser.controls.previous.disabled


@pytest.mark.parametrize(
    ("key", "control"),
    [("poses", "poses"), ("truth", "truth"), ("crops", "crops"), ("rings", "rings")],
)
def test_a_key_switches_what_is_drawn(browser, key, control):
    before, switch = browser.view.picture, getattr(browser.controls, control)
    value = switch.value
    browser._hear(None, {"key": key}, [])
    assert switch.value is not value and browser.view.picture != before
    browser._hear(None, {"key": key}, [])
    assert browser.view.picture == before


def test_keys_turn_pages(browser):
    for key, place in (("next", 2), ("last", N_IMAGES), ("previous", N_IMAGES - 1), ("first", 1)):
        browser._hear(None, {"key": key}, [])
        assert browser.controls.position.value == place


def test_a_label_makes_a_page_for_each_such_person(browser, persons):
    browser.controls.label.value = "below-threshold"
    wanted = persons[persons.label == "below-threshold"].annotation_id.tolist()
    assert ids(browser) == wanted
    state = browser.state
    assert state.look.focus == wanted[0]
    assert state.look.region != (0, 0, *browser.view.image_size)
    assert "below-threshold" in browser.view.label
    browser.controls.whole.value = True
    assert browser.state.look.region is None


def test_a_missed_joint_finds_the_people_whose_joint_was_moved(browser, data):
    # demo.py moves the left wrist of all but the first person of each image, by a third of
    # their height: far more than the distance of similarity .5, .124 sqrt(2 ln 2 area)
    browser.controls.missed.value = WRIST
    moved = [
        a["id"]
        for i in data.image_ids
        for a in data.people(i)[1:]
        if a["keypoints"][3 * WRIST + 2] > 0
    ]
    assert moved and ids(browser) == moved
    browser.controls.missed.value = 0
    assert browser.pages == [] and browser.state is None
    assert browser.caption.value == "No page passes these filters."


def test_worst_first_puts_the_moved_wrists_first(browser, people):
    browser.controls.order.value = WORST_FIRST
    found = [browser._similarity["oks"][i] for i in ids(browser)]
    assert found == sorted(found) and len(found) == len(people)
    assert found[0] < 1 and found[-1] == pytest.approx(1)
    browser.controls.order.value = BY_IMAGE
    assert len(browser.pages) == N_IMAGES


def test_the_analysis_own_oks_decides_where_there_is_one(evaluation, data, persons):
    graded = persons.assign(oks=np.linspace(1, 0, len(persons)))
    browser = kptk.PoseBrowser(evaluation, data, persons=graded)
    browser.controls.order.value = WORST_FIRST
    assert ids(browser) == persons.annotation_id.tolist()[::-1]


def test_scores_choose_images(browser, data):
    browser.controls.scores.value = (0.2, 0.4)
    wanted = [i for i in data.image_ids if len(data.people(i)) > 1]
    assert [page.image_id for page in browser.pages] == wanted
    browser.controls.scores.value = (0.95, 1.0)
    assert browser.pages == []


def test_subsets_of_images(evaluation, data):
    browser = kptk.PoseBrowser(evaluation, data, subsets={"last": data.image_ids[-1:]})
    browser.controls.images.value = "last"
    assert [page.image_id for page in browser.pages] == data.image_ids[-1:]


def test_exactly_these_people(browser, people):
    chosen = [people[2]["id"], people[0]["id"]]
    browser.show_people(chosen)
    assert ids(browser) == chosen
    browser.show_people(None)
    assert len(browser.pages) == N_IMAGES


def test_a_filter_keeps_the_page_where_it_can(browser):
    browser.go(1)
    page = browser.page
    browser.controls.scores.value = (0.2, 0.4)
    assert browser.page == page


def test_zoom_asks_for_a_part_and_a_new_page_shows_all(browser):
    before = browser.view.picture
    browser.view.wanted = [10.0, 10.0, 100.0, 100.0]
    assert browser.view.region == [10, 10, 100, 100] and browser.view.picture != before
    jump = browser.view.jump
    browser.go(1)
    assert browser.view.region == [0, 0, *browser.view.image_size] and browser.view.jump == jump + 1


def test_poses_on_annotated_boxes(browser, data):
    browser._hear(None, {"key": "boxes"}, [])
    state = browser.state
    here = [a["id"] for a in data.people(data.image_ids[0])]
    assert state.poses.ids[state.shown].tolist() == here


def test_a_click_selects_a_person(browser):
    browser.controls.box_threshold.value = 0.1
    browser.controls.crops.value = True
    all_crops = browser.view.picture
    browser._hear(None, {"select": 0}, [])
    assert browser.state.chosen.tolist() == [0] and browser.view.picture != all_crops
    browser._hear(None, {"select": None}, [])
    assert browser.view.picture == all_crops


def test_heatmap_of_one_joint(evaluation, data):
    pipe = kptk.create_pipeline("demo")
    browser = kptk.PoseBrowser(evaluation, data, pipeline=pipe)
    before = browser.view.picture
    browser.controls.heat.value = WRIST
    heat, box = browser.state.heat, browser.state.poses.boxes[0]
    assert browser.view.picture != before and heat.name == "left_wrist"
    # the pipeline, on the same box, places the joint where the heatmap's highest cell is
    point = pipe.pose.predict([browser.state.scene.image], [box[None]])[0][0, WRIST]
    y, x = np.unravel_index(heat.values.argmax(), heat.values.shape)
    peak = np.array(heat.corner) + heat.cell * np.array([x, y])
    assert np.abs(peak - point[:2]).max() < heat.cell
    assert heat.values.max() == pytest.approx(point[2])


def test_results_without_ground_truth():
    boxes = np.array([[10, 10, 60, 90]], np.float32)
    points = np.full((1, 17, 3), 40, np.float32)
    result = PoseResult(
        np.full((100, 120, 3), 90, np.uint8), "a", None, ".jpg", boxes,
        np.array([0.4], np.float32), points,
    )  # fmt: skip
    broken = replace(result, image=None, error=InputError("damaged"))
    browser = kptk.PoseBrowser([result, broken])
    assert len(browser.state.shown) == 1 and browser.controls.truth.disabled
    browser.go(1)
    assert browser.caption.value == "<b>a</b>: damaged"


def test_a_data_set_alone(data):
    browser = kptk.PoseBrowser(data)
    assert len(browser.state.scene.truth) == len(data.people(data.image_ids[0]))
    assert len(browser.state.shown) == 0


def test_a_picture_for_the_saved_notebook(browser, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: shown.append(bundle))
    browser._ipython_display_()
    widget, snapshot = shown
    assert "application/vnd.jupyter.widget-view+json" in widget
    image = Image.open(io.BytesIO(snapshot["image/png"]))
    assert image.format == "PNG" and max(image.size) == 640
    assert widget["text/plain"] == snapshot["text/plain"] == f"<PoseBrowser: {N_IMAGES} images>"


def test_the_old_name_of_a_snapshot(browser):
    with pytest.warns(DeprecationWarning, match="snapshot"):
        assert browser.still() == browser.snapshot()


def test_images_are_read_when_they_are_looked_at(evaluation, data, monkeypatch):
    read = []
    monkeypatch.setattr(
        type(data), "read", lambda self, i: read.append(i) or np.zeros((9, 9, 3), np.uint8)
    )
    browser = kptk.PoseBrowser(evaluation, data)
    assert read == data.image_ids[:1]
    browser.controls.crops.value = True
    browser.go(1)
    browser.go(-1)
    assert read == data.image_ids[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda ev, data: (ev,), "needs the data of an evaluation too"),
        (lambda ev, data: (ev, data.subset([])), "must be the data that was evaluated"),
        (lambda ev, data: ([],), "a list of PoseResults"),
        (lambda ev, data: (3,), "Got int"),
        (lambda ev, data: (replace(ev, predictions=None), data), "what the pipeline predicted"),
    ],
)
def test_what_it_refuses(evaluation, data, arguments, message):
    with pytest.raises(InputError, match=message):
        kptk.PoseBrowser(*arguments(evaluation, data))


@pytest.mark.parametrize(
    ("persons", "message"),
    [([1], "must be a DataFrame"), (pd.DataFrame({"label": []}), "image_id, annotation_id not")],
)
def test_persons_must_be_a_table_of_people(evaluation, data, persons, message):
    with pytest.raises(InputError, match=message):
        kptk.PoseBrowser(evaluation, data, persons=persons)


# -- PoseBrowser in a real JupyterLab: keys, sliders, zoom, hover, selection, both themes, saving.


SHOW = "b = kptk.PoseBrowser(ev, data, persons=persons, pipeline=kptk.create_pipeline('demo'))\nb"


def drawn(notebook, shown):
    """Wait until the page has drawn a further image; return its pixels."""
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


@pytest.mark.browser
def test_browse(notebook, lab, shots):
    canvas = notebook.output(1).locator("canvas")
    canvas.scroll_into_view_if_needed()
    first = pixels(notebook)
    notebook.shot(shots / "browser_light.png", notebook.output(1))

    # keys: only the image in focus takes them
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


@pytest.mark.browser
def test_saved_notebook_keeps_a_picture(notebook, shots):
    snapshot = notebook.output(1).locator(".jp-RenderedImage")
    assert not snapshot.is_visible()  # the widget is alive
    saved = notebook.save()
    widget, image = saved["cells"][1]["outputs"]
    png = base64.b64decode("".join(image["data"]["image/png"]))
    assert max(Image.open(io.BytesIO(png)).size) == 640
    assert "".join(widget["data"]["text/plain"]) == "<PoseBrowser: 3 images>"
    notebook.reload_without_kernel()
    snapshot.wait_for(state="visible")
    notebook.shot(shots / "browser_reader.png", notebook.output(1))
