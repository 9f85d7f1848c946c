"""The label editor without a browser: what it shows, what messages do to it, what it saves."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traitlets
from PIL import Image

import kptk
from kptk.coco import KeypointData
from kptk.errors import DataError, InputError
from kptk.skeleton import CROWDPOSE14
from kptk.widgets.editor import LabelEditor
from kptk.widgets.labels import Point, detections_of, missed
from tests import coco_sets

FOUND = {"image_id": 2, "category_id": 1}
# On image 2 the labelled boxes are (5, 7, 25, 67) and (45, 7, 65, 67).
DETECTIONS = [
    {**FOUND, "bbox": [5, 7, 20, 60], "score": 0.9},  # labelled already
    {**FOUND, "bbox": [5, 7, 20, 24], "score": 0.7},  # IoU 24 / 60 with it: somebody else
    {**FOUND, "bbox": [70, 7, 20, 60], "score": 0.8, "keypoints": [80, 9, 0.6, 81, 8, 0.1] * 8
     + [70, 70, 0.2]},
    {**FOUND, "bbox": [70, 7, 20, 50], "score": 0.4},
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> KeypointData:
    root = coco_sets.write_set(tmp_path / "set", {"val": coco_sets.document(1, 3)})
    return kptk.load_coco(root, split="val", check=False)


def send(editor: LabelEditor, what: str, **details: Any) -> None:
    """What the browser does."""
    editor._handle_custom_msg({"do": what, **details}, [])


def test_images_in_the_order_given(data: KeypointData) -> None:
    editor = LabelEditor(data, image_ids=[3, 1])
    shown = [editor.image_id]
    for _ in range(2):
        editor.next()
        shown.append(editor.image_id)
    editor.previous()
    assert [*shown, editor.image_id] == [3, 1, 3, 1]
    image = editor._scene["image"]
    assert (image["name"], image["place"], image["count"]) == ("0001.png", 2, 2)
    assert (image["width"], image["height"]) == (96, 72)
    image = np.array(Image.open(io.BytesIO(editor._picture)), int)
    assert np.abs(image - coco_sets.picture(1)).mean() < 6  # a JPEG of that image
    assert len(editor.data) == 3  # those that are not shown are kept


def test_people_asked_for_are_marked_and_chosen(data: KeypointData) -> None:
    editor = LabelEditor(data, annotation_ids=[32, 12])
    assert editor.image_ids == [1, 3] and editor.person_id == 12
    marks = {person["id"]: person["marked"] for person in editor._scene["people"]}
    assert marks == {11: False, 12: True}
    editor.next()
    assert editor.person_id == 32


def test_messages_are_edits(data: KeypointData) -> None:
    editor = LabelEditor(data)
    send(editor, "move_point", person=11, joint=0, x=3, y=4)
    send(editor, "set_visibility", person=11, joint=1, v=0)
    send(editor, "nudge", person=11, joint=2, dx=-1, dy=10)  # from (13, 12)
    send(editor, "set_box", person=11, box=[1, 2, 30, 70])
    person = editor._scene["people"][0]
    assert person["points"][:3] == [[3, 4, 2], None, [12, 22, 2]]
    assert person["box"] == [1, 2, 30, 70]
    assert editor._scene["done"] == 4 and editor._message["text"] == "Box changed"
    record = editor.data.annotations(1)[0]
    assert record["keypoints"][:9] == [3, 4, 2, 0, 0, 0, 12, 22, 2]
    json.dumps(editor._scene, allow_nan=False)  # as the browser gets it


def test_undo_shows_whom_it_is_about(data: KeypointData) -> None:
    editor = LabelEditor(data)
    send(editor, "move_point", person=11, joint=0, x=3, y=4)
    send(editor, "remove", person=12)
    send(editor, "step", by=1)
    assert editor.image_id == 2
    send(editor, "undo")
    assert (editor.image_id, editor.person_id) == (1, 12)
    assert editor._message["text"] == "Taken back: person removed"
    send(editor, "undo")
    send(editor, "undo")  # there is none any more
    assert editor.person_id == 11 and editor.data.content == data.content
    send(editor, "redo")
    send(editor, "redo")
    assert editor.person_id is None  # it is gone
    assert [person["id"] for person in editor._scene["people"]] == [11]


def test_add_a_person_from_a_detection_or_a_box(data: KeypointData) -> None:
    editor = LabelEditor(data, predictions=DETECTIONS)
    assert editor._scene["missed"] == []
    editor.image_id = 2
    assert [found["score"] for found in editor._scene["missed"]] == [0.8, 0.7]
    editor.min_score = 0.4
    assert [found["score"] for found in editor._scene["missed"]] == [0.8, 0.7, 0.4]
    send(editor, "add", candidate=0)
    assert [found["score"] for found in editor._scene["missed"]] == [0.7]  # .4 is the same person
    new = editor.labels.person(editor.person_id)
    assert new.box == (70, 7, 90, 67) and new.n_labelled == 9  # of score .2 and more
    assert new.points[0] == Point(80, 9, 2) and new.points[16] == Point(70, 70, 2)
    send(editor, "add", box=[30, 1, 40, 20])
    assert editor.labels.person(editor.person_id).n_labelled == 0
    assert editor.data.n_people == 8


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"do": "move_point", "person": 99, "joint": 0, "x": 1, "y": 1}, "no person 99"),
        ({"do": "move_point", "person": 11}, "joint"),
        ({"do": "set_visibility", "person": 11, "joint": 0, "v": 5}, "v must be"),
        ({"do": "set_box", "person": 11, "box": [1, 1, 1, 1]}, "at least one pixel"),
        ({"do": "add", "candidate": "first"}, "invalid literal"),
        ({"do": "save", "path": "/", "overwrite": False}, "exists already"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_editor(
    data: KeypointData, message: dict[str, Any], said: str
) -> None:
    editor = LabelEditor(data)
    editor._handle_custom_msg(message, [])
    first = editor._message
    assert first["kind"] == "error" and said in first["text"]
    editor._handle_custom_msg(message, [])
    assert editor._message != first  # said again, and the browser hears it


def test_unknown_messages_do_nothing(data: KeypointData) -> None:
    editor = LabelEditor(data)
    editor._handle_custom_msg({"do": "close"}, [])
    editor._handle_custom_msg({}, [])
    assert editor.data.content == data.content and editor._message["text"] == ""


def test_save_writes_a_new_file_only(data: KeypointData, tmp_path: Path) -> None:
    before = data.annotations_path.read_bytes()
    editor = LabelEditor(data)
    send(editor, "move_point", person=11, joint=0, x=3, y=4)
    assert editor._scene["unsaved"]
    with pytest.raises(DataError, match="exists already"):
        editor.save(data.annotations_path)
    file = editor.save(tmp_path / "new" / "val.json")
    assert not editor._scene["unsaved"] and editor.path == str(file)
    assert editor.data.annotations_path == file
    assert data.annotations_path.read_bytes() == before
    written = json.loads(file.read_text())
    assert written["annotations"][0]["keypoints"][:3] == [3, 4, 2]
    written["annotations"][0]["keypoints"][:3] = [15, 14, 2]
    assert written == json.loads(before)  # nothing else has changed
    send(editor, "undo")
    send(editor, "save", path=str(file), overwrite=False)  # its own file
    assert json.loads(file.read_text()) == json.loads(before)
    file.write_text("somebody else's")
    send(editor, "save", path=str(file), overwrite=False)
    assert "exists already" in editor._message["text"]
    send(editor, "save", path=str(file), overwrite=True)
    assert json.loads(file.read_text()) == json.loads(before)
    assert sorted(path.name for path in file.parent.iterdir()) == ["val.json"]


def test_the_saved_file_is_loaded_for_training(data: KeypointData, tmp_path: Path) -> None:
    from kptk.training.data import find_split, save_split

    editor = LabelEditor(data)
    send(editor, "remove", person=31)
    save_split(find_split(editor.data, "val"), tmp_path / "run.json")
    ids = [a["id"] for a in json.loads((tmp_path / "run.json").read_text())["annotations"]]
    assert ids == [11, 12, 21, 22, 32]


def drawn_on(png: bytes) -> float:
    """The share of pixels that are quite another colour than those of image 1."""
    image = np.array(Image.open(io.BytesIO(png)).convert("RGB"), int)
    assert image.shape == (72, 96, 3)
    return float((np.abs(image - coco_sets.picture(1)).max(axis=2) > 80).mean())


def test_a_static_picture_goes_into_the_notebook(
    data: KeypointData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []

    class Output:
        def update(self, bundle: dict[str, Any], raw: bool) -> None:
            shown.append(bundle)

    def display(bundle: dict[str, Any], **options: Any) -> Output:
        shown.append(bundle)
        return Output()

    monkeypatch.setattr("IPython.display.display", display)
    editor = LabelEditor(data)
    editor._ipython_display_()
    live, snapshot = shown
    assert "application/vnd.jupyter.widget-view+json" in live and "image/png" not in live
    assert snapshot["text/plain"] == repr(editor) == "LabelEditor(3 images, 0 edits)"
    assert drawn_on(snapshot["image/png"]) > 0.05  # people cover that much of the image
    send(editor, "remove", person=11)
    send(editor, "remove", person=12)
    editor.save(tmp_path / "new.json")
    assert drawn_on(shown[-1]["image/png"]) == 0  # as it was saved


def test_an_image_that_cannot_be_read_is_said(data: KeypointData) -> None:
    data.image_path(2).write_bytes(b"no image")
    editor = LabelEditor(data)
    editor.next()
    assert editor._picture == b"" and editor._message["kind"] == "error"
    assert "0002.png" in editor._message["text"]
    assert Image.open(io.BytesIO(editor.render())).size == (96, 72)
    assert len(editor._scene["people"]) == 2  # labels can be seen all the same


def test_wrong_arguments(data: KeypointData) -> None:
    with pytest.raises(DataError, match="no image 9"):
        LabelEditor(data, image_ids=[9])
    with pytest.raises(DataError, match="no annotation 7"):
        LabelEditor(data, annotation_ids=[7])
    with pytest.raises(DataError, match="no image to show"):
        LabelEditor(data, image_ids=[])
    with pytest.raises(InputError, match=r"17 joints\. Got 14"):
        LabelEditor(data, skeleton=CROWDPOSE14)
    with pytest.raises(InputError, match="need a bbox"):
        LabelEditor(data, predictions=[{"image_id": 1, "keypoints": [0] * 51, "score": 1}])
    with pytest.raises(InputError, match="Got str"):
        LabelEditor(data, predictions="ev")
    editor = LabelEditor(data)
    with pytest.raises((DataError, traitlets.TraitError), match="no image 9"):
        editor.image_id = 9


def test_candidates_are_taken_from_whatever_holds_them() -> None:
    from kptk.evaluation.predictions import Predictions
    from kptk.instances import Instances

    class OfEvaluation:
        predictions = Predictions(Instances.from_results(DETECTIONS, 17), None, (2,), {})

    for source in (DETECTIONS, OfEvaluation.predictions, OfEvaluation()):
        found = detections_of(source, 17)
        assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.4] and set(found.image_ids) == {2}
        other = detections_of(source, 14)  # a model of other joints: boxes only
        assert other.keypoints.shape == (4, 14, 3) and np.isnan(other.keypoints).all()
    assert len(detections_of(None, 17)) == 0


def test_missed_people_by_hand() -> None:
    found = detections_of(DETECTIONS, 17)
    assert len(missed(found, [], 0.0)) == 4
    # 10x60 of 20x60 in common: IoU 600 / 1800; 16 of 20 wide: 960 / 1440 = .67
    assert len(missed(found[:1], [(15, 7, 35, 67)], 0)) == 1
    assert len(missed(found[:1], [(9, 7, 29, 67)], 0)) == 0


# -- the label editor in a real JupyterLab: drag, press keys, add, undo, save, and look at the file.


NOSE = 0
SETUP = """\
import kptk
data = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
box = [20.0, 20.0, 90.0, 200.0]  # nobody is there
found = [{"image_id": 1, "category_id": 1, "bbox": box, "score": .8,
          "keypoints": [60.0, 60.0, .9] * 17}]
editor = kptk.LabelEditor(data, image_ids=[1, 2], predictions=found)
editor"""


def shot(notebook: Any, name: str) -> None:
    folder = os.environ.get("KPTK_SHOTS")
    if folder:
        notebook.shot(Path(folder) / f"editor-{name}.png")


def centre(part: Any) -> tuple[float, float]:
    box = part.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(notebook: Any, part: Any, dx: float, dy: float) -> None:
    x, y = centre(part)
    mouse = notebook.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + dx / 2, y + dy / 2)
    mouse.move(x + dx, y + dy)
    mouse.up()


def points(notebook: Any, person: int) -> list[list[float]]:
    """x, y, v of a person's joints, as Python has them."""
    found = f"next(a for a in editor.data.annotations(1) if a['id'] == {person})"
    values = notebook.value(f"{found}['keypoints']")
    return [values[i : i + 3] for i in range(0, len(values), 3)]


def done(notebook: Any, count: int) -> None:
    """Wait until so many edits can be taken back."""
    notebook.until(f"editor.labels.n_done == {count}")


@pytest.mark.browser
@pytest.mark.slow
def test_correct_labels_with_mouse_and_keys(open_notebook: Any, lab: Any, tmp_path: Path) -> None:
    notebook = open_notebook([SETUP])
    keys = notebook.page.keyboard
    editor = notebook.output(0).locator(".kptk-editor")
    person = notebook.value("editor.labels.people(1)[0].id")
    before = points(notebook, person)
    shot(notebook, "light")

    nose = editor.locator(f'.joint[data-person="{person}"][data-index="{NOSE}"] .hit')
    drag(notebook, nose, 30, -40)
    done(notebook, 1)
    scale = editor.locator(".stage").evaluate("e => e.getScreenCTM().a")
    moved = points(notebook, person)
    assert moved[NOSE] == [
        pytest.approx(before[NOSE][0] + 30 / scale, abs=0.1),
        pytest.approx(before[NOSE][1] - 40 / scale, abs=0.1),
        2,
    ]
    assert moved[1:] == before[1:]
    notebook.until(f"[editor.person_id, editor.joint] == [{person}, {NOSE}]")

    keys.press("Shift+ArrowLeft")  # the editor has the focus after the drag
    keys.press("ArrowDown")
    done(notebook, 3)
    x, y, _ = moved[NOSE]
    assert points(notebook, person)[NOSE] == [pytest.approx(x - 10), pytest.approx(y + 1), 2]
    keys.press("1")
    done(notebook, 4)
    assert points(notebook, person)[NOSE][2] == 1
    for _ in range(3):
        keys.press("Control+z")
    done(notebook, 1)
    assert points(notebook, person) == moved
    keys.press("Control+z")
    done(notebook, 0)
    assert points(notebook, person) == before
    keys.press("Control+Shift+Z")
    done(notebook, 1)
    assert points(notebook, person) == moved

    drag(notebook, editor.locator(".corner0").first, -20, -10)
    done(notebook, 2)
    x1, y1, *_ = notebook.value(f"editor.labels.person({person}).box")
    shown = editor.locator(".chosen .over")
    assert float(shown.get_attribute("x")) == pytest.approx(x1, abs=0.01)
    assert float(shown.get_attribute("y")) == pytest.approx(y1, abs=0.01)
    shot(notebook, "corrected")

    editor.locator(".missed text").wait_for()
    editor.locator(".missed .over").click()
    editor.locator(".missed").wait_for(state="detached")
    added = notebook.value("editor.person_id")
    assert added != person and len(points(notebook, added)) == 17
    cells = notebook.root.locator(".jp-Cell").count()
    keys.press("Escape")
    keys.press("]")
    keys.press("d")
    keys.press("d")  # would delete the cell, were the notebook to hear it
    assert notebook.root.locator(".jp-Cell").count() == cells

    file = tmp_path / "corrected.json"
    field = editor.locator("input[type=text]")
    field.fill(str(file))
    field.press("Enter")
    editor.locator(".message", has_text="Saved").wait_for()
    saved = json.loads(file.read_text())
    record = next(a for a in saved["annotations"] if a["id"] == person)
    assert record["keypoints"][:3] == moved[NOSE]
    assert saved["annotations"][-1]["id"] == added
    field.fill(notebook.value("str(data.annotations_path)"))
    editor.get_by_text("Save", exact=True).click()
    editor.locator(".message.error", has_text="exists already").wait_for()
    lab.theme("dark")
    shot(notebook, "dark")
    assert lab.foreign == []


@pytest.mark.browser
@pytest.mark.slow
def test_draw_place_step_and_zoom(open_notebook: Any, lab: Any) -> None:
    notebook = open_notebook([SETUP])
    former = len(lab.problems)
    editor = notebook.output(0).locator(".kptk-editor")
    stage = editor.locator(".stage")
    keys = notebook.page.keyboard
    n_people = len(notebook.value("editor._scene['people']"))
    editor.focus()
    keys.press("b")
    editor.locator(".hint", has_text="corner to corner").wait_for()
    drag(notebook, stage, 60, 80)
    done(notebook, 1)
    assert len(notebook.value("editor._scene['people']")) == n_people + 1
    new = notebook.value("editor.person_id")
    scale = stage.evaluate("e => e.getScreenCTM().a")
    x1, y1, x2, y2 = notebook.value(f"editor.labels.person({new}).box")
    assert (x2 - x1, y2 - y1) == pytest.approx((60 / scale, 80 / scale), abs=0.1)

    editor.get_by_role("button", name="left wrist", exact=True).click()
    editor.locator(".hint", has_text="Click where the left wrist is").wait_for()
    lab.theme("dark")
    shot(notebook, "placing")
    x, y = centre(stage)
    notebook.page.mouse.click(x + 20, y + 20)
    done(notebook, 2)
    wrist = points(notebook, new)[9]
    assert wrist[2] == 2 and x1 < wrist[0] < x2 and y1 < wrist[1] < y2
    editor.get_by_role("button", name="left wrist: hidden").click()
    done(notebook, 3)
    assert points(notebook, new)[9] == [*wrist[:2], 1]

    wide = stage.get_attribute("viewBox")
    keys.press("z")
    assert stage.get_attribute("viewBox") != wide
    shot(notebook, "zoomed")
    keys.press("f")
    assert stage.get_attribute("viewBox") == wide
    keys.press("Escape")
    keys.press("Delete")  # no joint is chosen any more: the person goes
    done(notebook, 4)
    assert len(notebook.value("editor._scene['people']")) == n_people
    keys.press("n")
    notebook.until("editor.image_id == 2")
    editor.locator(".place", has_text="2 / 2").wait_for()
    keys.press("?")
    editor.get_by_role("dialog").wait_for()
    shot(notebook, "keys")
    keys.press("Escape")
    editor.get_by_role("dialog").wait_for(state="hidden")
    assert lab.problems[former:] == [] and lab.foreign == []
    snapshot = notebook.output(0).locator(".jp-RenderedImage")
    assert not snapshot.is_visible()  # as long as the editor is alive
    notebook.reload_without_kernel()
    snapshot.wait_for()
