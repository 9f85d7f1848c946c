"""Memory of ``predict`` over a folder of 2,000 images: what is resident must not grow."""

from __future__ import annotations

import os
import tempfile
from itertools import cycle
from pathlib import Path

import harness

import kptk

IMAGES, WARM_UP, EVERY = 2000, 100, 100


def resident() -> float:
    """Megabytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill(folder: Path) -> None:
    """Links to the demo images, under as many names as wanted."""
    originals = sorted(harness.PICTURE.parent.glob("*.jpg"))
    for number, original in zip(range(IMAGES), cycle(originals), strict=False):
        (folder / f"{number:04d}.jpg").symlink_to(original)


def main() -> None:
    """Measure and print."""
    pipe = kptk.create_pipeline("demo")
    levels = []
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name))
        for number, result in enumerate(pipe.predict(name), 1):
            assert result.error is None
            if number >= WARM_UP and number % EVERY == 0:
                levels.append((number, resident()))
    assert levels[-1][0] == IMAGES
    growth = max(level for _, level in levels) - levels[0][1]
    shown = [levels[i] for i in (0, len(levels) // 4, len(levels) // 2, -1)]
    harness.section(
        "Memory",
        f"`predict` over a folder of {IMAGES} images, batch 1. After {WARM_UP} images it holds "
        f"{levels[0][1]:.0f} MB; the most after that is **{growth:.1f} MB** more. The aim is 50.",
        harness.table(
            ["images", *(str(number) for number, _ in shown)],
            [["MB", *(f"{level:.0f}" for _, level in shown)]],
        ),
    )


if __name__ == "__main__":
    main()
