"""The published tables, measured again, for users who have the data.

    python -m benchmarks.published coco-val2017 --data DIR
    python -m benchmarks.published crowdhuman --data DIR --model PP-YOLOE-S_human --json

Recipes are PaddleDetection's, since the published numbers are its own: the flip test, UDP crops,
ground-truth boxes cut its way, and its scores for poses; every box the detector gives for boxes.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kptk.errors import InputError, KptkError, nearest
from kptk.evaluation.evaluator import evaluate_pipeline, first_images
from kptk.evaluation.result import Evaluation
from kptk.evaluation.scores import Scoring
from kptk.models.catalog import MODELS

if TYPE_CHECKING:
    from kptk.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class Recipe:
    """How a published table came about.

    Attributes:
        name: what the user writes.
        split: of the data.
        section: which statistics it is about.
        models: names in the catalogue, which holds the published numbers.
        scoring: score mode and thresholds.
        flip: average with the mirrored person; None: boxes, no poses.
        udp: unbiased data processing, likewise.
        layout: what the data folder must hold.
    """

    name: str
    split: str
    section: str
    models: tuple[str, ...]
    scoring: Scoring
    flip: bool | None
    udp: bool | None
    layout: str

    def __str__(self) -> str:
        if self.section == "detector":
            return (
                f"{self.name}: boxes from {self.scoring.min_score:g} up, at most 100 an image, "
                "pycocotools; ignore flags count for nothing, as in pycocotools"
            )
        return (
            f"{self.name}: ground-truth boxes as PaddleDetection cuts them, flip test on, UDP on, "
            f"score mode {self.scoring.score_mode} (mean of the keypoint scores above .2), "
            f"OKS-NMS {self.scoring.oks_nms:g}, persons without labelled keypoints left out, "
            "pycocotools"
        )


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "coco-val2017",
            "val2017",
            "pose",
            ("PP-TinyPose_128x96", "PP-TinyPose_256x192"),
            Scoring(),
            flip=True,
            udp=True,
            layout="val2017/*.jpg and annotations/person_keypoints_val2017.json",
        ),
        Recipe(
            "crowdhuman",
            "val",
            "detector",
            ("PP-YOLOE-S_human", "PP-YOLOE-L_human"),
            Scoring(),
            flip=None,
            udp=None,
            layout="images and annotations/val.json in COCO's format",
        ),
    )
}


@dataclass(frozen=True)
class Row:
    """One published number and what was measured here, 0 to 1."""

    model: str
    statistic: str
    expected: float
    measured: float

    @property
    def difference(self) -> float:
        """Measured minus expected."""
        return self.measured - self.expected


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark:
    """A published table beside the numbers measured here.

    Attributes:
        recipe: how both came about.
        rows: the numbers.
        evaluations: by the model's name.
    """

    recipe: Recipe
    rows: tuple[Row, ...]
    evaluations: Mapping[str, Evaluation]

    @property
    def json(self) -> dict[str, Any]:
        """Everything as plain values."""
        rows = [
            {**vars(row), "difference": row.difference, "measured": row.measured}
            for row in self.rows
        ]
        return {
            "benchmark": self.recipe.name,
            "recipe": str(self.recipe),
            "scoring": self.recipe.scoring.json,
            "flip": self.recipe.flip,
            "udp": self.recipe.udp,
            "rows": [
                {k: None if v != v else v for k, v in row.items()}  # NaN: nothing to score
                for row in rows
            ],
            "evaluations": {name: found.json for name, found in self.evaluations.items()},
        }

    def __repr__(self) -> str:
        width = max(len(row.model) for row in self.rows)
        lines = [f"{'':<{width}}         expected  measured  difference"]
        lines += [
            f"{r.model:<{width}}  {r.statistic:<5}  {100 * r.expected:8.1f}  "
            f"{100 * r.measured:8.1f}  {100 * r.difference:+10.1f}"
            for r in self.rows
        ]
        return "\n".join([str(self.recipe), *lines])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def run_benchmark(
    name: str,
    data: str | os.PathLike[str],
    *,
    models: Sequence[str] | None = None,
    engine: str = "auto",
    device: str = "auto",
    max_images: int | None = None,
    progress: bool = True,
    create: Callable[..., Pipeline] | None = None,
) -> Benchmark:
    """Measure the models of a published table by its own recipe.

    Args:
        name: ``"coco-val2017"`` or ``"crowdhuman"``.
        data: the folder of that data set; see the recipe's ``layout``.
        models: some of the table's models; None: all.
        engine: see ``create_model``.
        device: likewise.
        max_images: only the first images by id; the numbers then do not compare.
        progress: show progress bars.
        create: what loads a model; None: ``create_model``.

    Raises:
        InputError: there is no such benchmark, or no such model in it.
        DataError: the data is not there.
    """
    from kptk.coco import load_coco
    from kptk.pipeline.pipeline import create_model

    recipe = find_recipe(name)
    strange = [model for model in models or () if model not in recipe.models]
    if strange:
        raise InputError(f"{recipe.name} publishes {', '.join(recipe.models)}. Got {strange[0]!r}.")
    chosen = models or recipe.models
    loaded = first_images(load_coco(data, split=recipe.split, check=False), max_images)
    found: dict[str, Evaluation] = {}
    for model in chosen:
        pipe = (create or create_model)(
            model, engine=engine, device=device, flip=bool(recipe.flip), udp=bool(recipe.udp)
        )
        found[model] = evaluate_pipeline(
            pipe, loaded, recipe.scoring, progress=progress, as_published=True
        )
    rows = [row for model in chosen for row in _rows(recipe, model, found[model])]
    return Benchmark(recipe, tuple(rows), found)


def find_recipe(name: str) -> Recipe:
    """The recipe of a published table.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(
            f"There is no benchmark {name!r}.{nearest(name, RECIPES)} They are "
            f"{', '.join(RECIPES)}."
        )
    return RECIPES[name]


def _rows(recipe: Recipe, model: str, found: Evaluation) -> list[Row]:
    spec = MODELS[model]
    published = {"AP": spec.ap, "AP50": spec.ap50}
    scores = found.sections[recipe.section]
    return [
        Row(model, statistic, value, scores[statistic])
        for statistic, value in published.items()
        if value is not None
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit codes are kptk's: 0 done, 1 our error, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published", description="Measure a published table again."
    )
    layouts = "; ".join(f"{recipe.name}: {recipe.layout}" for recipe in RECIPES.values())
    parser.add_argument("name", help=", ".join(RECIPES))
    parser.add_argument("--data", required=True, help=f"the folder of the data set. {layouts}")
    parser.add_argument("--model", action="append", help="one of the table's; may be repeated")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-images", type=int, help="the numbers then do not compare")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)
    try:
        found = run_benchmark(
            given.name,
            given.data,
            models=given.model,
            engine=given.engine,
            device=given.device,
            max_images=given.max_images,
            progress=sys.stderr.isatty(),
        )
    except KptkError as error:
        print(f"published: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found.json, indent=2, allow_nan=False) if given.json else repr(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
