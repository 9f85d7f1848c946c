"""kptk's own small world: rendered people in scenes, with exact COCO keypoints.

``demo_path`` and ``demo_images`` need nothing but the files; rendering more (``tools.render.make``)
needs the extra ``render``.
"""

from __future__ import annotations

from pathlib import Path

from kptk.errors import DataError, nearest

DEMO_SETS = ("day", "night")
__all__ = ["DEMO_SETS", "demo_images", "demo_path"]


def demo_path(name: str = "day") -> Path:
    """Folder of a committed demo data set in PaddleX's COCO layout.

    Args:
        name: "day" (what the demo models were trained for) or "night" (what fine-tuning is for).

    Returns:
        The folder that holds ``images/`` and ``annotations/instance_{train,val}.json``.

    Raises:
        DataError: there is no such set, or this installation has no checkout around it.
    """
    if name not in DEMO_SETS:
        raise DataError(
            f"The demo data sets are {' and '.join(DEMO_SETS)}. "
            f"Got {name!r}.{nearest(name, DEMO_SETS)}"
        )
    folder = Path(__file__).resolve().parents[2] / "data" / "demo" / name
    if not (folder / "annotations" / "instance_val.json").exists():
        raise DataError(
            f"The demo data set {name!r} was expected in {folder}, which only a checkout of the "
            "repository has. Make it with: pip install 'kptk[render]' and "
            f"python -m tools.render.make --demo --out demo, then use demo/{name}."
        )
    return folder


def demo_images() -> list[Path]:
    """The small photographs of the rendered world that come with the package, sorted."""
    return sorted((Path(__file__).resolve().parent / "images").glob("*.jpg"))
