"""From what users hand to `kptk.evaluate` to a pipeline and data that can be measured."""

from __future__ import annotations

import os

from kptk.coco import KeypointData
from kptk.errors import InputError
from kptk.pose import PoseModel
from kptk.runner import Pipeline


def check_data(data: object) -> KeypointData:
    """Return loaded data.

    Raises:
        InputError: it is something else.
    """
    if isinstance(data, KeypointData):
        return data
    raise InputError(
        f"data must be loaded first: kptk.load_coco(path, split='val'). Got {type(data).__name__}."
    )


def prepare(
    pipe: Pipeline | str | os.PathLike[str],
    *,
    flip: bool | None,
    udp: bool | None,
    engine: str,
    device: str,
) -> Pipeline:
    """A pipeline as it is to be measured; the one handed in is not changed.

    Raises:
        InputError: an engine or device for a pipeline that is loaded already, or ``flip`` or
            ``udp`` without a pose model.
    """
    if isinstance(pipe, str | os.PathLike):
        from kptk.pipeline import create_pipeline

        pipe = create_pipeline(pipe, engine=engine, device=device)
    elif (engine, device) != ("auto", "auto"):
        raise InputError(
            "engine and device are chosen when a pipeline is made: "
            "create_pipeline(..., engine=..., device=...), or pass evaluate its name or path."
        )
    if flip is None and udp is None:
        return pipe
    if pipe.pose is None:
        raise InputError("flip and udp are for keypoint models. This pipeline has none.")
    pose = PoseModel(
        pipe.pose.model,
        pipe.pose.engine,
        flip=pipe.pose.flip if flip is None else flip,
        udp=pipe.pose.udp if udp is None else udp,
    )
    return Pipeline(
        pipe.detector,
        pose,
        det_batch_size=pipe.det_batch_size,
        kpt_batch_size=pipe.kpt_batch_size,
        det_threshold=pipe.det_threshold,
        kpt_threshold=pipe.kpt_threshold,
        channel_order=pipe.channel_order,
    )
