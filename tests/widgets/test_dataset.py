"""The DatasetReport widget: findings, their images, turning, in pytest and in a browser."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kptk
from kptk.errors import InputError
from kptk.widgets.dataset import DatasetReport, render
from tests.widgets.demo import write_faulty


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return write_faulty(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def data(faulty):
    return kptk.load_coco(faulty[0], images=faulty[1])


@pytest.fixture
def report(data):
    return DatasetReport(data)


def codes(report):
    return [finding.code for _, finding in report.findings]


def test_every_finding_has_a_button_in_the_colour_of_its_kind(report, data):
    assert codes(report) == [f.code for f in data.report.findings]
    assert {"sides-swapped", "keypoints-outside-image"} <= set(codes(report))
    for button, (_, finding) in zip(report.buttons, report.findings, strict=True):
        assert button.description == f"{finding.code} ({finding.count})"
        assert f"kptk-{finding.severity}" in button._dom_classes


def test_choosing_a_finding_shows_what_it_says_and_its_pictures(report):
    place = codes(report).index("sides-swapped")
    report.buttons[place].click()
    finding = report.findings[place][1]
    assert finding.sentence in report.text.value and finding.advice in report.text.value
    assert len(report.gallery.children) == min(6, finding.count)
    captions = [card.children[1].value for card in report.gallery.children]
    assert captions[0].startswith(f"annotation {finding.ids[0]}, image ")
    assert "kptk-chosen" in report.buttons[place]._dom_classes
    # left (blue) and right (orange) of results.py are both in the image
    pixels = np.asarray(Image.open(io.BytesIO(report.pictures[0][0]))).astype(int)
    assert max(pixels.shape) > 290
    assert ((pixels[..., 2] > 200) & (pixels[..., 0] < 110)).sum() > 20
    assert ((pixels[..., 0] > 200) & (pixels[..., 2] < 90)).sum() > 20


def test_turning_shows_the_rest(report):
    place = max(range(len(report.findings)), key=lambda i: report.findings[i][1].count)
    report.choose(place)
    count = report.findings[place][1].count
    assert count > 6 and report.previous.disabled and not report.next.disabled
    report.next.click()
    assert report.position.value == f"7 to {min(12, count)} of {count}"
    assert len(report.gallery.children) == min(6, count - 6)
    report.previous.click()
    assert report.position.value == f"1 to 6 of {count}"


def test_a_data_set_by_its_path_shows_every_split(faulty, tmp_path):
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copy(faulty[0], tmp_path / "set" / "annotations" / f"instance_{split}.json")
    (tmp_path / "set" / "images").symlink_to(Path(faulty[1]).resolve())
    report = DatasetReport(tmp_path / "set")
    assert {split for split, _ in report.findings} == {"train", "val", "train/val"}
    leak = codes(report).index("leak-exact")
    report.choose(leak)
    assert len(report.gallery.children) == 12  # six pairs


def test_nothing_found(data):
    clean = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
    report = DatasetReport(clean)
    assert report.buttons == [] and "Nothing to complain about" in report.text.value
    assert report.pictures == [] and report.snapshot().startswith(b"\x89PNG")


def test_a_picture_for_the_saved_notebook(report):
    assert Image.open(io.BytesIO(report.snapshot())).format == "PNG"
    assert repr(report).startswith("<DatasetReport faulty.json: ")


def test_render_is_pure_and_fits():
    image = np.random.default_rng(0).integers(0, 256, (400, 800, 3)).astype(np.uint8)
    assert render(image) == render(image.copy())
    assert Image.open(io.BytesIO(render(image))).size == (300, 150)


def test_what_it_refuses():
    with pytest.raises(InputError, match="Got int"):
        DatasetReport(3)


@pytest.mark.browser
def test_in_the_browser(open_notebook, faulty, lab, shots):
    notebook = open_notebook(
        [
            "import kptk\nfrom kptk.widgets.dataset import DatasetReport",
            f"data = kptk.load_coco({str(faulty[0])!r}, images={str(faulty[1])!r})\n"
            "report = DatasetReport(data)\nreport",
        ]
    )
    output = notebook.output(1)
    output.locator(".kptk-tile img").first.wait_for()
    before = output.locator(".kptk-text").inner_text()
    notebook.shot(shots / "report_light.png", output)
    button = output.locator(".kptk-findings button").nth(1)
    button.focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_idle()
    code = notebook.value("report.findings[1][1].code")
    output.locator(f".kptk-text:has-text('{code}')").wait_for()
    assert output.locator(".kptk-text").inner_text() != before
    assert output.locator(".kptk-tile").count() == notebook.value("len(report.pictures)")
    assert not output.locator(".jp-RenderedImage").is_visible()
    lab.theme("dark")
    notebook.shot(shots / "report_dark.png", output)
    assert lab.foreign == []
