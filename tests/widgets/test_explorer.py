"""AnalysisExplorer without a browser: choosing, relabelling, exporting. The labels are known.

With the predictions of `browsing`, the first person of each image is found; all others have a box
that scores .3, below the threshold of .5, and a pose of which one joint is wrong.
"""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import kptk
from kptk.errors import DataError, InputError
from kptk.widgets.choosing import NO_BOX, Choice
from kptk.widgets.explorer import AnalysisExplorer
from tests.widgets.browsing import UNSURE, demo_data, evaluation_of

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
    picture = Image.open(io.BytesIO(explorer.snapshot()))
    assert picture.format == "PNG" and picture.width == 975
    assert "below-threshold" in repr(explorer)


def test_what_it_refuses(analysis, evaluation, data):
    with pytest.raises(InputError, match="The evaluation is a ErrorAnalysis"):
        AnalysisExplorer(analysis, analysis, data)
    with pytest.raises(InputError, match="same images"):
        AnalysisExplorer(analysis, evaluation, data.subset(data.image_ids[:1]))
