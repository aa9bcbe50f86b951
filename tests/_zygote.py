"""One process that has imported everything, from which every run is forked: importing torch takes seconds, a fork none.

    with Zygote() as zygote:
        ended = zygote.run(["run", "clip.mp4", "--out", "run", ...], fault="track.state#2")

The process is a fresh one (`python _zygote.py`), not a fork of the test's own, whose threads a fork would not survive.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

PRELOADED = (
    "torch",
    "sam2.sam2_video_predictor",
    "onnxruntime",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "rtmlib",  # what follows up to stages.sam: what the first window of a run imports
    "scenedetect",
    "stages.closer",
    "stages.colour",
    "stages.composite",
    "stages.grain",
    "stages.motion",
    "stages.plate",
    "stages.plates.keys",
    "stages.poses.detector",
    "stages.poses.estimator",
    "stages.transfer",
    "stages.view",
    "stages.sam.model",
    "stages.pose",
    "stages.preview",
    "stages.track",
    "stages.score",
    "stages.sink",
    "stages.blend",
    "stream.run.lifecycle",
    "stream.options.settings",
    "stream.run.status",
    "stream.cli.run",
    "stream.cli.status",
    "stream.report.closing",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "filelock",
    "platformdirs",
    "stages.composite",
    "stages.motion",
    "stages.through",
    "stages.view",
    "storage.local",
)


@dataclass(frozen=True)
class Ended:
    """How a forked run ended.

    Attributes:
        code: exit code, or minus the signal that killed it (-9: killed).
        output: what it printed, stdout and stderr in order.
        seconds: wall clock. cpu_seconds: user and system. peak_rss_bytes: of the child, the shared pages included.
        timed_out: whether it was killed for taking longer than its limit.
    """

    code: int
    output: str
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    timed_out: bool


class Zygote:
    """The process that is forked from. Used as a context manager.

    Args:
        more: modules that it imports as well.
    """

    def __init__(self, more: Sequence[str] = ()) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MPLBACKEND": "Agg"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(
        self,
        arguments: Sequence[str],
        *,
        fault: str | None = None,
        kill_after: float | None = None,
        kill_signal: int = signal.SIGKILL,
        limit: float = 120.0,
        memory_bytes: int | None = None,
        hook: tuple[str, Mapping[str, Any]] | None = None,
        folder: str | None = None,
    ) -> Ended:
        """Fork a child that calls `skate` with these arguments, and wait for it.

        Args:
            arguments: of the command line.
            fault: a fault point (`SKATE_FAULT`) at which the child kills itself.
            kill_after, kill_signal: seconds after which the child is sent this signal.
            limit: seconds after which it is killed for good.
            memory_bytes: how much address space the child may take beyond what it has at the fork.
            hook: "module:function" and keyword arguments, called in the child before the command.
            folder: the working directory of the child.
        """
        job = {
            "arguments": list(arguments),
            "fault": fault,
            "kill_after": kill_after,
            "kill_signal": int(kill_signal),
            "limit": limit,
            "memory_bytes": memory_bytes,
            "hook": hook,
            "folder": folder,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote died"
        return Ended(**json.loads(answer))

    def close(self) -> None:
        """End the process; may be called twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(timeout=60)

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@cache
def shared_zygote() -> Zygote:
    """One for all tests of this process; it ends with it."""
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


def _serve() -> None:
    """Import everything, then fork a child for every line on stdin."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in (*PRELOADED, *sys.argv[1:]):
        importlib.import_module(name)
    gc.freeze()  # a collection in a child would touch, and so copy, the pages of every object
    for line in sys.stdin:
        answers.write(json.dumps(_child(json.loads(line))) + "\n")
        answers.flush()


def _child(job: Mapping[str, Any]) -> dict[str, Any]:
    log = os.memfd_create("output")
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(_work(job, log))
    status, usage, timed_out = _wait(pid, job, started)
    os.lseek(log, 0, os.SEEK_SET)
    with os.fdopen(log, "rb") as file:
        output = file.read().decode(errors="replace")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "output": output,
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "timed_out": timed_out,
    }


def _wait(pid: int, job: Mapping[str, Any], started: float) -> tuple[int, Any, bool]:
    pending = job["kill_after"]
    timed_out = False
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage, timed_out
        elapsed = time.monotonic() - started
        if pending is not None and elapsed >= pending:
            os.kill(pid, job["kill_signal"])
            pending = None
        if elapsed >= job["limit"] and not timed_out:
            os.kill(pid, signal.SIGKILL)
            timed_out = True
        time.sleep(0.002)


def _work(job: Mapping[str, Any], log: int) -> int:
    """In the child: what is printed goes to the log; returns the exit code."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - as long as the child lives
    if job["folder"] is not None:
        os.chdir(job["folder"])
    if job["fault"] is not None:
        os.environ["SKATE_FAULT"] = job["fault"]
    if job["memory_bytes"] is not None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + job["memory_bytes"], resource.RLIM_INFINITY))
    if job["hook"] is not None:
        module, _, function = job["hook"][0].partition(":")
        getattr(importlib.import_module(module), function)(**job["hook"][1])
    from stream.cli import main

    code: object = 1
    try:
        main(job["arguments"])
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - what the interpreter would do with it
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    _serve()
