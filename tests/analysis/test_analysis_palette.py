"""The colours: one for every label there is, each of its own, seen on white and on black."""

from __future__ import annotations

import pytest

from kptk.analysis import plots as palette
from kptk.analysis.labels import JOINT_LABELS, PERSON_LABELS

TABLES = {
    "joints": (palette.JOINT_COLOURS, JOINT_LABELS),
    "people": (palette.PERSON_COLOURS, PERSON_LABELS),
    "owners": (palette.OWNERS, PERSON_LABELS),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_label_has_one(name: str) -> None:
    colours, labels = TABLES[name]
    assert set(colours) == set(labels)


@pytest.mark.parametrize("name", ["joints", "people"])
def test_no_two_alike(name: str) -> None:
    colours, _ = TABLES[name]
    assert len(set(colours.values())) == len(colours)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["joints", "people"])
def test_seen_on_black_and_white(name: str) -> None:
    """Fills next to a name: at least 3 on black, at least 1.25 on white (the yellow)."""
    colours, _ = TABLES[name]
    for colour in colours.values():
        assert (luminance(colour) + 0.05) / 0.05 >= 3
        assert 1.05 / (luminance(colour) + 0.05) >= 1.25


def test_owners_are_those_that_are_drawn() -> None:
    assert set(palette.OWNERS.values()) == set(palette.OWNER_COLOURS)
