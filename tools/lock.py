"""Write requirements.lock: the installed versions of everything kptk's extras need.

    python tools/lock.py

Requirements are followed through the installed metadata for each supported system and Python, so
the lock serves them all. A package that another system needs and this one lacks (pywinpty,
appnope, ...) keeps the version the lock has now; the script stops where there is none yet.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import chain
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Everything kptk and its extras need, pinned. Written by tools/lock.py; install with
#     pip install --no-deps -r requirements.lock
#     pip install --no-deps paddledet==2.6.0 -e .
# --no-deps, because paddledet pins versions it does not need.
# Every pin has a wheel for Python 3.11 and 3.12 on Linux x86-64 (glibc 2.28 or newer), macOS arm64
# (14 or newer) and Windows x86-64.
"""
# Declared by a package, never imported by what kptk calls: onnxoptimizer and polygraphy only serve
# paddle2onnx's optimize_tool, which kptk sets to None (and onnxoptimizer 0.3.13 has no wheel for
# Python 3.12).
LEFT_OUT = {"onnxoptimizer", "polygraphy"}
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}
MACHINES = {"linux": "x86_64", "darwin": "arm64", "win32": "AMD64"}
PYTHONS = ("3.11", "3.12")


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (system, marker environment) for each supported system and Python."""
    for system, values in SYSTEMS.items():
        for python in PYTHONS:
            environment = {key: str(value) for key, value in default_environment().items()}
            environment |= values
            environment |= {
                "platform_machine": MACHINES[system],
                "python_version": python,
                "python_full_version": f"{python}.9",
            }
            yield system, environment


def project_requirements() -> list[Requirement]:
    """What pyproject.toml asks for, all extras together, without kptk's own name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + list(
        chain.from_iterable(project["optional-dependencies"].values())
    )
    return [need for need in map(Requirement, lines) if need.name != project["name"]]


def needs_of(name: str, extras: set[str], environment: dict[str, str]) -> Iterator[Requirement]:
    """Yield what an installed package requires in one environment; nothing if not installed."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return
    for need in map(Requirement, lines):
        choices = extras or {""}
        if need.marker is None or any(
            need.marker.evaluate({**environment, "extra": extra}) for extra in choices
        ):
            yield need


def closure(roots: list[Requirement], environment: dict[str, str]) -> set[str]:
    """Return the canonical names of everything the roots need in one environment."""
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [need for need in roots if need.marker is None or need.marker.evaluate(environment)]
    while queue:
        need = queue.pop()
        name = canonicalize_name(need.name)
        key = (name, frozenset(need.extras))
        if key in seen or name in LEFT_OUT:
            continue
        seen.add(key)
        queue.extend(needs_of(name, need.extras, environment))
    return {name for name, _ in seen}


def systems_by_name() -> dict[str, set[str]]:
    """Return, for each package, the systems that need it."""
    found: dict[str, set[str]] = {}
    roots = project_requirements()
    for system, environment in environments():
        for name in closure(roots, environment):
            found.setdefault(name, set()).add(system)
    return found


def read_lock(path: Path = LOCK) -> dict[str, str]:
    """Return the pins of a lock file: canonical name → version."""
    if not path.exists():
        return {}
    lines = [
        line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").split("\n")
    ]
    pins = [Requirement(line) for line in lines if line]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}


def version_of(name: str, locked: dict[str, str]) -> str:
    """Return the installed version, or the locked one of a package this system does not need."""
    try:
        return version(name)
    except PackageNotFoundError:
        if name not in locked:
            sys.exit(f"{name} is not installed here: add a line '{name}==VERSION' to {LOCK.name}")
        return locked[name]


def marker(systems: set[str]) -> str:
    """Return the marker that limits a pin to some systems, or ""."""
    if systems == set(SYSTEMS):
        return ""
    if systems == {"linux", "darwin"}:
        return '; sys_platform != "win32"'
    return "; " + " or ".join(f'sys_platform == "{name}"' for name in sorted(systems))


def main() -> None:
    """Write the lock."""
    locked = read_lock()
    found = sorted(systems_by_name().items())
    pins = [f"{name}=={version_of(name, locked)}{marker(systems)}" for name, systems in found]
    LOCK.write_text(HEADER + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"{len(pins)} pins in {LOCK.name}")


if __name__ == "__main__":
    main()
