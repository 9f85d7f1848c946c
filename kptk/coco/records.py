"""The records of a COCO file: what is wrong with them, and how each is mended.

Every rule looks at the records as the rules before it left them. Mending happens in memory only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kptk.coco.report import ERROR, REPAIRED, Finding
from kptk.coco.rules import Record, is_id, people_rules


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
