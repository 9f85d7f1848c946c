"""CompareRuns: who was fixed and broken, in which order, with linked images."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import kptk
from kptk.errors import InputError
from kptk.instances import corners
from kptk.widgets.compare import GAINS, LOSSES
from tests.widgets.demo import SURE, UNSURE, demo_data, evaluation_of, predictions_of


@pytest.fixture(scope="module")
def data():
    return demo_data()


@pytest.fixture(scope="module")
def runs(data):
    """Before: only the first person of each image is found (the others score .3 of .5 needed).
    After: the others are, and the first person of the first image is not."""
    predictions = predictions_of(data)
    lost = data.people(data.image_ids[0])[0]["bbox"]
    is_lost = (predictions.candidates.boxes == corners([lost])).all(axis=1)
    found = replace(predictions.candidates, scores=np.where(is_lost, UNSURE, SURE))
    after = replace(predictions, candidates=found)
    evaluation = kptk.evaluate(predictions=after, annotations=data, progress=False)
    return evaluation_of(data), evaluation


@pytest.fixture
def compare(runs, data):
    return kptk.CompareRuns(*runs, data)


def test_fixed_and_broken_are_those_whose_scores_were_changed(compare, data):
    first = [data.people(i)[0]["id"] for i in data.image_ids]
    others = {a["id"] for i in data.image_ids for a in data.people(i)[1:]}
    assert set(compare.comparison.fixed.annotation_id) <= others
    assert compare.comparison.broken.annotation_id.tolist() == first[:1]
    assert len(compare.comparison.fixed) >= 2
    assert "1 broken" in repr(compare)


def test_largest_change_first_then_as_asked(compare, data):
    lost = data.people(data.image_ids[0])[0]["id"]
    assert compare.person["annotation_id"] == lost  # perfect before, no box after: -1
    assert compare.person["gain"] == pytest.approx(-1)
    assert "never-detected" in compare.captions[1].value or "below" in compare.captions[1].value
    compare.order.value = GAINS
    gains = compare.persons["gain"].tolist()
    assert gains == sorted(gains, reverse=True) and gains[0] > 0
    compare.order.value = LOSSES
    assert compare.persons["gain"].tolist() == sorted(gains)


def test_show_only_the_fixed(compare):
    compare.show.value = "fixed"
    assert set(compare.persons["change"]) == {"fixed"}
    assert compare.total.value == f"of {len(compare.comparison.fixed)}"
    before = compare.views[1].picture
    compare.go(1)
    assert compare.position.value == 2 and compare.views[1].picture != before


def test_the_pictures_show_the_same_part_and_each_its_own_poses(compare):
    left, right = compare.views
    assert left.region == right.region and left.picture != right.picture
    jumps = left.jump, right.jump
    left.wanted = [10.0, 10.0, 90.0, 90.0]
    assert right.region == left.region == [10, 10, 90, 90]
    assert (left.jump, right.jump) == (jumps[0], jumps[1] + 1)  # the other follows
    compare.whole.value = True
    assert left.region == [0, 0, *left.image_size]


def test_keys(compare):
    compare._hear(None, {"key": "next"}, [])
    assert compare.position.value == 2
    before = compare.views[0].picture
    compare._hear(None, {"key": "truth"}, [])
    assert not compare.truth.value and compare.views[0].picture != before


def test_a_picture_for_the_saved_notebook(compare):
    image = Image.open(io.BytesIO(compare.snapshot()))
    width = round(image.height * compare.views[0].image_size[0] / compare.views[0].image_size[1])
    assert image.format == "PNG" and abs(image.width - 2 * width - 8) <= 2
    assert np.asarray(image.convert("RGB")).std() > 10


def test_what_it_refuses(runs, data):
    with pytest.raises(InputError, match="after must be an evaluation"):
        kptk.CompareRuns(runs[0], 3, data)


@pytest.mark.browser
def test_in_the_browser(open_notebook, runs, data, lab, shots, tmp_path):
    for name, run in zip(("first", "second"), runs, strict=True):
        run.save(tmp_path / name)
    notebook = open_notebook(
        [
            "import kptk\n"
            "data = kptk.load_coco(kptk.demo_path('day'), split='val', check=False)\n"
            f"data = data.subset({data.image_ids})\n"
            f"runs = [kptk.evaluate(predictions={str(tmp_path)!r} + '/' + name, annotations=data)\n"
            "        for name in ('first', 'second')]",
            "c = kptk.CompareRuns(*runs, data, names=('first', 'second'))\nc",
        ]
    )
    output = notebook.output(1)
    views = output.locator(".kptk-view")
    for i in (0, 1):
        notebook.page.wait_for_function(
            "e => Number(e.dataset.shown || 0) > 0", arg=views.nth(i).element_handle()
        )
    notebook.shot(shots / "compare_light.png", output)
    views.first.locator("canvas").click(position={"x": 5, "y": 5})
    notebook.page.keyboard.press("ArrowRight")
    notebook.wait_idle()
    assert notebook.value("c.position.value") == 2
    notebook.page.keyboard.press("+")
    notebook.page.wait_for_function(
        "([a, b, n]) => a.dataset.view === b.dataset.view && a.dataset.view !== n",
        arg=[*(views.nth(i).element_handle() for i in (0, 1)), ""],
    )
    notebook.page.keyboard.press("r")
    notebook.wait_idle()
    assert notebook.value("c.rings.value") is True
    lab.theme("dark")
    notebook.shot(shots / "compare_dark.png", output)
