"""What a look at a data set found: findings, reports, and how they show themselves."""

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


ERROR = "error"


WARNING = "warning"


REPAIRED = "repaired"


_ORDER = {ERROR: 0, REPAIRED: 1, WARNING: 2}


_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in a data set.

    Attributes:
        code: its stable name, e.g. ``"box-negative-size"``.
        severity: ``"error"``: numbers would be wrong, or programs fail; ``"repaired"``: an error
            in the file that does no harm any more, since what was loaded has it mended;
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
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "of": self.of,
            "ids": [list(i) if isinstance(i, tuple) else i for i in self.ids],
            "sentence": self.sentence,
            "advice": self.advice,
        }

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
            there) or ``"pictures"`` (also every picture's content).
        findings: errors first, then repairs, then warnings.
        statistics: counts, sizes and label balance; see :func:`kptk.coco.checks.describe`.
    """

    title: str
    looked_at: str
    findings: tuple[Finding, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make numbers wrong or programs fail and are not mended."""
        return self._of(ERROR)

    @property
    def repairs(self) -> tuple[Finding, ...]:
        """Errors of the file that what was loaded has mended."""
        return self._of(REPAIRED)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may be meant."""
        return self._of(WARNING)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def _of(self, severity: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

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

        columns = ["code", "severity", "count", "of", "ids", "sentence", "advice"]
        return pd.DataFrame([finding.json for finding in self.findings], columns=columns)

    def __repr__(self) -> str:
        return "\n".join([f"{self.title}: {self.summary}", *map(str, self.findings)])

    @property
    def summary(self) -> str:
        """The counts in one line."""
        counts = [
            f"{len(found)} {word}{'s' * (len(found) != 1)}"
            for found, word in (
                (self.errors, "error"), (self.repairs, "repair"), (self.warnings, "warning")
            )
        ]  # fmt: skip
        verdict = ", ".join(counts) if self.findings else "nothing to complain about"
        return f"{verdict} (looked at {self.looked_at})"

    def _repr_html_(self) -> str:
        head = f"<p><b>{html.escape(self.title)}</b>: {html.escape(self.summary)}</p>"
        return head + findings_table(self.findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then repairs, then warnings; otherwise in the order found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def findings_table(findings: Iterable[Finding]) -> str:
    """Findings as an HTML table; empty text for none."""
    rows = [
        "<tr>"
        + "".join(
            f'<td style="text-align:left">{html.escape(str(cell))}</td>'
            for cell in (
                finding.severity, finding.code, finding.count,
                f"{finding.sentence} {finding.advice}".rstrip(),
                f"{finding.of} {first_ids(finding.ids)}",
            )
        )
        + "</tr>"
        for finding in findings
    ]  # fmt: skip
    heads = "".join(f"<th>{name}</th>" for name in ("", "code", "count", "what", "which"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>" * bool(
        rows
    )


def first_ids(ids: Iterable[Any]) -> str:
    """The first few, as text."""
    names = ["=".join(map(str, i)) if isinstance(i, tuple) else str(i) for i in ids]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def title_of(path: Path, split: str | None) -> str:
    """How a data set is called in texts, without the machine's folders."""
    return f"{path.name} {split}" if split else path.name


# ---- rules: What can be wrong with the annotation of a person, and how each is mended.


Record = dict[str, Any]


AREA_OF_BOX = 0.53


"""Area of a person as a share of its box where no mask says it: CrowdPose's and AI Challenger's
evaluation take this too; it is about the mean over COCO's people."""


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with an annotation.

    Attributes:
        code: name of the finding.
        wrong: whether an annotation has it.
        mend: repairs it in place; None when nothing is known that would be right, so that the
            annotation can only be left out.
        sentence: what is wrong.
        done: what ``mend`` does.
        advice: what the user can do.
    """

    code: str
    wrong: Callable[[Record], bool]
    mend: Callable[[Record], None] | None
    sentence: str
    done: str
    advice: str = ""


def people_rules(n_joints: int) -> list[Rule]:
    """The rules for a person with ``n_joints`` joints (0: boxes only), in the order applied."""
    rules = [*_BOX_RULES]
    if n_joints:
        rules += _keypoint_rules(n_joints)
    return rules


def _keypoint_rules(n_joints: int) -> list[Rule]:
    def fill(annotation: Record) -> None:
        annotation["keypoints"] = [0] * (3 * n_joints)

    return [
        Rule(
            "keypoints-missing", lambda a: not a.get("keypoints") and not a["iscrowd"], fill,
            "Persons have no keypoints, not even unlabelled ones.",
            "They count as persons without labelled points.",
        ),
        Rule("crowd-keypoints", lambda a: not a.get("keypoints"), fill,
             "Crowds have no keypoints, not even unlabelled ones.",
             "They were given unlabelled points."),
        Rule(
            "keypoints-length", lambda a: not _is_numbers(a["keypoints"], 3 * n_joints), None,
            f"The keypoints are not {3 * n_joints} numbers: x, y, v for each of {n_joints} joints.",
            "", "Label all joints in the category's order; joints without a label are 0, 0, 0.",
        ),
        Rule(
            "keypoints-not-finite", _has_nan, _clear_nan,
            "Keypoints hold NaN or infinity, which pycocotools takes for a perfect match.",
            "Those points count as not labelled.",
        ),
        Rule(
            "visibility-range", _has_odd_visibility, _clear_odd_visibility,
            "Keypoints have a visibility other than 0 (not labelled), 1 (hidden) or 2 (visible).",
            "What it means is unknown, so those points count as not labelled.",
            "Write 0, 1 or 2; AI Challenger's 3 means not labelled.",
        ),
        Rule(
            "num-keypoints-missing", lambda a: a.get("num_keypoints") is None, _count,
            "num_keypoints is missing.", "The labelled points were counted.",
        ),
        Rule(
            "num-keypoints-wrong", lambda a: a["num_keypoints"] != labelled(a), _count,
            "num_keypoints is not the number of points with v > 0; with too many, pycocotools "
            "gives away a free match.", "The labelled points were counted.",
        ),
    ]  # fmt: skip


def _set(key: str, value: Any) -> Callable[[Record], None]:
    def mend(annotation: Record) -> None:
        annotation[key] = value

    return mend


def _swap_corners(annotation: Record) -> None:
    x, y, w, h = annotation["bbox"]
    annotation["bbox"] = [min(x, x + w), min(y, y + h), abs(w), abs(h)]


def _has_no_area(annotation: Record) -> bool:
    area = annotation["area"]
    return not _is_number(area) or not math.isfinite(area) or area <= 0


def _compute_area(annotation: Record) -> None:
    annotation["area"] = area_of(annotation)


def area_of(annotation: Record) -> float:
    """A person's area in square pixels: of its mask, else :data:`AREA_OF_BOX` of its box."""
    segmentation = annotation.get("segmentation")
    area = 0.0
    if isinstance(segmentation, list):
        shapes = [shape for shape in segmentation if _is_numbers(shape) and len(shape) >= 6]
        area = sum(map(polygon_area, shapes))
    elif isinstance(segmentation, dict):
        area = _run_lengths_area(segmentation)
    _, _, width, height = annotation["bbox"]
    return area if area > 0 else AREA_OF_BOX * width * height


def _run_lengths_area(segmentation: Record) -> float:
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        return float(sum(counts[1::2]))  # off, on, off, on, ...
    if not isinstance(counts, str):
        return 0.0
    from pycocotools import mask

    try:
        return float(mask.area({"size": segmentation["size"], "counts": counts.encode()}))
    except (KeyError, TypeError, ValueError):
        return 0.0


def polygon_area(points: list[float]) -> float:
    """Area of a polygon x0, y0, x1, y1, ... by the shoelace formula."""
    xs, ys = points[0::2], points[1::2]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(min(len(xs), len(ys))))
    return abs(twice) / 2


def labelled(annotation: Record) -> int:
    """The number of points with v > 0."""
    return sum(v > 0 for v in annotation["keypoints"][2::3])


def _count(annotation: Record) -> None:
    annotation["num_keypoints"] = labelled(annotation)


def _has_nan(annotation: Record) -> bool:
    values = annotation["keypoints"]
    return None in values or not math.isfinite(sum(values))


def _clear_nan(annotation: Record) -> None:
    _clear(annotation, lambda *p: any(value is None or not math.isfinite(value) for value in p))


def _has_odd_visibility(annotation: Record) -> bool:
    return not set(annotation["keypoints"][2::3]) <= {0, 1, 2}


def _clear_odd_visibility(annotation: Record) -> None:
    _clear(annotation, lambda _x, _y, v: v not in (0, 1, 2))


def _clear(annotation: Record, wrong: Callable[[Any, Any, Any], bool]) -> None:
    points = list(annotation["keypoints"])
    for i in range(0, len(points), 3):
        if wrong(points[i], points[i + 1], points[i + 2]):
            points[i : i + 3] = [0, 0, 0]
    annotation["keypoints"] = points


def is_id(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numbers(value: object, length: int | None = None) -> bool:
    """Whether it is a list of numbers; None stands for NaN, as some writers have it."""
    return (
        isinstance(value, list)
        and (length is None or len(value) == length)
        and set(map(type, value)) <= {int, float, type(None)}
    )


def _is_box(annotation: Record) -> bool:
    box = annotation.get("bbox")
    return _is_numbers(box, 4) and all(v is not None and math.isfinite(v) for v in box or ())


_BOX_RULES = [
    Rule("iscrowd-missing", lambda a: a.get("iscrowd") is None, _set("iscrowd", 0),
         "iscrowd is missing.", "It was set to 0."),
    Rule("box-invalid", lambda a: not _is_box(a), None,
         "The bbox is not four finite numbers (x, y, width, height).", ""),
    Rule("box-negative-size", lambda a: a["bbox"][2] < 0 or a["bbox"][3] < 0, _swap_corners,
         "Boxes have a negative width or height.", "Their corners were swapped.",
         "Boxes are (x, y, width, height) from the top left corner."),
    Rule("box-empty", lambda a: a["bbox"][2] == 0 or a["bbox"][3] == 0, None,
         "Boxes have no width or no height.", "", "Draw the box, or remove the annotation."),
    Rule("area-missing", lambda a: a.get("area") is None, _compute_area,
         "area is missing.",
         f"It was taken from the mask, or else is {AREA_OF_BOX} times the box's."),
    Rule("area-zero", _has_no_area, _compute_area,
         "area is 0 or no positive number; pycocotools then finds no match for the person.",
         f"It was taken from the mask, or else is {AREA_OF_BOX} times the box's."),
]  # fmt: skip


# ---- records: The records of a COCO file: what is wrong with them, and how each is mended.
#
# Every rule looks at the records as the rules before it left them. Mending happens in memory only.


@dataclass(frozen=True)
class Ledger:
    """Collects findings; ``repair`` says how those are called that were mended.

    Attributes:
        repair: False: they stay errors, with a note that ``load_coco`` mends them.
        drop: whether leaving a record out counts as mending it.
    """

    findings: list[Finding]
    repair: bool
    drop: bool

    def add(
        self,
        code: str,
        of: str,
        ids: Iterable[Any],
        sentence: str,
        done: str = "",
        advice: str = "",
    ) -> None:
        """Note a defect, if ``ids`` is not empty; ``done`` is how it was mended, if it was."""
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


def mend_images(content: Record, ledger: Ledger) -> None:
    """Check and mend the image records: ids, names."""
    images: list[Record] = content["images"]
    bad = [f"#{i}" for i, image in enumerate(images) if not is_id(image.get("id"))]
    ledger.add(
        "image-id-missing", "image", bad, "Images have no id, or one that is no whole number.",
        advice="Give every image its own number.",
    )  # fmt: skip
    nameless = [image["id"] for image in images if is_id(image.get("id")) and not _name(image)]
    ledger.add(
        "image-name-missing", "image", nameless, "Images have no file_name.",
        advice="Give every image the path of its file, relative to the image folder.",
    )  # fmt: skip
    named = [image for image in images if is_id(image.get("id")) and _name(image)]
    content["images"] = _unique_images(named, ledger)
    leave_out_images(content, {image.get("id") for image in images})


def leave_out_images(content: Record, former: Iterable[Any]) -> None:
    """Leave out the annotations of images that were among ``former`` and are no longer there."""
    gone = {repr(i) for i in former} - {repr(image["id"]) for image in content["images"]}
    content["annotations"] = [
        a for a in content["annotations"] if repr(a.get("image_id")) not in gone
    ]


def _unique_images(images: list[Record], ledger: Ledger) -> list[Record]:
    kept: dict[int, Record] = {}
    twice: list[int] = []
    clash: list[int] = []
    for image in images:
        first = kept.setdefault(image["id"], image)
        if first is not image:
            (twice if _name(first) == _name(image) else clash).append(image["id"])
    ledger.add(
        "image-listed-twice", "image", twice, "Images are listed more than once.",
        "The first record was kept.",
    )  # fmt: skip
    ledger.add(
        "image-id-duplicate", "image", clash,
        "Several images have the same id, so it is open which one a label belongs to.",
        advice="Give every image its own id.",
    )  # fmt: skip
    for number in set(clash):
        del kept[number]
    return list(kept.values())


def mend_links(content: Record, ledger: Ledger) -> None:
    """Check and mend what annotations refer to: their image and category."""
    annotations: list[Record] = content["annotations"]
    categories = {category.get("id") for category in content["categories"]}
    lost = [a for a in annotations if a.get("category_id") not in categories]
    only = next(iter(categories)) if len(categories) == 1 else None
    ledger.add(
        "category-unknown", "annotation", map(_label, lost),
        "Annotations have a category_id that is not in categories.",
        f"They were given the only category there is, {only}." if only is not None else "",
        "Correct the category_id.",
    )  # fmt: skip
    for annotation in lost:
        annotation["category_id"] = only
    annotations = [a for a in annotations if a["category_id"] is not None]
    images = {image["id"] for image in content["images"]}
    orphans = [_label(a) for a in annotations if a.get("image_id") not in images]
    ledger.add(
        "image-unknown", "annotation", orphans,
        "Annotations have an image_id that is not in images.", "They were left out.",
        "Correct the image_id, or add the image.",
    )  # fmt: skip
    content["annotations"] = [a for a in annotations if a.get("image_id") in images]


def mend_ids(content: Record, ledger: Ledger) -> None:
    """Check and mend the annotations' ids: missing, 0, or given more than once."""
    annotations = _without_copies(content["annotations"], ledger)
    next_id = max((a["id"] for a in annotations if is_id(a.get("id"))), default=0) + 1
    seen: set[int] = set()
    missing, zero, twice = [], [], []
    for place, annotation in enumerate(annotations):
        number: Any = annotation.get("id")
        if not is_id(number):
            missing.append(f"#{place}")
        elif number == 0:
            zero.append(number)
        elif number in seen:
            twice.append(number)
        else:
            seen.add(number)
            continue
        annotation["id"] = next_id
        next_id += 1
    done = "They were given new ids."
    ledger.add("id-missing", "annotation", missing,
               "Annotations have no id, or one that is no whole number.", done)  # fmt: skip
    ledger.add("id-zero", "annotation", zero,
               "An annotation has the id 0, which pycocotools takes for unmatched: "
               "its person can never be found.", done, "Count ids from 1.")  # fmt: skip
    ledger.add("id-duplicate", "annotation", twice,
               "Annotations share an id; pycocotools then scores one of them twice.", done,
               "Give every annotation its own id.")  # fmt: skip
    content["annotations"] = annotations


def _without_copies(annotations: list[Record], ledger: Ledger) -> list[Record]:
    kept: list[Record] = []
    copies: list[Record] = []
    seen: set[Any] = set()
    for annotation in annotations:
        parts = ("image_id", "category_id", "iscrowd", "bbox", "keypoints")
        key = tuple(_hashable(annotation.get(part)) for part in parts)
        (copies if key in seen else kept).append(annotation)
        seen.add(key)
    ledger.add(
        "annotation-copied", "annotation", map(_label, copies),
        "Annotations repeat the box and points of another one on the same image.",
        "The copies were left out.", "Remove the copies.",
    )  # fmt: skip
    return kept


def mend_people(content: Record, category_id: int, n_joints: int, ledger: Ledger) -> None:
    """Check and mend the annotations of the keypoint category, rule by rule."""
    kept = [a for a in content["annotations"] if a["category_id"] == category_id]
    for rule in people_rules(n_joints):
        wrong = [annotation for annotation in kept if rule.wrong(annotation)]
        ledger.add(
            rule.code, "annotation", (a["id"] for a in wrong), rule.sentence, rule.done, rule.advice
        )
        if rule.mend is not None:
            for annotation in wrong:
                rule.mend(annotation)
        else:
            out = set(map(id, wrong))
            kept = [annotation for annotation in kept if id(annotation) not in out]
    others = (a for a in content["annotations"] if a["category_id"] != category_id)
    content["annotations"] = sorted([*kept, *others], key=lambda a: a["id"])


def _hashable(value: Any) -> Any:
    """Equal for equal lists of numbers, be they written 5 or 5.0."""
    key = tuple(value) if isinstance(value, list) else value
    try:
        hash(key)
    except TypeError:  # something else than numbers, which a later rule will name
        return repr(value)
    return key


def _name(image: Record) -> str:
    name = image.get("file_name")
    return name if isinstance(name, str) else ""


def _label(annotation: Record) -> Any:
    return annotation.get("id", "without id")


# ---- category: Which category of a COCO file is the people, and what its skeleton is.


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
