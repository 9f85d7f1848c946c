"""What is installed here, what this machine can run, and whether it gives the right answers."""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from dataclasses import dataclass, field
from typing import Any

from kptk.device import ACCELERATORS, PACKAGES
from kptk.trial import Check, check_model, installed_engines, one_line, picture

# What is asked for → the distributions that provide it.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pillow": ("pillow",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "pydantic": ("pydantic",),
    "ruamel.yaml": ("ruamel.yaml",),
    "pycocotools": ("pycocotools",),
    "matplotlib": ("matplotlib",),
    "ipywidgets": ("ipywidgets",),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "paddlepaddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "paddle2onnx": ("paddle2onnx",),
    "paddledet": ("paddledet",),
    "openvino": ("openvino",),
    "numba": ("numba",),
    "scikit-image": ("scikit-image",),
    "jupyterlab": ("jupyterlab",),
}
_MISSING = "not installed"


class Versions(dict[str, str]):
    """Name → version, as a dict; its ``repr`` is a readable list."""

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:<{width}}  {version}" for name, version in self.items())


def show_versions() -> Versions:
    """Return the versions to put into a bug report.

    Returns:
        A dict of kptk, Python, the system and the packages kptk uses, the optional ones last;
        what is missing is "not installed". Shown as a list, one name a line. Nothing is imported
        for it.
    """
    import kptk

    versions = Versions(
        kptk=kptk.__version__, python=platform.python_version(), system=platform.platform()
    )
    for name, distributions in (_REQUIRED | _OPTIONAL).items():
        versions[name] = _version(distributions)
    return versions


def optional_parts() -> Versions:
    """Return the versions of the optional packages only."""
    return Versions({name: _version(names) for name, names in _OPTIONAL.items()})


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if name == distributions[0] else f"{version} ({name})"
    return _MISSING


@dataclass
class Diagnosis:
    """What `diagnose` found. ``repr`` is the report; ``ok`` is whether every check went well.

    Attributes:
        versions: see `show_versions`.
        engines: engine name → the devices it can use, or why it cannot be used.
        devices: kind of device as kptk names it → the engines that find one, or what brings it.
        checks: what was tried, in order.
    """

    versions: Versions
    engines: dict[str, str]
    devices: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check went well."""
        return all(check.ok for check in self.checks)

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "versions": dict(self.versions),
            "engines": self.engines,
            "devices": self.devices,
            "checks": [vars(check) for check in self.checks],
        }

    def __repr__(self) -> str:
        engines, devices = Versions(self.engines), Versions(self.devices)
        checks = "\n".join(map(str, self.checks))
        return (
            f"{self.versions!r}\n\nEngines\n{engines!r}\n\nDevices\n{devices!r}\n\nChecks\n{checks}"
        )


def diagnose(official: bool = False) -> Diagnosis:
    """Look at this installation and try it out.

    The demo pair is loaded and run by every engine that is installed, and the engines' answers
    are compared. Nothing is raised for what fails: it becomes a failed check.

    Args:
        official: fetch each official archive too (some 230 MB, kept in the cache), then check
            its kind and input size against what is published, load it and run it by every
            engine, and compare shapes and answers. This needs the network and, for the
            conversion, ``kptk[paddle]``.
    """
    from kptk.engine import ENGINES
    from kptk.zoo import MODELS

    engines = {name: _devices(name) for name in ENGINES}
    found = Diagnosis(show_versions(), engines, devices_by_kind(engines))
    image = picture()
    for spec in MODELS.values():
        if spec.url is None or official:
            found.checks += check_model(spec.name, image, size=spec.input_size)
    return found


def devices_by_kind(engines: dict[str, str]) -> dict[str, str]:
    """Say for each kind of device which engines find one here.

    Args:
        engines: what each engine says it can use, see `Diagnosis`.

    Returns:
        Kind as in ``device="gpu:0"`` → names of engines; for a kind that is missing, the packages
        to install for it.
    """
    found = {}
    for kind in ("cpu", *ACCELERATORS):
        names = [name for name, text in engines.items() if _finds(text, kind)]
        found[kind] = ", ".join(names) or f"none here; needs {PACKAGES.get(kind, 'onnxruntime')}"
    return found


def _finds(text: str, kind: str) -> bool:
    """Whether an engine's own list names a device of a kind, in its own words for it."""
    own = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu"}
    for entry in text.split(", "):
        name, _, count = entry.partition(" x ")
        if own.get(name, name.partition(".")[0].lower()) == kind and count != "0":
            return True
    return False


def _devices(engine: str) -> str:
    if engine not in installed_engines():
        return _MISSING
    try:
        return {"onnxruntime": _ort_devices, "openvino": _openvino_devices}.get(
            engine, _paddle_devices
        )()
    except Exception as error:  # a broken build may raise anything: that is the diagnosis
        return f"broken: {one_line(error)}"


def _ort_devices() -> str:
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _openvino_devices() -> str:
    import openvino

    return ", ".join(openvino.Core().available_devices)


def _paddle_devices() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # paddle's remarks on compilers it does not need here
        import paddle

    from kptk.paddle_engine import paddle_devices

    counts = paddle_devices(paddle)
    return ", ".join(["cpu", *(f"{kind} x {count}" for kind, count in counts.items())])
