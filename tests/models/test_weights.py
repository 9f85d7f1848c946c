"""Weight files: what is read, what is refused, and that nothing in them is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from kptk.errors import ModelError
from kptk.models import weights


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "run"))


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    file = tmp_path / "attack.pdparams"
    file.write_bytes(pickle.dumps({"weight": _Attack(victim)}))
    with pytest.raises(ModelError, match="was not read"):
        weights.read_pdparams(file)
    assert not victim.exists()
    pickle.loads(file.read_bytes())  # the attack is real: a plain pickle.load runs it
    assert victim.exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    state = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": np.ones(3, np.float16),
        "StructuredToParameterName@@": {"w": "conv_0.w_0"},
    }
    file = tmp_path / "a.pdparams"
    file.write_bytes(pickle.dumps(state, protocol=protocol))
    found = weights.read_pdparams(file)
    assert list(found) == ["w", "f", "half"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name])
        assert array.dtype == state[name].dtype


def test_official_weights_equal_paddle_load(reference_dir: Path) -> None:
    paddle = pytest.importorskip("paddle")
    file = reference_dir / "tinypose" / "PP-TinyPose_128x96.pdparams"
    found, expected = weights.read_pdparams(file), paddle.load(str(file))
    assert set(found) == set(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, np.asarray(expected[name]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a Paddle weight file"),
        (b"<html>not found</html>", "not a Paddle weight file"),
        (pickle.dumps([np.ones(2)]), "must hold a state dict"),
        (pickle.dumps({"a": 1}), "holds no arrays"),
        (pickle.dumps({"a": np.ones(100)})[:60], "damaged"),
    ],
)
def test_other_files_are_named_errors(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.pdparams"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        weights.read_pdparams(file)


def test_a_missing_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        weights.read_weights(tmp_path / "none.pdparams")


def test_npz_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    weights.write_npz(file, {"a/b": np.arange(3)})
    np.testing.assert_array_equal(weights.read_weights(file)["a/b"], [0, 1, 2])

    before = file.read_bytes()
    with pytest.raises(Exception, match="disk full"):
        weights.write_npz(file, {"a": _DiskFull()})  # type: ignore[dict-item]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


class _DiskFull:
    def __array__(self, *_args: object, **_kwargs: object) -> np.ndarray:
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"conv.weight": np.ones((2, 3))}, "1 of 2 parameters are missing.*'conv.bias'"),
        ({"conv.weight": np.ones((2, 3)), "conv.bias": np.ones(3)}, r"must have shape \(2,\)"),
    ],
)
def test_weights_that_do_not_fit_are_explained(found: dict[str, np.ndarray], message: str) -> None:
    wanted = {"conv.weight": (2, 3), "conv.bias": (2,)}
    with pytest.raises(ModelError, match=message):
        weights.match(wanted, found, "a.pdparams")
