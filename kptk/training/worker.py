"""The training process: ``python -m kptk.training.worker RUN_DIR``.

A run directory holds ``settings.yml`` (what was asked), ``events.jsonl`` (what happened, one JSON
object a line), ``checkpoint.npz`` (everything needed to go on), ``best.npz`` (the weights with the
best AP) and, at the end, ``model/`` (the exported model). Starting the worker again goes on from
the checkpoint; the batches that follow are the ones that would have followed.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import KptkError, TrainingError
from kptk.training import network, weights
from kptk.training.data import Batches
from kptk.training.settings import TrainSettings, read_settings
from kptk.training.validate import validate


class EventLog:
    """Appends events to ``events.jsonl``, each written out at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"

    def write(self, event: str, **fields: Any) -> None:
        """Add one event with the time of day (seconds since 1970)."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of a step: linear warm-up from 1 %, then a cosine down to 1 %."""
    peak, warmup = settings.learning_rate, min(settings.warmup_steps, settings.steps // 2)
    if step < warmup:
        return peak * (0.01 + 0.99 * (step + 1) / warmup)
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Trainer:
    """A network, its optimizer and its averaged weights, as they are at one step.

    Args:
        settings: of the run.
        folder: the run directory.
    """

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        import paddle
        from ppdet.optimizer import ModelEMA

        self.settings = settings
        self.folder = folder
        self.log = EventLog(folder)
        self.step = 0
        self.best = float("-inf")
        self.stopping = False
        paddle.set_device(settings.device)
        paddle.seed(settings.seed)
        self.net = network.build(settings.model)
        if settings.weights is not None:
            start = weights.read_weights(settings.weights)
            network.load(self.net, start, str(settings.weights))
        if settings.device == "cpu":
            from kptk.training.depthwise import speed_up

            speed_up(self.net)
        self.optimizer = _optimizer(settings, self.net)
        self.ema = ModelEMA(self.net, decay=settings.ema_decay)

    def run(self) -> None:
        """Train from the current step to the last one, or until told to stop."""
        batches = Batches(self.settings)
        self.log.write("start", step=self.step, steps=self.settings.steps, samples=len(batches))
        self._train_mode()
        for batch in batches.run(self.step, self.settings.steps):
            self._train_step(batch)
            last = self.step == self.settings.steps
            if self.step % self.settings.eval_every == 0 or last:
                self._evaluate()
            if self.step % self.settings.checkpoint_every == 0 or last or self.stopping:
                self.save()
            if self.stopping and not last:
                self.log.write("stopped", step=self.step)
                return
        self._finish()

    def _train_mode(self) -> None:
        import paddle

        self.net.train()
        if self.settings.freeze_norm:
            for layer in self.net.sublayers():
                if isinstance(layer, paddle.nn.BatchNorm2D):
                    layer.eval()

    def _train_step(self, batch: dict[str, NDArray[Any]]) -> None:
        import paddle

        began = time.perf_counter()
        rate = learning_rate(self.settings, self.step)
        self.optimizer.set_lr(rate)
        inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
        losses = self.net({**inputs, "epoch_id": 0})
        loss = float(losses["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {self.step + 1}. The last checkpoint is kept. "
                "Start again from it with a lower learning_rate (a third), or look for wrong "
                "boxes or keypoints in the data."
            )
        losses["loss"].backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.ema.update()
        self.step += 1
        seconds = time.perf_counter() - began
        self.log.write(
            "step", step=self.step, loss=round(loss, 6), lr=rate, seconds=round(seconds, 3)
        )

    def _evaluate(self) -> None:
        training = weights_of(self.net)
        averaged = {name: value.numpy() for name, value in self.ema.apply().items()}
        network.load(self.net, averaged, "averaged weights")
        self.net.eval()
        stats = validate(self.net, self.settings)
        self.log.write("eval", step=self.step, **{k: _number(v) for k, v in stats.items()})
        if stats["AP"] >= self.best:
            self.best = stats["AP"]
            weights.write_npz(self.folder / "best.npz", averaged)
        network.load(self.net, training, "training weights")
        self._train_mode()

    def save(self) -> None:
        """Write the checkpoint."""
        arrays: dict[str, NDArray[Any]] = {"step": np.array(self.step), "best": np.array(self.best)}
        arrays["ema_step"] = np.array(self.ema.step)
        arrays |= {f"net/{name}": value for name, value in weights_of(self.net).items()}
        arrays |= {f"ema/{name}": value.numpy() for name, value in self.ema.state_dict.items()}
        for name, value in self.optimizer.state_dict().items():
            if hasattr(value, "numpy"):
                arrays[f"optimizer/{name}"] = value.numpy()
        weights.write_npz(self.folder / "checkpoint.npz", arrays)
        self.log.write("checkpoint", step=self.step)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        import paddle

        arrays = weights.read_weights(path)
        network.load(self.net, _part(arrays, "net/"), str(path))
        self.optimizer.set_state_dict(
            {name: paddle.to_tensor(value) for name, value in _part(arrays, "optimizer/").items()}
        )
        average = {name: paddle.to_tensor(v) for name, v in _part(arrays, "ema/").items()}
        self.ema.resume(average, int(arrays["ema_step"]))
        decay = min(self.ema.decay, self.ema.step / (9 + self.ema.step))
        self.ema._decay = decay  # resume() forgets it, and apply() needs it before the next update
        self.step, self.best = int(arrays["step"]), float(arrays["best"])

    def _finish(self) -> None:
        from kptk.training.export import export_weights

        export_weights(
            self.folder / "best.npz",
            self.settings.model,
            self.folder / "model",
            input_size=self.settings.size,
        )
        self.log.write("end", step=self.step, AP=_number(self.best))


def weights_of(net: Any) -> dict[str, NDArray[np.float32]]:
    """A copy of a network's weights."""
    return {name: value.copy() for name, value in network.state_of(net).items()}


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _optimizer(settings: TrainSettings, net: Any) -> Any:
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


def main(folder: Path) -> int:
    """Run the worker; returns the exit code."""
    log = EventLog(folder)
    try:
        trainer = Trainer(read_settings(folder / "settings.yml"), folder)
        checkpoint = folder / "checkpoint.npz"
        if checkpoint.is_file():
            trainer.load(checkpoint)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(trainer, "stopping", True))
        trainer.run()
    except KptkError as error:
        log.write("error", message=str(error))
        print(error, file=sys.stderr)
        return 1
    except (OSError, MemoryError) as error:
        message = f"{type(error).__name__}: {error}. The last checkpoint is kept; start again."
        log.write("error", message=message)
        print(message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # must be set before Paddle starts: views make the channel shuffle of TinyPose copy slowly
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    sys.exit(main(Path(sys.argv[1])))
