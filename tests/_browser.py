"""A headless Chromium spoken to over its debugging protocol: enough to open a page from disk and ask it things."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Browser:
    """A page in a Chromium of its own; use it as a context manager.

    Attributes:
        problems: errors and warnings that the page logged, and exceptions in it.
        requests: addresses that the page asked for.
    """

    def __init__(self, profile: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            pytest.skip("no Chromium is installed")
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._count = 0
        self._dark, self._size = dark, (width, height)
        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        arguments += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        arguments += ["--remote-allow-origins=*", "--disable-dev-shm-usage", "about:blank"]
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(profile)}
        )
        try:
            self._socket = websocket.create_connection(self._address(profile), timeout=30)
        except BaseException:
            self._stop()
            raise

    def _address(self, profile: Path) -> str:
        port_file, deadline = profile / "DevToolsActivePort", time.monotonic() + 30
        while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline and self._process.poll() is None, "Chromium did not start"
            time.sleep(0.1)
        port, path = port_file.read_text().splitlines()[:2]
        browser = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=30)
        browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        answer = json.loads(browser.recv())
        browser.close()
        page = next(target for target in answer["result"]["targetInfos"] if target["type"] == "page")
        return f"ws://127.0.0.1:{port}/devtools/page/{page['targetId']}"

    def call(self, method: str, **parameters: Any) -> Any:
        """A command's result; what the page says meanwhile is noted."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            self._note(message)
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message: Any) -> None:
        kind, values = message.get("method"), message.get("params", {})
        if kind == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(values["entry"]["text"])
        elif kind == "Runtime.exceptionThrown" or (
            kind == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning")
        ):
            self.problems.append(json.dumps(values))
        elif kind == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"][:100])

    def open(self, file: Path) -> None:
        """Open a page from disk and wait until it is loaded."""
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        width, height = self._size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        if self._dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=file.resolve().as_uri())
        deadline = time.monotonic() + 30
        while self.ask("document.readyState") != "complete" or not self.ask("location.href").startswith("file:"):
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)
        self.call("Page.getLayoutMetrics")  # whatever is still on its way is noted before this answers

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
