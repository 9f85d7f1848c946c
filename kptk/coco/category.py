"""Which category of a COCO file is the people, and what its skeleton is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kptk.coco.records import Ledger
from kptk.coco.report import WARNING, Finding
from kptk.errors import DataError
from kptk.skeleton import COCO17, DEFAULT_SIGMA, Skeleton, good_edges, known_sigma, skeleton_of

_PEOPLE = ("person", "pedestrian", "people", "human")


def choose_category(
    content: dict[str, Any],
    ledger: Ledger,
    sigmas: Sequence[float] | None,
    flip_pairs: Sequence[tuple[int, int]] | None,
) -> tuple[int, Skeleton]:
    """The id of the people's category, and its skeleton (no joints where none are labelled).

    That is the category with keypoints; without any, the one called person, or the only one.

    Raises:
        DataError: no category can be meant.
    """
    categories = content["categories"]
    posed = [category for category in categories if category.get("keypoints")]
    named = [c for c in categories if str(c.get("name", "")).lower() in _PEOPLE]
    candidates = posed or named or categories
    if not candidates:
        raise DataError("The file must have a category for people. Got an empty list.")
    category = next((c for c in candidates if c in named), candidates[0])
    if len(candidates) > 1:
        _warn(ledger, "category-several", "category", [c.get("name") for c in candidates],
              f"Several categories could be people; {category.get('name')!r} is used.")  # fmt: skip
    if not category.get("keypoints"):
        _name_joints(content, category, ledger)
    skeleton = skeleton_of(category, sigmas, flip_pairs)
    _judge_skeleton(category, skeleton, sigmas, ledger)
    return category["id"], skeleton


def _name_joints(content: dict[str, Any], category: dict[str, Any], ledger: Ledger) -> None:
    """Give a category without joint names those its annotations seem to have."""
    points = (a.get("keypoints") for a in content["annotations"])
    lengths = [len(p) for p in points if isinstance(p, list) and p]
    if not lengths:
        return
    count = max(set(lengths), key=lengths.count) // 3
    if count == len(COCO17):
        category["keypoints"] = list(COCO17.names)
        category["skeleton"] = [[a + 1, b + 1] for a, b in COCO17.edges]
    else:
        category["keypoints"] = [f"joint_{i + 1}" for i in range(count)]
    ledger.add(
        "category-joints-missing", "category", [category.get("name")],
        "The category does not name its joints.",
        "COCO's 17 were assumed." if count == len(COCO17) else f"{count} numbers were assumed.",
        "Add 'keypoints' (names) and 'skeleton' (pairs of 1-based numbers) to the category.",
    )  # fmt: skip


def _judge_skeleton(
    category: dict[str, Any], skeleton: Skeleton, sigmas: Sequence[float] | None, ledger: Ledger
) -> None:
    pairs = category.get("skeleton") or []
    good = good_edges(pairs, len(skeleton))
    bad = (
        [p for p in pairs if good_edges([p], len(skeleton)) == []]
        if len(good) != len(pairs)
        else []
    )
    _warn(
        ledger, "skeleton-edges", "joint", [tuple(p) if isinstance(p, list) else p for p in bad],
        f"Limbs in 'skeleton' join no two of the {len(skeleton)} joints (counted from 1). "
        "They were left out; only drawings use them.",
        "CrowdPose's own file carries COCO's limbs: correct them for your joints.",
    )  # fmt: skip
    if sigmas is None:
        unknown = [name for name in skeleton.names if known_sigma(name) is None]
        _warn(
            ledger, "sigmas-assumed", "joint", unknown,
            "No OKS sigma is known for these joints; the mean of COCO's 17, "
            f"{DEFAULT_SIGMA:.4f}, was taken.",
            "Pass sigmas=, one for each joint, if you know better; AP depends on them.",
        )  # fmt: skip
    if len(skeleton) > 1 and not skeleton.flip_pairs and skeleton.mirrored is None:
        _warn(
            ledger, "flip-pairs-none", "category", [category.get("name")],
            "No joint's name says left or right, so nothing is swapped when images are flipped.",
            "Pass flip_pairs=[(left, right), ...], 0-based, or [] if there are none.",
        )  # fmt: skip


def _warn(
    ledger: Ledger, code: str, of: str, ids: Sequence[Any], sentence: str, advice: str = ""
) -> None:
    if ids:
        ledger.findings.append(Finding(code, WARNING, of, tuple(ids), sentence, advice))
