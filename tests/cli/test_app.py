"""kptk.cli: the command as a user types it, in this process and as a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import kptk
from kptk.cli import app
from tests.tiny_models import write_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("onnx")
    return str(write_pipeline(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two pictures and a text file that claims to be one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (60, 50), (90, 120, 90)).save(tmp_path / "in" / name)
    (tmp_path / "text.jpg").write_text("words")
    return tmp_path


def kptk_cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "a.png", "-p", "demmo"), "Did you mean 'demo'?"),
        (("predict", "a.png", "-p", "PIPELINE", "--det-threshold", "7"), "from 0 to 1"),
        (("predict", "a.png", "-p", "PIPELINE", "--engine", "tensorrt"), "onnxruntime"),
        (("predict", "a.png", "-p", "PIPELINE", "--device", "cuda"), "gpu"),
        (("config", "humann_keypoint_detection"), "Did you mean"),
        (("download", "PP-TinyPose_128x69"), "Did you mean"),
    ],
)
def test_our_errors_are_one_line_and_exit_1(
    pipeline: str, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = kptk_cli(*(pipeline if part == "PIPELINE" else part for part in arguments))
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("kptk: ")
    assert message in line


@pytest.mark.parametrize(
    "arguments",
    [("predict",), ("predikt", "a.jpg"), ("predict", "a.jpg", "--det-threshold", "high"), ("-x",)],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    result = kptk_cli(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_config_saves_and_keeps(folder: Path) -> None:
    result = kptk_cli("config", "human_keypoint_detection", "--save-path", "my_path")
    assert result.stdout == "my_path/human_keypoint_detection.yaml\n"
    assert "PP-TinyPose" in Path("my_path/human_keypoint_detection.yaml").read_text()
    assert kptk_cli("config", "demo", "--save-path", "new/mine.yaml").exit_code == 0
    Path("new/mine.yaml").write_text("edited")
    again = kptk_cli("config", "demo", "--save-path", "new/mine.yaml")
    assert (again.exit_code, Path("new/mine.yaml").read_text()) == (1, "edited")
    assert "--force" in again.stderr
    assert kptk_cli("config", "demo", "-o", "new/mine.yaml", "--force").exit_code == 0


def test_models() -> None:
    result = kptk_cli("models")
    assert result.exit_code == 0, result.output
    for name in ("PP-YOLOE-L_human", "PP-YOLOE-S_human", "PP-TinyPose_128x96", "demo-kpt"):
        assert name in result.stdout
    document = json.loads(kptk_cli("models", "--json").stdout)
    by_name = {row["name"]: row for row in document["models"]}
    # The tutorial's table.
    assert (by_name["PP-YOLOE-L_human"]["AP"], by_name["PP-TinyPose_256x192"]["AP"]) == (48.0, 68.3)


def test_models_measure_times_what_is_here(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kptk import check as trial
    from kptk.models import zoo
    from kptk.models.modeldir import ModelDir

    folder = Path(pipeline).parent / "kpt"
    monkeypatch.setattr(
        zoo, "where_is", lambda spec: "cached" if spec.name == "PP-TinyPose_128x96" else "missing"
    )
    monkeypatch.setattr(zoo, "find_model", lambda name: ModelDir.open(folder))
    times = trial.measure_models()
    assert times["PP-TinyPose_128x96"] > 0
    assert np.isnan(times["demo-det"])
    rows = json.loads(kptk_cli("models", "--measure", "--json").stdout)["models"]
    here = {row["name"]: row["ms_here"] for row in rows}
    assert here["PP-TinyPose_128x96"] > 0
    assert here["demo-det"] is None


def test_check_model(pipeline: str, tmp_path: Path) -> None:
    result = kptk_cli("check-model", Path(pipeline).parent / "kpt", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert "heatmaps (1, 17, 32, 24)" in document["checks"][0]["detail"]
    broken = kptk_cli("check-model", tmp_path)
    assert broken.exit_code == 1
    assert broken.stdout.startswith("FAIL")


def test_version_lists_the_optional_parts() -> None:
    result = kptk_cli("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"kptk {kptk.__version__} ")
    assert "paddlepaddle" in result.stdout
    assert "openvino" in result.stdout


def run(
    *arguments: str, code: str = "from kptk.cli import main; main()"
) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, without a network."""
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {
        "PYTHONPATH": str(Path(kptk.__file__).parents[1]),
        "KPTK_OFFLINE": "1",
    }
    return subprocess.run(command, capture_output=True, env=environment, timeout=120)


def test_a_real_process(pipeline: str, folder: Path) -> None:
    done = run("predict", "in", "text.jpg", "--pipeline", pipeline, "--json")
    document = json.loads(done.stdout)
    assert (len(document["results"]), len(document["errors"])) == (2, 1)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    error = run("config", "demmo")
    assert (error.returncode, error.stdout) == (1, b"")
    assert error.stderr.startswith(b"kptk: ")
    assert len(error.stderr.splitlines()) == 1
    usage = run("predict")
    assert (usage.returncode, usage.stdout) == (2, b"")
    help_text = run("--help")
    assert help_text.returncode == 0
    assert b"predict" in help_text.stdout


def test_nothing_else_reaches_stdout_with_json() -> None:
    """Native libraries write to the descriptor, Python code to sys.stdout."""
    done = run(
        code="import os; from kptk.cli.app import output\n"
        "with output(True) as show:\n"
        "    os.write(1, b'native ')\n"
        "    print('python')\n"
        "    show({}, '')\n"
    )
    assert done.stdout == b"{}\n"
    assert b"native" in done.stderr
    assert b"python" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows such names")
def test_file_names_that_are_no_unicode(pipeline: str, folder: Path) -> None:
    os.rename(b"in/a.png", b"in/\xff.png")
    done = run("predict", "in", "--pipeline", pipeline)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir("output")) == 4
    json.loads(Path(os.fsdecode(b"output/\xff_res.json")).read_text(encoding="utf-8"))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kptk.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: print({'numpy', 'pandas', 'cv2', 'paddle'} & set(sys.modules))"
    )
    assert run(code=code).stdout.splitlines()[-1] == b"set()"
