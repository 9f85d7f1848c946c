"""What reduced precision costs in AP: the demo pair in float32, bfloat16 and int8."""

from __future__ import annotations

import harness

import kptk


def main() -> None:
    """Evaluate each and print."""
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    rows = []
    kinds = {
        "float32": {},
        "`enable_hpi`": {"enable_hpi": True},
        "the detector in int8": {"det_model": harness.int8_model("det320"), "enable_hpi": True},
    }
    for title, options in kinds.items():
        pipe = kptk.create_pipeline("demo", **options)  # type: ignore[arg-type]
        found = kptk.evaluate(pipe, data, progress=False)
        values = [f"{100 * scores.AP:.2f}" for scores in found.sections.values()]
        rows.append([title, *values])
    harness.section(
        "What reduced precision costs",
        f"AP in percent of the demo pair on the {len(data)} validation images of `data/demo/day`; "
        "int8 was calibrated on training images. Pose models are in float32 throughout.",
        harness.table(["", "detector", "pose, ground-truth boxes", "end to end"], rows),
    )


if __name__ == "__main__":
    main()
