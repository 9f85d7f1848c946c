"""The model card (README.md) of a model exported for the edge: no dates, paths or timings."""

from __future__ import annotations

from kptk.modeldir import ModelDir

_FORMATS = {
    "onnx": "ONNX, float32, constants and batch norms folded",
    "openvino": "OpenVINO (.xml and .bin), weights in half precision",
    "onnx-int8": "ONNX in QDQ form: convolutions in int8, weights per channel, activations uint8",
    "openvino-int8": "OpenVINO (.xml and .bin): convolutions in int8, weights per channel, "
    "activations uint8",
}
_FLOAT = {
    "detection": "all but convolutions; of these the sum over distances in the head",
    "keypoint": "all but convolutions; of these the depthwise ones",
}
_AP = {
    "detection": "AP of the boxes",
    "keypoint": "AP of the joints on ground-truth boxes",
}
_OPTION = {"detection": "--det-model", "keypoint": "--kpt-model"}


def edge_card(
    source: ModelDir,
    format: str,
    n_images: int,
    method: str,
    size: tuple[float, float],
    ap: tuple[float, float] | None,
    digest: str,
) -> str:
    """The text of the card; the card of the model it was made from follows, if it has one.

    Args:
        source: the model it was made from.
        format: see `kptk.edge.export.FORMATS`.
        n_images: that int8 was calibrated on.
        method: of the calibration.
        size: megabytes before and after.
        ap: before and after, 0 to 1; None: not measured.
        digest: of the source.
    """
    rows = [
        ("made from", f"{source.path.name}, {digest}"),
        ("architecture", source.name),
        ("input", f"{source.input_size[0]} x {source.input_size[1]} (height x width), RGB"),
        ("format", _FORMATS[format]),
        ("size", f"{size[1]:.1f} MB (before: {size[0]:.1f})"),
    ]
    if format.endswith("-int8"):
        rows += [
            ("calibration", f"{n_images} images, {method}"),
            ("left in float32", _FLOAT[source.kind]),
        ]
    if ap is not None:
        rows.append((_AP[source.kind], f"{100 * ap[1]:.1f} (before: {100 * ap[0]:.1f})"))
    table = "\n".join(f"| {' | '.join(row)} |" for row in [("", ""), ("---", "---"), *rows])
    use = f"kptk swap demo {_OPTION[source.kind]} path/to/this/folder --save-path mine.yaml"
    card = source.path / "README.md"
    text = (
        f"# {source.name}, {format}\n\nMade by `kptk export --format {format}`.\n\n{table}\n\n"
        f"```bash\n{use}\n```\n"
    )
    if not card.is_file():
        return text
    old = card.read_text(encoding="utf-8")
    return f"{text}\nThe card of the model it was made from:\n\n{old}"
