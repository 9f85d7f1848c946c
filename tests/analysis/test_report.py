"""The verdict card, and the report of one file."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.analysis.options import AnalysisOptions
from kptk.analysis.report import card, shown, svg
from kptk.analysis.result import ErrorAnalysis
from kptk.cli.measure import write
from kptk.errors import InputError
from tests.analysis.bundles import bundle, found, person, random_bundle, write_images

OPTIONS = AnalysisOptions(n_bootstrap=10)
EVIL = '<script>alert("x")</script>'


def analysis(**changes: Any) -> ErrorAnalysis:
    scene = random_bundle(3)
    return ErrorAnalysis(replace(scene, **changes), OPTIONS, None, False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of random_bundle(3), but for one that is not there."""
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> str:
    provenance = {"made": EVIL, "nested": {"a": [1, 2]}}
    said = analysis(name=f"data {EVIL}", provenance=provenance, notes=(f"repaired {EVIL}",))
    path = said.to_html(tmp_path_factory.mktemp("report") / "new" / "report.html", images=folder)
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects tags and what they refer to, and sees that every tag is closed."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_report_needs_nothing_else(report: str) -> None:
    reader = read(report)
    assert not reader.tags & {"script", "link", "iframe", "object", "form"}
    assert all(link.startswith(("data:image/", "#")) for link in reader.links)
    assert "url(http" not in report and "@import" not in report
    assert "prefers-color-scheme: dark" in report
    assert len(report) < 3_000_000


def test_everything_is_escaped(report: str) -> None:
    assert EVIL not in report
    assert report.count("&lt;script&gt;") >= 3  # title, provenance, note


def test_figures_have_the_colour_of_the_page(report: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL)
    assert len(svgs) >= 10
    assert all("currentColor" in svg for svg in svgs)
    assert "#7a7b7d" not in report
    assert sum("#000000" in svg for svg in svgs) <= 1  # the rims of the crosses of the medians


def test_report_has_everything(report: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", report)
    assert titles[0] == "Where people end" and titles[-1] == "Provenance"
    wanted = {"The worst of each label", "Slices", "What if", "Hidden and crowded people"}
    assert wanted <= set(titles)
    assert re.search("Config hash [0-9a-f]{64}", report)
    labels = set(analysis().persons["label"]) - {"ok"}
    assert labels <= set(re.findall(r"<h3>(.*?)</h3>", report))


def test_figures_are_the_same_every_time() -> None:
    said = analysis()
    assert svg(said.plot_flow, "flow") == svg(said.plot_flow, "flow")


def test_report_without_boxes(tmp_path: Path) -> None:
    scene = random_bundle(3, two_stage=False)
    said = ErrorAnalysis(scene, OPTIONS, None, False)
    text = said.to_html(tmp_path / "report.html").read_text()
    assert "no boxes" in text and "What perfect modules would bring" not in text


def test_report_of_nothing_found(tmp_path: Path) -> None:
    said = ErrorAnalysis(bundle([person((100, 100, 200, 400))]), OPTIONS, None, False)
    read(said.to_html(tmp_path / "report.html").read_text())


@pytest.mark.parametrize("path", ["file.txt/report.html", ""])
def test_report_that_cannot_be_written(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.txt").write_text("")
    monkeypatch.setattr("kptk.analysis.report.page", lambda *_: "text")
    with pytest.raises(InputError, match="cannot be written"):
        analysis().to_html(tmp_path / path)


def test_images_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images must be the folder"):
        analysis().to_html(tmp_path / "report.html", images=tmp_path / "none")


def test_command_shows_people_where_the_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []
    monkeypatch.setattr("kptk.analysis.report.page", lambda _, images: asked.append(images) or "")
    (tmp_path / "images").mkdir()
    for data in (None, tmp_path, tmp_path / "images"):
        write(analysis(), tmp_path / "report.html", None, data)
    assert asked == [None, tmp_path / "images", None]


def test_card_shows_the_four_values_and_both_costs() -> None:
    said = analysis()
    assert said.game is not None and said.verdict is not None
    card = said._repr_html_()
    read(card)
    values = said.game.values["attainable"]
    assert all(f">{100 * values[who]['AP']:.1f}<" in card for who in ("", "D", "P", "DP"))
    for cost in said.game.phi()[:2]:
        assert f">{100 * cost:+.1f} (" in card
    assert said.verdict.sentence in card and "No baseline." in card


def test_card_of_one_person() -> None:
    box = (100, 100, 200, 400)
    said = ErrorAnalysis(bundle([person(box)], [found(box)]), OPTIONS, None, False)
    assert "too little data" in card(said)


def test_card_without_draws_has_no_intervals() -> None:
    said = ErrorAnalysis(random_bundle(3), AnalysisOptions(n_bootstrap=0), None, False)
    assert said.game is not None
    assert f">{100 * said.game.phi()[0]:+.1f}<" in card(said)


def test_card_with_a_baseline_marks_it() -> None:
    said = analysis()
    assert said.verdict is not None
    inputs = {**said.verdict.inputs, "baseline_phi_detector": 0.1, "baseline_phi_keypoints": 0.2}
    inputs |= {"cost_detector": 0.1234, "cost_keypoints": -0.05}
    verdict = replace(said.verdict, inputs=inputs, baseline=True)
    said.__dict__["verdict"] = verdict  # in place of the one that would be computed
    shown_card = card(said)
    read(shown_card)
    assert "No baseline" not in shown_card and "above the baseline" in shown_card
    assert "detector +12.3, keypoint model -5.0." in shown_card
    assert shown_card.count("border:1px solid;") + shown_card.count('border:1px solid"') >= 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.12345, "0.123"), (1.0, "1"), (float("nan"), "-"), (None, "-"),
        ((0.1, 0.25), "0.1 to 0.25"),
        ({"a": 1}, "a: 1"), ("text", "text"), (np.float32(0.5), "0.5"), (True, "True"), (0.0, "0"),
    ],
)  # fmt: skip
def test_shown(value: object, expected: str) -> None:
    assert shown(value) == expected
