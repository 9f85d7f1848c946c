"""The label editor in a real JupyterLab: drag, press keys, add, undo, save, and look at the file.

Screenshots go to the folder that KPTK_SHOTS names, if it is set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

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
    still = notebook.output(0).locator(".jp-RenderedImage")
    assert not still.is_visible()  # as long as the editor is alive
    notebook.reload_without_kernel()
    still.wait_for()
