"""Render data sets in PaddleX's COCO layout.

``python -m tools.render.make --out DIR --domain day --train 1000 --val 200 --seed 1`` renders a new
set; ``--demo --out data/demo`` renders the committed ones again, and ``--check`` compares instead
of writing. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kptk.errors import DataError, InputError, require
from kptk.skeleton import COCO17

logger = logging.getLogger(__name__)
DOMAINS = ("day", "night")
FIRST_TRAIN = 100_000  # train images are numbered from here, val images from 0
DEMO_SEED = 20  # of the committed sets; nothing else may be rendered from it
TOLERANCE = 2  # grey levels between machines


@dataclass(frozen=True)
class Split:
    """One split of the committed data."""

    domain: str
    name: str
    count: int

    @property
    def indices(self) -> range:
        """Sample numbers of the split."""
        return split_indices(self.name, self.count)


DEMO = (
    Split("day", "val", 160),
    Split("day", "train", 300),
    Split("night", "val", 160),
    Split("night", "train", 200),
)


def split_indices(name: str, count: int) -> range:
    """Sample numbers of a split; those of train and val never meet."""
    first = FIRST_TRAIN if name == "train" else 0
    return range(first, first + count)


def render_image(
    domain: str, seed: int, index: int
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int, list[dict[str, Any]]]:
    """Render one sample.

    Args:
        domain: "day" or "night".
        seed: of the data set.
        index: of the image; the same three numbers give the same picture.

    Returns:
        image uint8 [H, W, 3] RGB, its JPEG quality, COCO annotations without ids.

    Raises:
        InputError: no such domain, or a negative number.
        MissingDependencyError: the extra ``render`` is not installed.
    """
    if domain not in DOMAINS:
        raise InputError(f"The domain must be one of {', '.join(DOMAINS)}. Got {domain!r} instead.")
    if seed < 0 or index < 0:
        raise InputError(f"Seed and index must be 0 or more. Got {seed} and {index}.")
    for module in ("numba", "skimage"):
        require(module, "render", "Rendering people")
    from tools.render.annotate import annotate
    from tools.render.render import render
    from tools.render.scene import draw_scene

    rng = np.random.default_rng((seed, DOMAINS.index(domain), index))
    scene = draw_scene(rng, domain)
    buffers = render(scene, rng)
    # Noise is what costs bytes at night.
    low, high = (74, 89) if domain == "day" else (60, 76)
    return buffers.image, int(rng.integers(low, high)), annotate(scene, buffers)


def render_sample(
    domain: str, seed: int, index: int
) -> tuple[bytes, dict[str, int], list[dict[str, Any]]]:
    """As ``render_image``, encoded: JPEG bytes, width and height, annotations without ids."""
    image, quality, people = render_image(domain, seed, index)
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return out.getvalue(), {"width": image.shape[1], "height": image.shape[0]}, people


def category() -> dict[str, Any]:
    """The COCO category record."""
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO17.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO17.edges],
    }


def write_file(path: Path, content: bytes) -> None:
    """Write through a temporary file of the same folder."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def document(domain: str, seed: int, samples: dict[int, list[Any]]) -> bytes:
    """A COCO annotation file of samples {index: [image record, annotations]}."""
    images, annotations = [], []
    for index, (record, people) in samples.items():
        image_id = index + 1
        images.append({"id": image_id, "file_name": file_name(domain, seed, index), **record})
        annotations += [
            {"id": image_id * 100 + k, "image_id": image_id, **p} for k, p in enumerate(people)
        ]
    whole = {
        "info": {
            "description": f"People rendered by kptk: {domain}, seed {seed}",
            "version": "1.0",
        },
        "licenses": [
            {"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
        ],
        "images": images,
        "annotations": annotations,
        "categories": [category()],
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def file_name(domain: str, seed: int, index: int) -> str:
    """File name of a sample."""
    return f"{domain}_{seed}_{index:06d}.jpg"


def make_split(out: Path, domain: str, split: str, count: int, seed: int) -> None:
    """Render a split into ``out``; samples that are already there are kept.

    Finished samples wait in ``out/.parts`` until their annotation file is written.
    """
    parts = out / ".parts"
    for folder in (out / "images", out / "annotations", parts):
        folder.mkdir(parents=True, exist_ok=True)
    samples: dict[int, list[Any]] = {}
    start, rendered = time.perf_counter(), 0
    for index in split_indices(split, count):
        name = file_name(domain, seed, index)
        part = parts / (name + ".json")
        if not (part.exists() and (out / "images" / name).exists()):
            jpeg, record, people = render_sample(domain, seed, index)
            write_file(out / "images" / name, jpeg)
            write_file(part, json.dumps([record, people]).encode())
            rendered += 1
            if rendered % 50 == 0:
                speed = rendered / (time.perf_counter() - start)
                logger.info("%s %s: %d of %d, %.1f images/s", domain, split, rendered, count, speed)
        samples[index] = json.loads(part.read_text())
    write_file(out / "annotations" / f"instance_{split}.json", document(domain, seed, samples))


def make_demo(out: Path) -> None:
    """Render the committed sets into ``out`` and write their hashes to SHA256SUMS."""
    for split in DEMO:
        make_split(out / split.domain, split.domain, split.name, split.count, DEMO_SEED)
    lines = []
    for path in sorted(p for d in DOMAINS for p in (out / d).rglob("*") if ".parts" not in p.parts):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.relative_to(out).as_posix()}\n")
    write_file(out / "SHA256SUMS", "".join(lines).encode())


def compare_image(path: Path, jpeg: bytes) -> float:
    """Largest mean difference between a stored and a rendered picture over 8 x 8 blocks.

    Blocks, because JPEG makes single pixels of almost equal pictures differ by more.
    """
    with Image.open(path) as old, Image.open(io.BytesIO(jpeg)) as new:
        a, b = (np.asarray(i.convert("RGB"), np.float64) for i in (old, new))
    if a.shape != b.shape:
        return 255.0
    h, w = a.shape[0] // 8 * 8, a.shape[1] // 8 * 8
    gap = (a - b)[:h, :w].reshape(h // 8, 8, w // 8, 8, 3).mean(axis=(1, 3))
    return float(abs(gap).max())


def check_demo(folder: Path, every: int = 1) -> dict[str, int]:
    """Render the committed sets again and compare.

    Args:
        folder: where the sets are.
        every: check only every n-th image.

    Returns:
        Numbers of images that are "identical", "close" (within 2 grey levels) and "different".

    Raises:
        DataError: an image or an annotation file is missing.
    """
    counts = {"identical": 0, "close": 0, "different": 0}
    for split in DEMO:
        for index in split.indices[::every]:
            path = folder / split.domain / "images" / file_name(split.domain, DEMO_SEED, index)
            if not path.exists():
                raise DataError(f"{path} is missing. Make it with: make demo-data")
            jpeg, _, _ = render_sample(split.domain, DEMO_SEED, index)
            if jpeg == path.read_bytes():
                counts["identical"] += 1
            elif compare_image(path, jpeg) <= TOLERANCE:
                counts["close"] += 1
            else:
                counts["different"] += 1
                logger.warning("%s differs by more than %d grey levels", path, TOLERANCE)
    return counts


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.render.make", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--domain", choices=DOMAINS, default="day")
    parser.add_argument("--train", type=int, default=0, help="images in the train split")
    parser.add_argument("--val", type=int, default=0, help="images in the val split")
    parser.add_argument("--seed", type=int, default=1, help=f"not {DEMO_SEED}: the committed sets'")
    parser.add_argument(
        "--demo", action="store_true", help="the committed sets: OUT/day, OUT/night"
    )
    parser.add_argument("--check", action="store_true", help="with --demo: compare, write nothing")
    parser.add_argument("--every", type=int, default=1, help="with --check: every n-th image only")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.demo and args.check:
        counts = check_demo(args.out, args.every)
        logger.info("%s", ", ".join(f"{n} {word}" for word, n in counts.items()))
        return int(counts["different"] > 0)
    if args.demo:
        make_demo(args.out)
        return 0
    for split, count in (("val", args.val), ("train", args.train)):
        if count:
            make_split(args.out, args.domain, split, count, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
