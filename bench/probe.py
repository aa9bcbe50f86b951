"""What a run takes, sampled while it goes on: memory of this process and of the GPU, bytes moved, seconds."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import psutil
import requests

from bench.clocks import Clock, difference
from bench.lanes import Box
from stream.progress.events import Event, Listener, RunBegins, WindowDone
from stream.progress.memory import rss_bytes

SAMPLE_SECONDS = 0.02
SERVER_SECONDS = 1.0  # between looks at a ComfyUI server's /system_stats
SERVER_PATIENCE = 2.0
WAITING = "waiting for decode"


@dataclass(frozen=True)
class Peaks:
    """Highest values since the last reading, bytes; None where nothing can be measured.

    Attributes:
        rss: resident memory of this process.
        vram_torch: memory that torch's allocator gave out. vram_process: of the whole process, ONNX Runtime included,
            as NVML knows it. gpu_used: of all processes on the GPU.
        vram_comfyui: held by the ComfyUI servers' torch, as their `/system_stats` says.
    """

    rss: int
    vram_torch: int | None = None
    vram_process: int | None = None
    gpu_used: int | None = None
    vram_comfyui: int | None = None


@dataclass(frozen=True)
class Row:
    """One stage on one window.

    Attributes:
        stage, window, frames: which; frames it wrote.
        seconds: in the stage itself. wall_seconds: since the step before ended: reading inputs, stage and commit; less
            than `seconds` where steps run side by side.
        compute_seconds: of `seconds`, in the models. waited_seconds: for decoded frames.
        peaks: of memory. read_bytes, written_bytes: moved by this process through the system meanwhile, page cache
            included; decoding ahead falls into whichever stage runs.
        working_disk_bytes: in the run directory and later dropped; measured once a window, at its last stage.
    """

    stage: str
    window: int
    frames: int
    seconds: float
    wall_seconds: float
    compute_seconds: float
    waited_seconds: float
    peaks: Peaks
    read_bytes: int | None
    written_bytes: int | None
    working_disk_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For bench.json: one flat object."""
        values = asdict(self)
        memory = values.pop("peaks")
        rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}
        return rounded | {f"peak_{name}_bytes": value for name, value in memory.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Row":
        """Of what `to_json` gave."""
        memory = {item.name: values[f"peak_{item.name}_bytes"] for item in fields(Peaks)}
        own = {item.name: values[item.name] for item in fields(cls) if item.name != "peaks"}
        return cls(**own, peaks=Peaks(**memory))


def visible_gpu(visible: str | None) -> int | str | None:
    """The GPU that torch calls `cuda:0`: its index or its UUID; None where CUDA sees none.

    CUDA's indices are NVML's where all GPUs are alike or `CUDA_DEVICE_ORDER=PCI_BUS_ID`.

    Args:
        visible: the value of `CUDA_VISIBLE_DEVICES`; None: it is not set.
    """
    if visible is None:
        return 0
    first = visible.split(",")[0].strip()
    if first.removeprefix("-").isdecimal():
        return int(first) if int(first) >= 0 else None
    return first or None


def _handle(nvml: Any, gpu: int | str | None) -> Any:
    if isinstance(gpu, int):
        return nvml.nvmlDeviceGetHandleByIndex(gpu)
    return None if gpu is None else nvml.nvmlDeviceGetHandleByUUID(gpu)


class GpuMeter:
    """VRAM by torch's allocator and by NVML; None everywhere where there is no NVIDIA GPU."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        with contextlib.suppress(ImportError):
            import pynvml

            try:
                pynvml.nvmlInit()
                self._handle = _handle(pynvml, visible_gpu(os.environ.get("CUDA_VISIBLE_DEVICES")))
                self._nvml = None if self._handle is None else pynvml
            except pynvml.NVMLError:
                self._nvml = None  # no driver: nothing to measure

    @property
    def name(self) -> str | None:
        """Of the GPU."""
        return None if self._nvml is None else str(self._nvml.nvmlDeviceGetName(self._handle))

    @property
    def total(self) -> int | None:
        """Its memory, bytes."""
        return None if self._nvml is None else int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total)

    def used(self) -> tuple[int | None, int | None]:
        """Bytes taken now: by this process (None where the driver does not tell, as in WSL2), by all."""
        if self._nvml is None:
            return None, None
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:  # in WSL2: "unknown error"
            processes = []
        own = [entry.usedGpuMemory for entry in processes if entry.pid == os.getpid()]
        return (own[0] if own else None), int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def torch_peak(self) -> int | None:
        """Highest memory given out by torch since the last call, bytes."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_available():
            return None
        peak = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return peak


def server_bytes(stats: Mapping[str, Any]) -> int:
    """What ComfyUI's own torch has reserved on all its devices: `torch_vram_total` of its `/system_stats`."""
    return sum(int(item["torch_vram_total"]) for item in stats.get("devices", []))


class Sampler:
    """Looks at memory every 20 ms in a thread of its own, and keeps the highest of each."""

    def __init__(self, servers: Sequence[str] = ()) -> None:
        """
        Args:
            servers: base addresses (http) of the ComfyUI servers in use.
        """
        self.gpu = GpuMeter()
        self._servers = servers
        self._lock = threading.Lock()
        self._peaks: dict[str, int] = {}
        self._stop = threading.Event()
        looks = [(SAMPLE_SECONDS, self._look)] + ([(SERVER_SECONDS, self._ask)] if servers else [])
        self._threads = [
            threading.Thread(target=self._repeat, args=look, name="bench-sampler", daemon=True) for look in looks
        ]

    @contextlib.contextmanager
    def running(self) -> Iterator["Sampler"]:
        """Sample until the end of the `with`."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def take(self) -> Peaks:
        """The highest values since the last call, now included."""
        self._look()
        with self._lock:
            peaks, self._peaks = self._peaks, {}
        return Peaks(
            rss=peaks["rss"],
            vram_torch=self.gpu.torch_peak(),
            vram_process=peaks.get("vram_process"),
            gpu_used=peaks.get("gpu_used"),
            vram_comfyui=peaks.get("vram_comfyui"),
        )

    def _repeat(self, pause: float, look: Callable[[], None]) -> None:
        while not self._stop.wait(pause):
            look()

    def _look(self) -> None:
        own, everybody = self.gpu.used()
        self._note(rss=rss_bytes(), vram_process=own, gpu_used=everybody)

    def _ask(self) -> None:
        total = 0
        for server in self._servers:
            try:
                answer = requests.get(f"{server}/system_stats", timeout=SERVER_PATIENCE, allow_redirects=False)
                total += server_bytes(answer.json())
            except (requests.RequestException, ValueError, KeyError):
                return  # the server is busy or gone: the generator notices that, not the bench
        self._note(vram_comfyui=total)

    def _note(self, **values: int | None) -> None:
        with self._lock:
            for name, value in values.items():
                if value is not None:
                    self._peaks[name] = max(value, self._peaks.get(name, 0))


def moved_bytes() -> tuple[int, int] | None:
    """Bytes this process has read and written so far through the system; None where the system does not count them."""
    process = psutil.Process()
    if not hasattr(process, "io_counters"):  # macOS
        return None
    counters = process.io_counters()
    return (
        int(getattr(counters, "read_chars", counters.read_bytes)),
        int(getattr(counters, "write_chars", counters.write_bytes)),
    )


@dataclass
class Reading:
    """Where the counters stood when the step before ended."""

    seconds: float
    sections: dict[str, float] = field(default_factory=dict)
    moved: tuple[int, int] | None = None


class Probe:
    """A listener that measures every committed step, and passes everything on to the one that people see.

    Args:
        inner: told everything.
        sampler: running.
        clock: watching, made by the thread that runs the pipeline.
        boxes: what the tasks took, by `lanes.watching` of this clock.
        last_stage: of the chain; behind it `working_disk` is asked.
        working_disk: gives the bytes in the run directory that are dropped again.
    """

    def __init__(
        self,
        inner: Listener,
        sampler: Sampler,
        clock: Clock,
        boxes: Sequence[Box],
        last_stage: str,
        working_disk: Callable[[], int],
    ) -> None:
        self.rows: list[Row] = []
        self._inner = inner
        self._sampler = sampler
        self._clock = clock
        self._boxes = boxes
        self._last_stage = last_stage
        self._working_disk = working_disk
        self._before = self._read()

    def __call__(self, event: Event) -> None:
        """Count the first step from the run's beginning on, measure each that ends."""
        if isinstance(event, WindowDone):
            self._measure(event)
        self._inner(event)
        if isinstance(event, RunBegins):
            self._sampler.take()
        if isinstance(event, RunBegins | WindowDone):
            self._before = self._read()

    def _measure(self, event: WindowDone) -> None:
        now, before = self._read(), self._before
        spent = difference(now.sections, before.sections)
        moved = [None, None] if now.moved is None or before.moved is None else _minus(now.moved, before.moved)
        self.rows.append(
            Row(
                stage=event.stage,
                window=event.index,
                frames=event.span.frames,
                seconds=event.seconds,
                wall_seconds=now.seconds - before.seconds,
                compute_seconds=self._computed(event),
                waited_seconds=spent.get(WAITING, 0.0),
                peaks=self._sampler.take(),
                read_bytes=moved[0],
                written_bytes=moved[1],
                working_disk_bytes=self._working_disk() if event.stage == self._last_stage else None,
            )
        )

    def _computed(self, event: WindowDone) -> float:
        """Of the task's last try; 0 where it worked before the bench began."""
        tries = (box.compute for box in reversed(self._boxes) if (box.stage, box.window) == (event.stage, event.index))
        return next(tries, 0.0)

    def _read(self) -> Reading:
        return Reading(time.perf_counter(), self._clock.seconds(), moved_bytes())


def _minus(later: tuple[int, int], earlier: tuple[int, int]) -> list[int | None]:
    return [later[0] - earlier[0], later[1] - earlier[1]]
