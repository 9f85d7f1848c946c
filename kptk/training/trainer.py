"""The optimizer of a run and its learning rate."""

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
from kptk.evaluation.evaluator import evaluate_predictions, first_images
from kptk.evaluation.ground_truth import truth_of_data
from kptk.evaluation.predictions import collect
from kptk.evaluation.scores import MIN_SCORE, Scoring
from kptk.models import network, weights
from kptk.models.modeldir import ModelDir
from kptk.models.network import kind_of
from kptk.pipeline.detector import Detector
from kptk.pipeline.pipeline import Pipeline
from kptk.pipeline.pose import PoseModel
from kptk.training.data import Batches
from kptk.training.run import add_event
from kptk.training.settings import TrainSettings, read_settings


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


# ---- freeze: Parts of a network that keep their weights while the rest learns.


_STATISTICS = ("_mean", "_variance")


@dataclass(frozen=True)
class Frozen:
    """What does not change in a network.

    Attributes:
        names: of its arrays, as in ``state_dict``.
        norms: the batch norms that use their stored statistics.
    """

    names: frozenset[str]
    norms: tuple[Any, ...]

    def train(self, net: Any) -> None:
        """Put a network into training mode, but for what is frozen."""
        net.train()
        for layer in self.norms:
            layer.eval()


def freeze(net: Any, *, backbone: bool, norm: bool) -> Frozen:
    """Freeze parts of a network, before its optimizer is made.

    Args:
        net: one of ``network.build``; frozen parameters get no gradient from here on.
        backbone: all of the backbone: weights and batch-norm statistics.
        norm: the batch-norm statistics of all layers (their scale and shift learn).
    """
    import paddle

    norms = {
        name: layer
        for name, layer in net.named_sublayers()
        if isinstance(layer, paddle.nn.BatchNorm2D)
        and (norm or (backbone and name.startswith("backbone.")))
    }
    names = {f"{name}.{part}" for name in norms for part in _STATISTICS}
    if backbone:
        for parameter in net.backbone.parameters():
            parameter.stop_gradient = True
        names |= {name for name in net.state_dict() if name.startswith("backbone.")}
    return Frozen(frozenset(names), tuple(norms.values()))


# ---- team: The processes that train one network together, one a device, or a process alone.
#
# ``paddle.distributed.launch`` starts them. Each works on its share of every batch; gradients are
# averaged, so that all take the same step. The first leads: it alone evaluates and writes.


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> Team:
        """Take this process's device, and meet the others if a launcher started several.

        Args:
            device: as Paddle names it; of several GPUs each process takes its own.
        """
        import paddle

        size = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
        if size == 1:
            paddle.set_device(device)
            return cls()
        if device == "cpu":
            paddle.set_device("cpu")
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this process evaluates and writes."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; NaN in one is NaN in all."""
        return value if self.size == 1 else self._reduced(value, "SUM") / self.size

    def agree(self, value: int) -> int:
        """The greatest of a number over the processes."""
        return value if self.size == 1 else int(self._reduced(value, "MAX"))

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

    def _reduced(self, value: float, operation: str) -> float:
        import paddle

        tensor = paddle.to_tensor([value], "float32")
        paddle.distributed.all_reduce(tensor, getattr(paddle.distributed.ReduceOp, operation))
        return float(tensor.item())


# ---- validate: AP of a network while it trains, by the same code as everywhere else in kptk.


_PEOPLE = 32  # a call of the pose model


class NetworkEngine:
    """A Paddle network that stands in for an engine (see kptk.engines.base.Engine)."""

    name = "network"
    device = "cpu"
    precision = "f32"

    def __init__(self, network: Any, kind: str) -> None:
        self._network = network
        self._kind = kind
        self.input_names: tuple[str, ...] = ("image",)
        if kind == "detection":
            self.input_names = ("image", "scale_factor")

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network in evaluation mode."""
        import paddle

        with paddle.no_grad():
            out = self._network({name: paddle.to_tensor(value) for name, value in inputs.items()})
        pair = (out["bbox"], out["bbox_num"]) if self._kind == "detection" else out["keypoint"]
        return tuple(value.numpy() for value in pair)


def validate(network: Any, settings: TrainSettings) -> dict[str, float]:
    """Measure a network on the validation set, as ``kptk.evaluate`` does.

    Args:
        network: in evaluation mode (the caller sees to that).
        settings: of the run.

    Returns:
        COCO's statistics of the boxes, or of the keypoints on ground-truth boxes.
    """
    data = load_coco(settings.val.annotations, images=settings.val.images, check=False)
    data = first_images(data, settings.eval_images)
    kind = kind_of(settings.model)
    model, engine = _model_dir(settings, kind), NetworkEngine(network, kind)
    if kind == "detection":
        pipe = Pipeline(Detector(model, engine), None)
    else:
        pipe = Pipeline(None, PoseModel(model, engine), kpt_batch_size=_PEOPLE)
    found = collect(pipe, data, MIN_SCORE, progress=False, ppdet_boxes=False)
    measured = evaluate_predictions(found, truth_of_data(data), Scoring())
    return dict(measured.sections["detector" if kind == "detection" else "pose"])


def _model_dir(settings: TrainSettings, kind: str) -> ModelDir:
    """The preprocessing of the exported model, without an exported model."""
    return ModelDir(
        path=Path(settings.model),
        kind=kind,
        name=settings.model,
        input_size=settings.size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        is_scale=True,
        interp=2,
        keep_ratio=False,
        threshold=0.5,
        labels=("pedestrian",) if kind == "detection" else ("keypoint",),
        onnx=None,
        paddle=None,
    )


# ---- failures: What ended a run, in words: what happened, what is kept, what to do.


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# how Paddle says on its several devices that memory ran out; the type of the error varies
_NO_MEMORY = ("resourceexhausted", "out of memory", "cannot allocate memory", "bad_alloc")


def explain(error: Exception, folder: Path, step: int) -> str | None:
    """Word what ended the worker of a run.

    Args:
        error: what was raised.
        folder: the run directory.
        step: steps trained so far.

    Returns:
        The message; None for an error that only a traceback explains.
    """
    if isinstance(error, DataError):
        return f"{error} {_what_is_kept(folder)}"
    if isinstance(error, KptkError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        file = f" to write {os.fsdecode(error.filename)}" if error.filename else ""
        return (
            f"There is no room left on the disk{file} (step {step}). Free some space"
            f"{_needed(folder)}. {_what_is_kept(folder)}"
        )
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _NO_MEMORY):
        return (
            f"Memory ran out at step {step + 1}. Start anew with a smaller batch_size (half of "
            "it) or input_size, or free memory and go on. " + _what_is_kept(folder)
        )
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}. {_what_is_kept(folder)}"
    return None


def _needed(folder: Path) -> str:
    """How much room the next checkpoint takes, from the last."""
    checkpoint = folder / "checkpoint.npz"
    if not checkpoint.is_file():
        return ""
    return f": a checkpoint of this run takes {checkpoint.stat().st_size / 1e6:.0f} MB"


def _what_is_kept(folder: Path) -> str:
    checkpoint = folder / "checkpoint.npz"
    if checkpoint.is_file():
        return "The last checkpoint is kept: go on with run.resume() (kptk resume)."
    return "There was no checkpoint yet: run.resume() (kptk resume) begins again."


def check_loss(loss: float, step: int, rate: float) -> None:
    """Refuse to go on from a loss that is no number.

    Args:
        loss: of the step.
        step: the step, from 1.
        rate: its learning rate.

    Raises:
        TrainingError: it is NaN or infinite.
    """
    if not np.isfinite(loss):
        raise TrainingError(f"The loss became {loss} at step {step}. {_lower(rate)}")


def check_weights(arrays: Mapping[str, NDArray[Any]], step: int, rate: float) -> None:
    """Refuse to keep weights that are no numbers, so that what was kept before stays.

    Args:
        arrays: name to array.
        step: the step they come from.
        rate: its learning rate.

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


# ---- worker: The training process: ``python -m kptk.training.trainer RUN_DIR``.
#
# A run directory holds ``settings.yml`` (what was asked), ``events.jsonl`` (what happened, one JSON
# object a line), ``checkpoint.npz`` (everything needed to go on), ``best.npz`` (the weights with the
# best AP) and, at the end, ``model/`` (the exported model). Starting the worker again goes on from
# the checkpoint; the batches that follow are the ones that would have followed.


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
        from kptk.models.export import export_weights

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
