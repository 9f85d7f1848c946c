"""What can be wrong with the records of a COCO file, how it is repaired, and how reported.

Every rule looks at the records as the rules before it left them. Repairs happen in memory only.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.errors import DataError
from kptk.skeleton import COCO17, DEFAULT_SIGMA, Skeleton, good_edges, known_sigma, skeleton_of

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]

ERROR, REPAIRED, WARNING = "error", "repaired", "warning"

AREA_OF_BOX = 0.53
"""Area of a person as a share of its box where no mask says it: CrowdPose's and AI Challenger's
evaluation take this too; it is about the mean over COCO's people."""

_COLUMNS = ("code", "severity", "count", "of", "ids", "sentence", "advice")
_SHOWN = 5
_PEOPLE = ("person", "pedestrian", "people", "human")


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in a data set.

    Attributes:
        code: its stable name, e.g. ``"box-negative-size"``.
        severity: ``"error"``: numbers would be wrong, or programs fail; ``"repaired"``: an error
            in the file that does no harm any more, since it is repaired in what was loaded;
            ``"warning"``: may be meant, should be looked at.
        of: what ``ids`` are: ``"image"``, ``"annotation"``, ``"file"``, ``"joint"``, ``"pair"``
            or ``"category"``.
        ids: all of them, worst first where there is a worst.
        sentence: what was found, and for repairs what was done.
        advice: what to do about it.
    """

    code: str
    severity: str
    of: str
    ids: tuple[Any, ...]
    sentence: str
    advice: str = ""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ids)

    @property
    def json(self) -> dict[str, Any]:
        """The finding as plain values."""
        ids = [list(i) if isinstance(i, tuple) else i for i in self.ids]
        return {key: getattr(self, key) for key in _COLUMNS} | {"ids": ids}

    def __str__(self) -> str:
        return (
            f"{self.severity.upper():<8}  {self.code} ({self.count}): {self.sentence} "
            f"{self.of.capitalize()} {first_ids(self.ids)}. {self.advice}".rstrip()
        )


@dataclass(frozen=True)
class DataReport:
    """What a look at one annotation file, and its images, found.

    Attributes:
        title: what was looked at, e.g. ``"day val"``.
        looked_at: ``"records"`` (the annotation file), ``"files"`` (also that the images are
            there) or ``"pictures"`` (also every image's content).
        findings: errors first, then repairs, then warnings.
        statistics: counts, sizes and label balance; see :func:`kptk.coco.checks.describe`.
    """

    title: str
    looked_at: str
    findings: tuple[Finding, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make numbers wrong or programs fail and are not repaired."""
        return self._of(ERROR)

    @property
    def repairs(self) -> tuple[Finding, ...]:
        """Errors of the file that are repaired in what was loaded."""
        return self._of(REPAIRED)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may be meant."""
        return self._of(WARNING)

    def _of(self, severity: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "title": self.title,
            "looked_at": self.looked_at,
            "findings": [finding.json for finding in self.findings],
            "statistics": dict(self.statistics),
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a finding: ``code, severity, count, of, ids, sentence, advice``."""
        import pandas as pd

        return pd.DataFrame([finding.json for finding in self.findings], columns=list(_COLUMNS))

    @property
    def summary(self) -> str:
        """The counts in one line."""
        kinds = (("error", self.errors), ("repair", self.repairs), ("warning", self.warnings))
        counts = [f"{len(found)} {word}{'s' * (len(found) != 1)}" for word, found in kinds]
        verdict = ", ".join(counts) if self.findings else "nothing to complain about"
        return f"{verdict} (looked at {self.looked_at})"

    def __repr__(self) -> str:
        return "\n".join([f"{self.title}: {self.summary}", *map(str, self.findings)])

    def _repr_html_(self) -> str:
        head = f"<p><b>{html.escape(self.title)}</b>: {html.escape(self.summary)}</p>"
        return head + findings_table(self.findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then repairs, then warnings; otherwise in the order found."""
    order = (ERROR, REPAIRED, WARNING)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def findings_table(findings: Sequence[Finding]) -> str:
    """Findings as an HTML table; empty text for none."""
    if not findings:
        return ""
    rows = ""
    for f in findings:
        what = f"{f.sentence} {f.advice}".rstrip()
        cells = (f.severity, f.code, f.count, what, f"{f.of} {first_ids(f.ids)}")
        text = (f'<td style="text-align:left">{html.escape(str(cell))}</td>' for cell in cells)
        rows += f"<tr>{''.join(text)}</tr>"
    heads = "".join(f"<th>{name}</th>" for name in ("", "code", "count", "what", "which"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def first_ids(ids: Iterable[Any]) -> str:
    """The first few, as text."""
    names = ["=".join(map(str, i)) if isinstance(i, tuple) else str(i) for i in ids]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def title_of(path: Path, split: str | None) -> str:
    """How a data set is called in texts, without the machine's folders."""
    return f"{path.name} {split}" if split else path.name


@dataclass(frozen=True)
class Ledger:
    """Collects findings while records are repaired.

    Attributes:
        findings: so far.
        repair: False: what is repaired stays an error, with a note that ``load_coco`` repairs it.
        drop: whether leaving a record out counts as repairing it.
    """

    findings: list[Finding]
    repair: bool
    drop: bool

    def add(
        self, code: str, of: str, ids: Iterable[Any], sentence: str, done: str, advice: str
    ) -> None:
        """Note a defect, if ``ids`` is not empty; ``done`` is how it was repaired, if it was."""
        found = tuple(ids)
        if not found:
            return
        if not done and self.drop:
            done = "They were left out."
        if done and self.repair:
            self.findings.append(Finding(code, REPAIRED, of, found, f"{sentence} {done}", advice))
            return
        hint = f" kptk.load_coco mends this in memory: {done}" if done else ""
        self.findings.append(Finding(code, ERROR, of, found, sentence, f"{advice}{hint}".strip()))

    def warn(self, code: str, of: str, ids: Sequence[Any], sentence: str, advice: str) -> None:
        """Note what may be meant, if ``ids`` is not empty."""
        if ids:
            self.findings.append(Finding(code, WARNING, of, tuple(ids), sentence, advice))


def repair_images(content: Record, ledger: Ledger) -> None:
    """Check and repair the image records: ids, names."""
    images: list[Record] = content["images"]
    numbered = [image for image in images if is_id(image.get("id"))]
    kept: dict[int, Record] = {}
    nameless: list[int] = []
    twice: list[int] = []
    clash: list[int] = []
    for image in numbered:
        if not image.get("file_name") or not isinstance(image["file_name"], str):
            nameless.append(image["id"])
            continue
        first = kept.setdefault(image["id"], image)
        if first is not image:
            same = first["file_name"] == image["file_name"]
            (twice if same else clash).append(image["id"])
    for number in set(clash):
        del kept[number]
    bad = [f"#{i}" for i, image in enumerate(images) if not is_id(image.get("id"))]
    for code, ids, sentence, done, advice in (
        ("image-id-missing", bad, "Images have no id, or one that is no whole number.",
         "", "Give every image its own number."),
        ("image-name-missing", nameless, "Images have no file_name.",
         "", "Give every image the path of its file, relative to the image folder."),
        ("image-listed-twice", twice, "Images are listed more than once.",
         "The first record was kept.", ""),
        ("image-id-duplicate", clash,
         "Several images have the same id, so it is open which one a label belongs to.",
         "", "Give every image its own id."),
    ):  # fmt: skip
        ledger.add(code, "image", ids, sentence, done, advice)
    content["images"] = list(kept.values())
    leave_out_images(content, {image.get("id") for image in images})


def leave_out_images(content: Record, former: Iterable[Any]) -> None:
    """Leave out the annotations of images that were among ``former`` and are no longer there."""
    gone = {repr(i) for i in former} - {repr(image["id"]) for image in content["images"]}
    labels = content["annotations"]
    content["annotations"] = [a for a in labels if repr(a.get("image_id")) not in gone]


def repair_links(content: Record, ledger: Ledger) -> None:
    """Check and repair what annotations refer to: their image and category."""
    categories = {category.get("id") for category in content["categories"]}
    images = {image["id"] for image in content["images"]}
    only = next(iter(categories)) if len(categories) == 1 else None
    lost = [a for a in content["annotations"] if a.get("category_id") not in categories]
    ledger.add(
        "category-unknown", "annotation", map(_label, lost),
        "Annotations have a category_id that is not in categories.",
        f"They were given the only category there is, {only}." if only is not None else "",
        "Correct the category_id.",
    )  # fmt: skip
    for annotation in lost:
        annotation["category_id"] = only
    annotations = [a for a in content["annotations"] if a["category_id"] is not None]
    ledger.add(
        "image-unknown", "annotation",
        (_label(a) for a in annotations if a.get("image_id") not in images),
        "Annotations have an image_id that is not in images.", "They were left out.",
        "Correct the image_id, or add the image.",
    )  # fmt: skip
    content["annotations"] = [a for a in annotations if a.get("image_id") in images]


def repair_ids(content: Record, ledger: Ledger) -> None:
    """Check and repair the annotations' ids: copies, and ids missing, 0, or given twice."""
    unique: dict[Any, Record] = {}
    copies = []
    for annotation in content["annotations"]:
        parts = ("image_id", "category_id", "iscrowd", "bbox", "keypoints")
        first = unique.setdefault(tuple(_hashable(annotation.get(p)) for p in parts), annotation)
        if first is not annotation:
            copies.append(_label(annotation))
    annotations = content["annotations"] = list(unique.values())
    next_id = max((a["id"] for a in annotations if is_id(a.get("id"))), default=0) + 1
    seen: set[Any] = {0}
    missing: list[str] = []
    zero: list[int] = []
    twice: list[int] = []
    for index, annotation in enumerate(annotations):
        number = annotation.get("id")
        if not is_id(number):
            missing.append(f"#{index}")
        elif number not in seen:
            seen.add(number)
            continue
        else:
            (twice if number else zero).append(number)
        annotation["id"] = next_id
        next_id += 1
    renumbered = "They were given new ids."
    for code, ids, sentence, done, advice in (
        ("annotation-copied", copies,
         "Annotations repeat the box and points of another one on the same image.",
         "The copies were left out.", "Remove the copies."),
        ("id-missing", missing, "Annotations have no id, or one that is no whole number.",
         renumbered, ""),
        ("id-zero", zero, "An annotation has the id 0, which pycocotools takes for unmatched: "
         "its person can never be found.", renumbered, "Count ids from 1."),
        ("id-duplicate", twice, "Annotations share an id; pycocotools then scores one of them "
         "twice.", renumbered, "Give every annotation its own id."),
    ):  # fmt: skip
        ledger.add(code, "annotation", ids, sentence, done, advice)


def _hashable(value: Any) -> Any:
    """Equal for equal lists of numbers, be they written 5 or 5.0."""
    key = tuple(value) if isinstance(value, list) else value
    try:
        hash(key)
    except TypeError:  # something else than numbers, which a later rule will name
        return repr(value)
    return key


def _label(annotation: Record) -> Any:
    return annotation.get("id", "without id")


def repair_people(content: Record, category_id: int, n_joints: int, ledger: Ledger) -> None:
    """Check and repair the annotations of the keypoint category, rule by rule."""
    others = [a for a in content["annotations"] if a["category_id"] != category_id]
    kept = [a for a in content["annotations"] if a["category_id"] == category_id]
    for code, is_wrong, repair, sentence, done, advice in _rules(n_joints):
        wrong = [annotation for annotation in kept if is_wrong(annotation)]
        ledger.add(code, "annotation", (a["id"] for a in wrong), sentence, done, advice)
        if repair is not None:
            for annotation in wrong:
                repair(annotation)
        else:
            out = set(map(id, wrong))
            kept = [annotation for annotation in kept if id(annotation) not in out]
    content["annotations"] = sorted([*kept, *others], key=lambda a: a["id"])


# Code, whether an annotation has it, what repairs it in place (None: nothing is known that would be
# right, so that the annotation can only be left out), sentence, what the repair does, advice.
Rule = tuple[str, Callable[[Record], bool], Callable[[Record], object] | None, str, str, str]


def _rules(n_joints: int) -> list[Rule]:
    """The rules for a person with ``n_joints`` joints (0: boxes only), in the order applied."""
    area_done = f"It was taken from the mask, or else is {AREA_OF_BOX} times the box's."
    boxes: list[Rule] = [
        ("iscrowd-missing", lambda a: a.get("iscrowd") is None, lambda a: a.update(iscrowd=0),
         "iscrowd is missing.", "It was set to 0.", ""),
        ("box-invalid", lambda a: not _is_finite(a.get("bbox"), 4), None,
         "The bbox is not four finite numbers (x, y, width, height).", "", ""),
        ("box-negative-size", lambda a: min(a["bbox"][2:]) < 0, _swap_corners,
         "Boxes have a negative width or height.", "Their corners were swapped.",
         "Boxes are (x, y, width, height) from the top left corner."),
        ("box-empty", lambda a: 0 in a["bbox"][2:], None,
         "Boxes have no width or no height.", "", "Draw the box, or remove the annotation."),
        ("area-missing", lambda a: a.get("area") is None, _compute_area,
         "area is missing.", area_done, ""),
        ("area-zero", lambda a: not _is_area(a["area"]), _compute_area,
         "area is 0 or no positive number; pycocotools then finds no match for the person.",
         area_done, ""),
    ]  # fmt: skip
    if not n_joints:
        return boxes
    size = 3 * n_joints
    counted = "The labelled points were counted."
    return [
        *boxes,
        ("keypoints-missing", lambda a: not a.get("keypoints") and not a["iscrowd"],
         lambda a: a.update(keypoints=[0] * size),
         "Persons have no keypoints, not even unlabelled ones.",
         "They count as persons without labelled points.", ""),
        ("crowd-keypoints", lambda a: not a.get("keypoints"),
         lambda a: a.update(keypoints=[0] * size),
         "Crowds have no keypoints, not even unlabelled ones.",
         "They were given unlabelled points.", ""),
        ("keypoints-length", lambda a: not _is_numbers(a["keypoints"], size), None,
         f"The keypoints are not {size} numbers: x, y, v for each of {n_joints} joints.",
         "", "Label all joints in the category's order; joints without a label are 0, 0, 0."),
        ("keypoints-not-finite", lambda a: not _all_finite(a["keypoints"]),
         lambda a: _clear(a, lambda *xyv: not _all_finite(xyv)),
         "Keypoints hold NaN or infinity, which pycocotools takes for a perfect match.",
         "Those points count as not labelled.", ""),
        ("visibility-range", lambda a: not set(a["keypoints"][2::3]) <= {0, 1, 2},
         lambda a: _clear(a, lambda _x, _y, v: v not in (0, 1, 2)),
         "Keypoints have a visibility other than 0 (not labelled), 1 (hidden) or 2 (visible).",
         "What it means is unknown, so those points count as not labelled.",
         "Write 0, 1 or 2; AI Challenger's 3 means not labelled."),
        ("num-keypoints-missing", lambda a: a.get("num_keypoints") is None, _count,
         "num_keypoints is missing.", counted, ""),
        ("num-keypoints-wrong", lambda a: a["num_keypoints"] != labelled(a), _count,
         "num_keypoints is not the number of points with v > 0; with too many, pycocotools "
         "gives away a free match.", counted, ""),
    ]  # fmt: skip


def _swap_corners(annotation: Record) -> None:
    x, y, w, h = annotation["bbox"]
    annotation["bbox"] = [min(x, x + w), min(y, y + h), abs(w), abs(h)]


def _compute_area(annotation: Record) -> None:
    annotation["area"] = area_of(annotation)


def _count(annotation: Record) -> None:
    annotation["num_keypoints"] = labelled(annotation)


def _clear(annotation: Record, wrong: Callable[[Any, Any, Any], bool]) -> None:
    values = annotation["keypoints"]
    triples = [values[i : i + 3] for i in range(0, len(values), 3)]
    annotation["keypoints"] = [v for t in triples for v in ([0, 0, 0] if wrong(*t) else t)]


def area_of(annotation: Record) -> float:
    """A person's area in square pixels: of its mask, else :data:`AREA_OF_BOX` of its box."""
    segmentation = annotation.get("segmentation")
    area = 0.0
    if isinstance(segmentation, list):
        shapes = [shape for shape in segmentation if _is_numbers(shape) and len(shape) >= 6]
        area = sum(map(polygon_area, shapes))
    elif isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            area = float(sum(counts[1::2]))  # off, on, off, on, ...
        elif isinstance(counts, str):
            from pycocotools import mask

            try:
                area = float(mask.area({"size": segmentation["size"], "counts": counts.encode()}))
            except (KeyError, TypeError, ValueError):
                area = 0.0
    _, _, width, height = annotation["bbox"]
    return area if area > 0 else AREA_OF_BOX * width * height


def polygon_area(points: list[float]) -> float:
    """Area of a polygon x0, y0, x1, y1, ... by the shoelace formula."""
    xs, ys = points[0::2], points[1::2]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(min(len(xs), len(ys))))
    return abs(twice) / 2


def labelled(annotation: Record) -> int:
    """The number of points with v > 0."""
    return sum(v > 0 for v in annotation["keypoints"][2::3])


def is_id(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_numbers(value: object, length: int | None = None) -> bool:
    """Whether it is a list of numbers; None stands for NaN, as some writers have it."""
    return (
        isinstance(value, list)
        and (length is None or len(value) == length)
        and set(map(type, value)) <= {int, float, type(None)}
    )


def _is_finite(value: Any, length: int | None = None) -> bool:
    """Whether it is a list of finite numbers."""
    return _is_numbers(value, length) and _all_finite(value)


def _all_finite(numbers: Sequence[float | None]) -> bool:
    return None not in numbers and math.isfinite(sum(numbers))  # type: ignore[arg-type]


def _is_area(value: object) -> bool:
    return isinstance(value, int | float) and value is not True and 0 < value < math.inf


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
    name = category.get("name")
    if len(candidates) > 1:
        sentence = f"Several categories could be people; {name!r} is used."
        names = [c.get("name") for c in candidates]
        ledger.warn("category-several", "category", names, sentence, "")
    if not category.get("keypoints"):
        _name_joints(content, category, ledger)
    skeleton = skeleton_of(category, sigmas, flip_pairs)
    pairs = category.get("skeleton") or []
    bad = [pair for pair in pairs if not good_edges([pair], len(skeleton))]
    ledger.warn(
        "skeleton-edges", "joint", [tuple(p) if isinstance(p, list) else p for p in bad],
        f"Limbs in 'skeleton' join no two of the {len(skeleton)} joints (counted from 1). "
        "They were left out; only drawings use them.",
        "CrowdPose's own file carries COCO's limbs: correct them for your joints.",
    )  # fmt: skip
    unknown = [joint for joint in skeleton.names if known_sigma(joint) is None]
    ledger.warn(
        "sigmas-assumed", "joint", unknown if sigmas is None else [],
        "No OKS sigma is known for these joints; the mean of COCO's 17, "
        f"{DEFAULT_SIGMA:.4f}, was taken.",
        "Pass sigmas=, one for each joint, if you know better; AP depends on them.",
    )  # fmt: skip
    sideless = len(skeleton) > 1 and not skeleton.flip_pairs and skeleton.mirrored is None
    ledger.warn(
        "flip-pairs-none", "category", [name] if sideless else [],
        "No joint's name says left or right, so nothing is swapped when images are flipped.",
        "Pass flip_pairs=[(left, right), ...], 0-based, or [] if there are none.",
    )  # fmt: skip
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
