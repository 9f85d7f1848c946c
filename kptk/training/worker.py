"""The training process: ``python -m kptk.training.worker RUN_DIR``.

A run directory holds ``settings.yml`` (what was asked), ``events.jsonl`` (what happened, one JSON
object a line), ``checkpoint.npz`` (everything needed to go on), ``best.npz`` (the weights with the
best AP) and, at the end, ``model/`` (the exported model). Starting the worker again goes on from
the checkpoint; the batches that follow are the ones that would have followed.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.training import network, weights
from kptk.training.data import Batches
from kptk.training.events import add_event
from kptk.training.failures import check_loss, check_weights, explain
from kptk.training.freeze import freeze
from kptk.training.optimizer import learning_rate, make_optimizer
from kptk.training.settings import TrainSettings, read_settings
from kptk.training.team import Team
from kptk.training.validate import validate

_GO_ON, _STOP, _PATIENCE_IS_OVER = range(3)


class Trainer:
    """A network, its optimizer and its averaged weights, as they are at one step.

    Args:
        settings: of the run.
        folder: the run directory.
        team: the processes that train together.
    """

    def __init__(self, settings: TrainSettings, folder: Path, team: Team) -> None:
        import paddle
        from ppdet.optimizer import ModelEMA

        self.settings = settings
        self.folder = folder
        self.team = team
        self.step = 0
        self.best = float("-inf")
        self.stale = 0  # evaluations in a row without a better AP
        self.stopping = False
        paddle.seed(settings.seed)
        self.net = network.build(settings.model)
        if settings.weights is not None:
            start = weights.read_weights(settings.weights)
            network.load(self.net, start, str(settings.weights))
        if settings.device == "cpu":
            from kptk.training.depthwise import speed_up

            speed_up(self.net)
        self.frozen = freeze(self.net, backbone=settings.freeze_backbone, norm=settings.freeze_norm)
        self.optimizer = make_optimizer(settings, self.net)
        self.ema = ModelEMA(self.net, decay=settings.ema_decay)

    def log(self, event: str, **fields: Any) -> None:
        """Add an event to the run's log."""
        if self.team.leads:
            add_event(self.folder, event, **fields)

    def run(self) -> None:
        """Train from the current step to the last one, or until told to stop."""
        settings = self.settings
        batches = Batches(settings, self.team.rank, self.team.size)
        self.log("start", step=self.step, steps=settings.steps, samples=len(batches))
        if self.step == 0 and settings.weights is not None:
            self._evaluate()
        self.frozen.train(self.net)
        verdict = self.team.agree(self._verdict())
        steps = batches.run(self.step, settings.steps) if verdict == _GO_ON else ()
        for batch in steps:
            self._train_step(batch)
            last = self.step == settings.steps
            if self.step % settings.eval_every == 0 or last:
                self._evaluate()
            verdict = self.team.agree(self._verdict())
            if self.step % settings.checkpoint_every == 0 or last or verdict != _GO_ON:
                self.save()
            if verdict != _GO_ON and not last:
                break
        if verdict == _STOP and self.step < settings.steps:
            self.log("stopped", step=self.step)
        elif self.team.leads:
            self._finish()

    def _verdict(self) -> int:
        """Whether to go on, as this process sees it."""
        if self.settings.patience is not None and self.stale >= self.settings.patience:
            return _PATIENCE_IS_OVER
        return _STOP if self.stopping else _GO_ON

    def _train_step(self, batch: dict[str, NDArray[Any]]) -> None:
        import paddle

        began = time.perf_counter()
        rate = learning_rate(self.settings, self.step)
        self.optimizer.set_lr(rate)
        inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
        losses = self.net({**inputs, "epoch_id": 0})
        loss = self.team.mean(float(losses["loss"]))
        check_loss(loss, self.step + 1, rate)
        losses["loss"].backward()
        self.team.average_gradients(self.optimizer._parameter_list)
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.ema.update()
        self.step += 1
        seconds = round(time.perf_counter() - began, 3)
        self.log("step", step=self.step, loss=round(loss, 6), lr=rate, seconds=seconds)

    def _evaluate(self) -> None:
        """Measure the averaged weights (before the first step: the start) and keep the best."""
        if not self.team.leads:
            return
        training = weights_of(self.net)
        shown = self._averaged(training)
        check_weights(shown, self.step, self.settings.learning_rate)
        network.load(self.net, shown, "averaged weights")
        self.net.eval()
        stats = validate(self.net, self.settings)
        network.load(self.net, training, "training weights")
        self.frozen.train(self.net)
        self.log("eval", step=self.step, **{k: _number(v) for k, v in stats.items()})
        ap = stats["AP"] if math.isfinite(stats["AP"]) else float("-inf")
        self.stale = 0 if ap > self.best else self.stale + 1
        if ap >= self.best:
            self.best = ap
            weights.write_npz(self.folder / "best.npz", shown)

    def _averaged(self, training: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The averaged weights; an average of equal numbers is rounded, so not of frozen ones."""
        if self.step == 0:
            return training
        averaged = {name: value.numpy() for name, value in self.ema.apply().items()}
        return averaged | {name: training[name] for name in self.frozen.names}

    def save(self) -> None:
        """Write the checkpoint, unless the weights are no longer numbers."""
        if not self.team.leads:
            return
        net = weights_of(self.net)
        check_weights(net, self.step, self.settings.learning_rate)
        numbers = {
            "step": self.step, "best": self.best, "stale": self.stale, "ema_step": self.ema.step,
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {k: np.array(v) for k, v in numbers.items()}
        arrays |= {f"net/{name}": value for name, value in net.items()}
        arrays |= {f"ema/{name}": value.numpy() for name, value in self.ema.state_dict.items()}
        for name, value in self.optimizer.state_dict().items():
            if hasattr(value, "numpy"):
                arrays[f"optimizer/{name}"] = value.numpy()
        weights.write_npz(self.folder / "checkpoint.npz", arrays)
        self.log("checkpoint", step=self.step)

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
        self.stale = int(arrays.get("stale", 0))  # checkpoints of version 0.1.0 are without

    def _finish(self) -> None:
        from kptk.training.export import export_weights

        settings = self.settings
        target = self.folder / "model"
        best = self.folder / "best.npz"
        export_weights(best, settings.model, target, input_size=settings.size, check=True)
        early = self.step < settings.steps
        reason = {"reason": f"no better AP in {self.stale} evaluations"} if early else {}
        self.log("end", step=self.step, AP=_number(self.best), **reason)


def weights_of(net: Any) -> dict[str, NDArray[np.float32]]:
    """A copy of a network's weights."""
    return {name: value.copy() for name, value in network.state_of(net).items()}


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def main(folder: Path) -> int:
    """Run the worker; returns the exit code."""
    trainer: Trainer | None = None
    try:
        settings = read_settings(folder / "settings.yml")
        trainer = Trainer(settings, folder, Team.join(settings.device))
        checkpoint = folder / "checkpoint.npz"
        if checkpoint.is_file():
            trainer.load(checkpoint)
        _listen(trainer)
        trainer.run()
    except Exception as error:
        message = explain(error, folder, trainer.step if trainer else 0)
        if message is None:
            raise
        with suppress(OSError):  # a full disk takes no event: Run.error looks at the disk itself
            add_event(folder, "error", message=message)
        print(message, file=sys.stderr)
        return 1
    return 0


def _listen(trainer: Trainer) -> None:
    """Let signals end the training after the step, with a checkpoint."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(trainer, "stopping", True))


if __name__ == "__main__":
    # must be set before Paddle starts: views make the channel shuffle of TinyPose copy slowly
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    sys.exit(main(Path(sys.argv[1])))
