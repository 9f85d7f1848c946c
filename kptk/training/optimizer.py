"""The optimizer of a run and its learning rate."""

from __future__ import annotations

import math
from typing import Any

from kptk.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of a step: linear warm-up from 1 %, then a cosine down to 1 %."""
    peak, warmup = settings.learning_rate, min(settings.warmup_steps, settings.steps // 2)
    if step < warmup:
        return peak * (0.01 + 0.99 * (step + 1) / warmup)
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizer(settings: TrainSettings, net: Any) -> Any:
    """The optimizer of what is not frozen in a network."""
    import paddle

    clip = paddle.nn.ClipGradByGlobalNorm(settings.clip_norm) if settings.clip_norm else None
    parameters = [parameter for parameter in net.parameters() if not parameter.stop_gradient]
    if settings.optimizer == "momentum":
        return paddle.optimizer.Momentum(
            settings.learning_rate,
            0.9,
            parameters,
            weight_decay=paddle.regularizer.L2Decay(settings.weight_decay),
            grad_clip=clip,
        )
    return paddle.optimizer.AdamW(
        settings.learning_rate,
        parameters=parameters,
        weight_decay=settings.weight_decay,
        grad_clip=clip,
    )
