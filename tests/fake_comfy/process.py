"""The server as a process that can be killed: what it had queued, computed, cached and stored is lost with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


class ServerProcess:
    """One server process at a time; after `kill` another one can be started in its place.

    Args:
        step_seconds: what a sampler step takes.
    """

    def __init__(self, step_seconds: float = 0.0) -> None:
        self._step_seconds = step_seconds
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.kills = 0

    def start(self, elsewhere: bool = False) -> str:
        """Start one, on the port of the one before or, the first time and `elsewhere`, on a free one; its address."""
        assert self._process is None, "one is running"
        port = "0" if elsewhere or not self.address else self.address.rpartition(":")[2]
        command = [sys.executable, "-m", "fake_comfy", "--port", port, "--step-seconds", str(self._step_seconds)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the fake server did not start"
        return self.address

    @property
    def runs(self) -> bool:
        """Whether one is running."""
        return self._process is not None

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None, "none is running"
        self._process.send_signal(signal.SIGKILL)
        self._reap()
        self.kills += 1

    def _reap(self) -> None:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.wait(30)
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._reap()
