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
        self.visit(file.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        width, height = self._size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        if self._dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=address)
        deadline, scheme = time.monotonic() + 30, address.split(":")[0] + ":"
        while self.ask("document.readyState") != "complete" or not self.ask("location.href").startswith(scheme):
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)
        self.call("Page.getLayoutMetrics")  # whatever is still on its way is noted before this answers

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 120.0) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"never came true: {expression}; {self.problems}"
            time.sleep(0.05)

    def mouse(self, *places: tuple[float, float], modifiers: int = 0) -> None:
        """Press the button at the first place, move to the others, and let go at the last."""
        more = {"button": "left", "clickCount": 1, "modifiers": modifiers}
        for kind, (x, y) in (
            ("mouseMoved", places[0]), ("mousePressed", places[0]), *(("mouseMoved", place) for place in places[1:]),
            ("mouseReleased", places[-1]),
        ):  # fmt: skip
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=int(kind != "mouseReleased"), **more)

    def click(self, selector: str) -> None:
        """Click the middle of an element, scrolled into view."""
        x, y = self.ask(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); found.scrollIntoView({{block: "
            "'nearest'}); const r = found.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.mouse((x, y))

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key by its name; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 and not modifiers else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, modifiers=modifiers)

    def write(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.call("Input.insertText", text=text)

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
