"""What ``enable_hpi`` costs in AP: the demo pair in float32 and in bfloat16 on the same images."""

from __future__ import annotations

import harness

import kptk


def main() -> None:
    """Evaluate twice and print."""
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    rows = []
    for hpi in (False, True):
        pipe = kptk.create_pipeline("demo", enable_hpi=hpi)
        found = kptk.evaluate(pipe, data, progress=False)
        values = [f"{100 * scores.AP:.2f}" for scores in found.sections.values()]
        rows.append([pipe.detector.engine.precision, *values])  # type: ignore[union-attr]
    harness.section(
        "What reduced precision costs",
        f"AP in percent of the demo pair on {len(data)} images of `data/demo/day`.",
        harness.table(["precision", "detector", "pose, ground-truth boxes", "end to end"], rows),
    )


if __name__ == "__main__":
    main()
