"""The training process: ``python -m kptk.training.trainer RUN_DIR``.

A run directory holds ``settings.yml`` (what was asked), ``events.jsonl`` (what happened, one JSON
object a line), ``checkpoint.npz`` (everything needed to go on), ``best.npz`` (the weights with the
best AP) and, at the end, ``model/`` (the exported model). Starting the worker again goes on from
the checkpoint; the batches that follow are the ones that would have followed.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco import load_coco
from kptk.errors import DataError, KptkError, TrainingError
from kptk.evaluation.evaluator import evaluate
from kptk.models import network
from kptk.models.catalog import MODELS
from kptk.models.export import MEAN, STD
from kptk.models.modeldir import ModelDir
from kptk.models.weights import read_weights, write_npz
from kptk.pipeline.detector import Detector
from kptk.pipeline.pipeline import Pipeline
from kptk.pipeline.pose import PoseModel
from kptk.training.data import Batch, Batches
from kptk.training.events import add_event
from kptk.training.export import export_checked
from kptk.training.settings import TrainSettings, read_settings

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Group:
    """The processes that train one network together, one a device, as this one sees them.

    ``paddle.distributed.launch`` starts them. Each works on its share of every batch; gradients are
    averaged, so that all take the same step. The first leads: it alone evaluates and writes.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are; 1 for a process alone.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> Group:
        """Take this process's device, and meet the others if a launcher started several.

        Args:
            device: as Paddle names it; of several GPUs each process takes its own.
        """
        import paddle

        alone = int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) == 1
        if alone or device == "cpu":
            paddle.set_device(device)
        if alone:
            return cls()
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), paddle.distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process evaluates and writes."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; NaN in one is NaN in all."""
        return self._reduced(value, "SUM") / self.size

    def agree(self, value: int) -> int:
        """The greatest of a number over the processes."""
        return int(self._reduced(value, "MAX"))

    def _reduced(self, value: float, operation: str) -> float:
        if self.size == 1:
            return value
        import paddle

        tensor = paddle.to_tensor([value], "float32")
        paddle.distributed.all_reduce(tensor, getattr(paddle.distributed.ReduceOp, operation))
        return float(tensor.item())

    def average_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace the gradients by their means over the processes, in one exchange."""
        if self.size == 1:
            return
        import paddle

        gradients = [p.grad for p in parameters if p.grad is not None]
        joined = paddle.concat([gradient.reshape([-1]) for gradient in gradients])
        paddle.distributed.all_reduce(joined)
        parts = (joined / self.size).split([gradient.size for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.set_value(part.reshape(gradient.shape))


class Frozen:
    """Parts of a network that keep their weights while the rest learns.

    Args:
        net: one of ``network.build``, before its optimizer is made; frozen parameters get no
            gradient from here on.
        backbone: freeze all of the backbone: weights and batch-norm statistics.
        norm: freeze the batch-norm statistics of all layers (their scale and shift learn).

    Attributes:
        names: of the arrays that do not change, as in ``state_dict``.
    """

    def __init__(self, net: Any, *, backbone: bool, norm: bool) -> None:
        import paddle

        norms = {
            name: layer
            for name, layer in net.named_sublayers()
            if isinstance(layer, paddle.nn.BatchNorm2D)
            and (norm or (backbone and name.startswith("backbone.")))
        }
        self._net, self._norms = net, list(norms.values())
        self.names = {f"{name}.{part}" for name in norms for part in ("_mean", "_variance")}
        if backbone:
            for parameter in net.backbone.parameters():
                parameter.stop_gradient = True
            self.names |= {name for name in net.state_dict() if name.startswith("backbone.")}

    def train(self) -> None:
        """Put the network into training mode, but for what is frozen."""
        self._net.train()
        for layer in self._norms:
            layer.eval()


class NetworkEngine:
    """A Paddle network that stands in for an engine (see kptk.engines.base.Engine)."""

    name = "network"
    device = "cpu"
    precision = "f32"

    def __init__(self, net: Any, kind: str) -> None:
        self._net = net
        scale = ("scale_factor",) if kind == "detection" else ()
        self.input_names: tuple[str, ...] = ("image", *scale)

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network in evaluation mode."""
        import paddle

        with paddle.no_grad():
            out = self._net({name: paddle.to_tensor(value) for name, value in inputs.items()})
        found = (out["bbox"], out["bbox_num"]) if "bbox" in out else out["keypoint"]
        return tuple(value.numpy() for value in found)


def validate(net: Any, settings: TrainSettings) -> dict[str, float]:
    """Measure a network on the validation set by ``kptk.evaluate``.

    Args:
        net: in evaluation mode (the caller sees to that).
        settings: of the run.

    Returns:
        COCO's statistics of the boxes, or of the keypoints on ground-truth boxes.
    """
    data = load_coco(settings.val.annotations, images=settings.val.images, check=False)
    kind = MODELS[settings.model].kind
    # the preprocessing of the exported model, without an exported model
    model = ModelDir(Path(settings.model), kind, settings.model, settings.size, MEAN, STD)
    engine = NetworkEngine(net, kind)
    if kind == "detection":
        pipe = Pipeline(Detector(model, engine), None)
    else:
        pipe = Pipeline(None, PoseModel(model, engine), kpt_batch_size=32)
    measured = evaluate(pipe, data, max_images=settings.eval_images, progress=False)
    return dict(measured.sections["detector" if kind == "detection" else "pose"])


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of a step: linear warm-up from 1 %, then a cosine down to 1 %."""
    peak, warmup = settings.learning_rate, min(settings.warmup_steps, settings.steps // 2)
    if step < warmup:
        return peak * (0.01 + 0.99 * (step + 1) / warmup)
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


_GO_ON, _STOP, _PATIENCE_IS_OVER = range(3)


class Trainer:
    """A network, its optimizer and its averaged weights, as they are at one step.

    Args:
        settings: of the run.
        folder: the run directory.
        group: the processes that train together.
    """

    def __init__(self, settings: TrainSettings, folder: Path, group: Group) -> None:
        import paddle
        from ppdet.optimizer import ModelEMA

        self.settings, self.folder, self.group = settings, folder, group
        self.step = 0
        self.best = float("-inf")
        self.stale = 0  # evaluations in a row without a better AP
        self.stopping = False
        paddle.seed(settings.seed)
        self.net = network.build(settings.model)
        if settings.weights is not None:
            network.load(self.net, read_weights(settings.weights), str(settings.weights))
        if settings.device == "cpu":
            from kptk.training.depthwise import speed_up

            speed_up(self.net)
        self.frozen = Frozen(self.net, backbone=settings.freeze_backbone, norm=settings.freeze_norm)
        decay = settings.weight_decay
        make: Any = paddle.optimizer.AdamW
        if settings.optimizer == "momentum":
            make, decay = paddle.optimizer.Momentum, paddle.regularizer.L2Decay(decay)
        self.optimizer = make(
            settings.learning_rate,
            parameters=[p for p in self.net.parameters() if not p.stop_gradient],
            weight_decay=decay,
            grad_clip=settings.clip_norm and paddle.nn.ClipGradByGlobalNorm(settings.clip_norm),
        )
        self.ema = ModelEMA(self.net, decay=settings.ema_decay)

    def log(self, event: str, **fields: Any) -> None:
        """Add an event to the run's log."""
        if self.group.leads:
            add_event(self.folder, event, step=self.step, **fields)

    def run(self) -> None:
        """Train from the current step to the last one, or until told to stop."""
        settings = self.settings
        batches = Batches(settings, self.group.rank, self.group.size)
        self.log("start", steps=settings.steps, samples=len(batches))
        if self.step == 0 and settings.weights is not None:
            self._evaluate()
        self.frozen.train()
        verdict = self._verdict()
        for batch in batches.run(self.step, settings.steps) if verdict == _GO_ON else ():
            self.train_step(batch)
            last = self.step == settings.steps
            if self.step % settings.eval_every == 0 or last:
                self._evaluate()
            verdict = self._verdict()
            if self.step % settings.checkpoint_every == 0 or last or verdict != _GO_ON:
                self.save()
            if verdict != _GO_ON:
                break
        if verdict == _STOP and self.step < settings.steps:
            self.log("stopped")
        elif self.group.leads:
            export_checked(
                self.folder / "best.npz", settings.model, self.folder / "model", settings.size
            )
            early = self.step < settings.steps
            reason = {"reason": f"no better AP in {self.stale} evaluations"} if early else {}
            self.log("end", AP=_number(self.best), **reason)

    def _verdict(self) -> int:
        """Whether to go on, as the processes agree."""
        patience = self.settings.patience
        over = patience is not None and self.stale >= patience
        return self.group.agree(_PATIENCE_IS_OVER if over else _STOP if self.stopping else _GO_ON)

    def train_step(self, batch: Batch) -> None:
        """Take one step."""
        import paddle

        began = time.perf_counter()
        rate = learning_rate(self.settings, self.step)
        self.optimizer.set_lr(rate)
        inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
        losses = self.net({**inputs, "epoch_id": 0})
        loss = self.group.mean(float(losses["loss"]))
        check_loss(loss, self.step + 1, rate)
        losses["loss"].backward()
        self.group.average_gradients(self.optimizer._parameter_list)
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.ema.update()
        self.step += 1
        seconds = round(time.perf_counter() - began, 3)
        self.log("step", loss=round(loss, 6), lr=rate, seconds=seconds)

    def _evaluate(self) -> None:
        """Measure the averaged weights (before the first step: the start) and keep the best."""
        if not self.group.leads:
            return
        shown = training = network.state_of(self.net)
        if self.step > 0:  # an average of equal numbers is rounded, so not of what is frozen
            averaged = {name: value.numpy() for name, value in self.ema.apply().items()}
            shown = averaged | {name: training[name] for name in self.frozen.names}
        check_weights(shown, self.step, self.settings.learning_rate)
        network.load(self.net, shown, "averaged weights")
        self.net.eval()
        stats = validate(self.net, self.settings)
        network.load(self.net, training, "training weights")
        self.frozen.train()
        self.log("eval", **{k: _number(v) for k, v in stats.items()})
        ap = stats["AP"] if math.isfinite(stats["AP"]) else float("-inf")
        self.stale = 0 if ap > self.best else self.stale + 1
        if ap >= self.best:
            self.best = ap
            write_npz(self.folder / "best.npz", shown)

    def save(self) -> None:
        """Write the checkpoint, unless the weights are no longer numbers."""
        if not self.group.leads:
            return
        net = network.state_of(self.net)
        check_weights(net, self.step, self.settings.learning_rate)
        parts: dict[str, Mapping[str, Any]] = {
            "": {"step": self.step, "best": self.best, "stale": self.stale},
            "net/": net,
            "ema/": self.ema.state_dict,
            "optimizer/": {
                name: value
                for name, value in self.optimizer.state_dict().items()
                if hasattr(value, "numpy")
            },
        }
        arrays = {
            prefix + name: value.numpy() if hasattr(value, "numpy") else np.array(value)
            for prefix, part in parts.items()
            for name, value in part.items()
        }
        write_npz(self.folder / "checkpoint.npz", arrays | {"ema_step": np.array(self.ema.step)})
        self.log("checkpoint")

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        import paddle

        arrays = read_weights(path)

        def part(prefix: str, convert: Any = paddle.to_tensor) -> dict[str, Any]:
            found = (name for name in arrays if name.startswith(prefix))
            return {name.removeprefix(prefix): convert(arrays[name]) for name in found}

        network.load(self.net, part("net/", np.asarray), str(path))
        self.optimizer.set_state_dict(part("optimizer/"))
        self.ema.resume(part("ema/"), int(arrays["ema_step"]))
        decay = min(self.ema.decay, self.ema.step / (9 + self.ema.step))
        self.ema._decay = decay  # resume() forgets it, and apply() needs it before the next update
        self.step, self.best = int(arrays["step"]), float(arrays["best"])
        self.stale = int(arrays.get("stale", 0))  # checkpoints of version 0.1.0 are without


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def check_loss(loss: float, step: int, rate: float) -> None:
    """Refuse to go on from a loss that is no number.

    Raises:
        TrainingError: it is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise TrainingError(f"The loss became {loss} at step {step}. {_lower(rate)}")


def check_weights(arrays: Mapping[str, NDArray[Any]], step: int, rate: float) -> None:
    """Refuse to keep weights that are no numbers, so that what was kept before stays.

    Raises:
        TrainingError: one holds NaN or infinity.
    """
    bad = next((name for name, value in arrays.items() if not np.isfinite(value).all()), None)
    if bad is not None:
        raise TrainingError(f"The weights {bad} became NaN by step {step}. {_lower(rate)}")


def _lower(rate: float) -> str:
    return (
        "The last checkpoint is kept, and so is best.npz. Going on from it would most likely lead "
        f"there again: start anew with a lower learning_rate (a third: {rate / 3:.1g}), or look "
        "for wrong boxes or keypoints in the data (kptk check)."
    )


# how Paddle says on its several devices that memory ran out; the type of the error varies
_NO_MEMORY = ("resourceexhausted", "out of memory", "cannot allocate memory", "bad_alloc")


def explain(error: Exception, folder: Path, step: int) -> str | None:
    """Word what ended the worker of a run: what happened, what is kept, what to do.

    Args:
        error: what was raised.
        folder: the run directory.
        step: steps trained so far.

    Returns:
        The message; None for an error that only a traceback explains.
    """
    checkpoint = folder / "checkpoint.npz"
    size, kept = "", "There was no checkpoint yet: run.resume() (kptk resume) begins again."
    if checkpoint.is_file():
        kept = "The last checkpoint is kept: go on with run.resume() (kptk resume)."
        size = f": a checkpoint of this run takes {checkpoint.stat().st_size / 1e6:.0f} MB"
    if isinstance(error, KptkError):
        return f"{error} {kept}" if isinstance(error, DataError) else str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        file = f" to write {os.fsdecode(error.filename)}" if error.filename else ""
        return (
            f"There is no room left on the disk{file} (step {step}). Free some space{size}. {kept}"
        )
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _NO_MEMORY):
        return (
            f"Memory ran out at step {step + 1}. Start anew with a smaller batch_size (half of "
            f"it) or input_size, or free memory and go on. {kept}"
        )
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}. {kept}"
    return None


def main(folder: Path) -> int:
    """Run the worker; returns the exit code."""
    trainer: Trainer | None = None
    try:
        settings = read_settings(folder / "settings.yml")
        trainer = Trainer(settings, folder, Group.join(settings.device))
        checkpoint = folder / "checkpoint.npz"
        if checkpoint.is_file():
            trainer.load(checkpoint)
        for number in (signal.SIGINT, signal.SIGTERM):  # end after the step, with a checkpoint
            signal.signal(number, lambda *_: setattr(trainer, "stopping", True))
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


if __name__ == "__main__":
    # must be set before Paddle starts: views make the channel shuffle of TinyPose copy slowly
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    sys.exit(main(Path(sys.argv[1])))
