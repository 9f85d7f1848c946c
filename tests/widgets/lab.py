"""A real JupyterLab in headless Chromium: start it, open notebooks, press and look.

`tests/widgets/conftest.py` makes fixtures of it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_START_S = 180
_OPEN_MS = 90_000
_IN_APP = "const app = window.jupyterapp; const panel = app.shell.currentWidget;"


def missing() -> str | None:
    """Why no browser test can run here; None if they can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install kptk[dev]"
    if chromium() is None:
        return "no Chromium: apt-get install chromium"
    return None


def chromium() -> str | None:
    """The installed Chromium; playwright downloads none."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


class LabServer:
    """A JupyterLab on 127.0.0.1 with a token of its own, its settings in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        own = root / "jupyter"
        own.mkdir()
        folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        env = {**os.environ, **{f"JUPYTER_{name}": str(own / name) for name in folders}}
        env |= {f"JUPYTERLAB_{name}_DIR": str(own / name) for name in ("SETTINGS", "WORKSPACES")}
        _no_news(own / "SETTINGS")
        env |= {"KPTK_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
        self._log = (own / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *self._options()],
            env=env, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._wait()

    def _options(self) -> list[str]:
        return [
            "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
            "--LabApp.news_url=None", "--FileContentsManager.delete_to_trash=False",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip

    def url(self, path: str) -> str:
        """The address of a page, with the token."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url("api/status"), timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        self.stop()
        log = Path(self._log.name).read_text(errors="replace")
        raise RuntimeError(f"JupyterLab did not start:\n{log[-3000:]}")

    def stop(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


def _no_news(settings: Path) -> None:
    """JupyterLab must not ask, over the images, whether it may fetch news."""
    folder = settings / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True)
    answer = json.dumps({"fetchNews": "false", "checkForUpdates": False})
    (folder / "notification.jupyterlab-settings").write_text(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """JupyterLab open in a browser, one page for all tests.

    Attributes:
        page: Playwright's.
        foreign: addresses asked for that are not on this machine; the browser reaches none.
        problems: errors on the browser's console, and those nobody caught.
    """

    def __init__(self, server: LabServer, browser: Any) -> None:
        self.server = server
        self.page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.foreign: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._hear)
        self.page.set_default_timeout(_OPEN_MS)
        self.page.goto(server.url("lab"))
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=_OPEN_MS)
        self.do("await app.restored; app.commands.execute('application:toggle-left-area')")

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.foreign.append(request.url)

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def do(self, script: str, value: Any = None) -> Any:
        """Run JavaScript with ``app`` and ``panel``, the notebook in front; ``value`` is passed."""
        return self.page.evaluate(f"async (value) => {{ {_IN_APP} {script} }}", value)

    def theme(self, name: str) -> None:
        """Switch to ``"light"`` or ``"dark"``."""
        self.do("await app.commands.execute('apputils:change-theme', {theme: value})", THEMES[name])
        wanted = "true" if name == "light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light={wanted}]", state="attached")
        # what JupyterLab lays over everything meanwhile takes the clicks
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def open(self, path: Path) -> Notebook:
        """Open a notebook below the server's root and start its kernel."""
        relative = path.relative_to(self.server.root).as_posix()
        self.do("await app.commands.execute('docmanager:open', {path: value})", relative)
        self.page.wait_for_function(
            f"(path) => {{ {_IN_APP} return panel?.context?.path === path "
            "&& panel.context.isReady && panel.sessionContext?.session?.kernel; }",
            arg=relative, timeout=_OPEN_MS,
        )  # fmt: skip
        return Notebook(self, path)


class Notebook:
    """A notebook in front, with its kernel."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self.lab, self.page, self.path = lab, lab.page, path
        self.root = self.page.locator(".jp-NotebookPanel:visible")

    def run(self) -> None:
        """Run all cells and wait until the kernel is idle.

        Raises:
            AssertionError: a cell failed.
        """
        self.lab.do("await panel.sessionContext.ready")
        self.lab.do("await app.commands.execute('notebook:run-all-cells')")
        self.wait_idle()
        errors = self.lab.do(
            "return panel.content.model.sharedModel.cells.flatMap(c => c.outputs ?? [])"
            ".filter(o => o.output_type === 'error').map(o => o.traceback.join('\\n'))"
        )
        assert not errors, "\n".join(errors)

    def wait_idle(self) -> None:
        """Wait until the kernel has done everything asked of it, by cells and by widgets."""
        self.python("pass")
        self._wait_quiet()

    def _wait_quiet(self) -> None:
        """Wait for the answers to all messages, also of widgets, which have ways of their own.

        A widget sends one message at a time; what came meanwhile follows the answer.
        """
        self.page.wait_for_function(f"async () => {{ {_IN_APP} {_QUIET} }}")

    def python(self, code: str) -> str:
        """Run code in the kernel, outside the cells: what it prints, or the last value's text."""
        return str(self.lab.do(_EXECUTE, code))

    def value(self, expression: str) -> Any:
        """An expression in the kernel that JSON can carry, once the kernel is idle."""
        self._wait_quiet()
        return json.loads(self.python(f"import json; print(json.dumps({expression}))"))

    def until(self, expression: str) -> None:
        """Wait until an expression in the kernel is true: pages may tell it late on purpose."""
        deadline = time.monotonic() + _OPEN_MS / 1000
        while not self.value(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.1)

    def cell(self, index: int) -> Any:
        """Playwright's locator of a cell."""
        return self.root.locator(".jp-Cell").nth(index)

    def output(self, index: int) -> Any:
        """Playwright's locator of what a cell shows."""
        return self.cell(index).locator(".jp-OutputArea")

    def save(self) -> dict[str, Any]:
        """Save, and read the file."""
        self.lab.do("await app.commands.execute('docmanager:save')")
        return dict(json.loads(self.path.read_text(encoding="utf-8")))

    def reload_without_kernel(self) -> None:
        """Close the notebook with its kernel and open it again with none, as a reader would."""
        self.save()
        self.close()
        relative = self.path.relative_to(self.lab.server.root).as_posix()
        self.lab.do(
            "await app.commands.execute('docmanager:open', "
            "{path: value, kernelPreference: {shouldStart: false, autoStartDefault: false}});",
            relative,
        )
        self.page.wait_for_function(
            f"(path) => {{ {_IN_APP} return panel?.context?.path === path && "
            "panel.context.isReady; }",
            arg=relative,
        )

    def shot(self, path: str | Path, locator: Any = None) -> Path:
        """A PNG of the notebook, or of a part of it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.root if locator is None else locator).screenshot(path=target)
        return target

    def close(self) -> None:
        """Shut the kernel down and close the tab, unsaved."""
        self.lab.do(
            "if (panel?.context) { await panel.context.save(); "
            "await panel.sessionContext.shutdown(); panel.dispose(); }"
        )


_QUIET = """
const kernel = panel.sessionContext.session.kernel;
for (let frame = 0; frame < 3; frame += 1) {
    if (kernel._futures.size) return false;
    await new Promise(requestAnimationFrame);
}
return true;
"""
_EXECUTE = """
const done = panel.sessionContext.session.kernel.requestExecute(
    {code: value, store_history: false});
let text = '';
done.onIOPub = (m) => {
    const c = m.content;
    if (m.header.msg_type === 'stream') text += c.text;
    if (m.header.msg_type === 'execute_result') text += c.data['text/plain'];
    if (m.header.msg_type === 'error') text += c.traceback.join('\\n');
};
await done.done;
return text;
"""


def write_notebook(path: Path, cells: Sequence[str]) -> Path:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)
    return path
