"""Several processes that train one network: they see one batch and take one step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kptk.errors import ConfigError
from kptk.files import environment
from kptk.training.data import Batches
from kptk.training.settings import read_settings
from kptk.training.trainer import Team
from tests.training.fakes import make_run as make_fake_run
from tests.training.test_worker import PATIENCE, events, losses, run_until
from tests.training.tiny_data import make_run

# nothing random, so that shares of a batch are changed as the whole batch is
SAME = [
    {"TopDownAffine": {"trainsize": [96, 128], "use_udp": False}},
    {"ToHeatmapsTopDown_DARK": {"hmsize": [24, 32], "sigma": 1}},
]


def test_a_process_alone_is_its_own_leader() -> None:
    team = Team()
    assert team.leads and team.mean(3.5) == 3.5 and team.agree(2) == 2
    assert not Team(1, 2).leads


def test_the_shares_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    run = make_run(tmp_path, "demo-kpt", batch_size=4, sample_transforms=SAME)
    settings = read_settings(run / "settings.yml")
    whole = Batches(settings).batch(3)["image"]
    shares = [Batches(settings, rank, 2).batch(3)["image"] for rank in range(2)]
    np.testing.assert_array_equal(np.stack(shares, 1).reshape(whole.shape), whole)


def test_more_processes_than_samples_in_a_batch_are_refused(tmp_path: Path) -> None:
    settings = read_settings(make_fake_run(tmp_path / "run") / "settings.yml")
    with pytest.raises(ConfigError, match=r"at least the number of processes, 3. Got 2"):
        Batches(settings, 0, 3)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    changes = {
        "steps": 3, "batch_size": 4, "eval_every": 100, "checkpoint_every": 2,
        "freeze_norm": True, "sample_transforms": SAME,
    }  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone = make_run(tmp_path / "one", "demo-kpt", **changes)
    run_until(alone, 2, signal.SIGKILL)
    both = make_run(tmp_path / "two", "demo-kpt", **changes)
    _launch_two(both, tmp_path / "log")
    expected, found = losses(alone), losses(both)
    for step in (1, 2):
        assert found[step] == pytest.approx(expected[step], rel=1e-3)
    assert len(events(both, "start")) == len(events(both, "checkpoint")) == 1  # one alone writes
    with np.load(alone / "checkpoint.npz") as one, np.load(both / "checkpoint.npz") as two:
        assert set(one.files) == set(two.files)
        for name in one.files:
            if name.startswith("net/"):
                np.testing.assert_allclose(two[name], one[name], atol=1e-3, err_msg=name)


def _launch_two(run: Path, logs: Path) -> None:
    """Train by Paddle's launcher until the checkpoint of step 2 is there."""
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    worker = [sys.executable, "-m", "kptk.training.trainer", str(run)]
    process = subprocess.Popen(
        [*launcher, "--log_dir", str(logs), *worker],
        env={**environment(), "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    try:
        while not events(run, "checkpoint"):
            assert process.poll() is None and time.monotonic() < deadline, _last(logs)
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(logs: Path) -> str:
    return "".join(file.read_text()[-1500:] for file in sorted(logs.glob("workerlog.*")))
