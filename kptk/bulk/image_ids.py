"""Which image of the annotations a stored path is, by file name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kptk.coco.report import first_ids
from kptk.errors import DataError


def match_images(
    paths: Iterable[str], images: Sequence[Mapping[str, Any]], name: str
) -> dict[str, int]:
    """Find the images of annotations among stored paths.

    The same path is the same image. Otherwise the shorter of path and ``file_name`` must be the end
    of the longer one, folders included.

    Args:
        paths: of the stored predictions.
        images: records with ``id`` and ``file_name``.
        name: how the annotations are called in errors.

    Returns:
        COCO id by path; stored images that are not annotated are left out.

    Raises:
        DataError: an annotated image is not among the paths, or it cannot be told which it is.
    """
    by_last: dict[str, list[str]] = {}
    for path in paths:
        by_last.setdefault(_parts(path)[-1], []).append(path)
    found: dict[str, int] = {}
    missing = []
    for image in images:
        fitting = _fitting(str(image["file_name"]), by_last)
        if len(fitting) > 1:
            raise DataError(
                f"{image['file_name']} of {name} may be any of {len(fitting)} stored images: "
                f"{', '.join(sorted(fitting)[:3])}. Predict with kptk.load_coco(...) as the source."
            )
        if not fitting:
            missing.append(int(image["id"]))
        elif fitting[0] in found:
            raise DataError(
                f"Images {found[fitting[0]]} and {image['id']} of {name} are both {fitting[0]}."
            )
        else:
            found[fitting[0]] = int(image["id"])
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(images)} images of {name} are not among the stored "
            f"predictions (ids {first_ids(missing)}). Predict them too, or evaluate on "
            "kptk.load_coco(...).subset(ids)."
        )
    return found


def _fitting(file_name: str, by_last: Mapping[str, list[str]]) -> list[str]:
    wanted = _parts(file_name)
    candidates = by_last.get(wanted[-1], [])
    same = [path for path in candidates if _parts(path) == wanted]
    return same or [path for path in candidates if _is_end(_parts(path), wanted)]


def _parts(path: str) -> tuple[str, ...]:
    return PurePath(path.replace("\\", "/")).parts or ("",)


def _is_end(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether the shorter is the end of the longer."""
    n = min(len(a), len(b))
    return a[-n:] == b[-n:]
