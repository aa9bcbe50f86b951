"""What a run will take before it starts: frames, windows, memory, disk and time, held against what is there."""

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from stages.cuts import shot_starts
from stages.generator import GeneratorStage
from stages.generators import GENERATORS
from stages.sam.checkpoint import read_config
from stages.sam.footprint import object_state_bytes
from storage.address import BucketPath
from storage.rundir import STATE_KEEP_EVERY, CommitLog, Manifest, read_log
from stream.engine.chain import Chain
from stream.options.assembly import Models
from stream.options.config import RunConfig
from stream.options.recorded import claimed_frames
from stream.options.working import source_size
from stream.plan.calibration import Calibration, expected_seconds, read_calibration
from stream.plan.hints import (
    distilled_hints,
    given_count_hints,
    mini_hint,
    no_person_hint,
    past_end_hints,
    workflow_hints,
)
from stream.plan.plan import Need, Plan
from stream.plan.rate import rate_line
from stream.plan.server import kept_by_server, server_need
from stream.plan.smaller import Projection, what_fits
from stream.progress.memory import rss_bytes

OTHER_LIBRARIES_BYTES = 150_000_000  # Python, Zarr, PyAV, OpenCV, matplotlib: 128 MB measured, beside what stages count
# The allocator keeps some of what stages give back: without this 2.34 GB were projected for 1280x720 and windows of 81,
# 2.47 were measured; for 3840x2160 and windows of 9 it was 3.71 and 3.02.
SPARE = 1.1
OUTPUT_BYTES_PER_PIXEL = 0.06  # H.264 at crf 16: 0.030 and 0.035 measured on two 720p clips
MASK_BYTES_PER_PIXEL = 0.01  # of a blob's mask after zstd
SMALL_ARRAYS_BYTES = 133 * 3 * 4 + 1000  # a frame's keypoints, times and flags, and its share of the journal
FILE_BYTES = 4096  # a file system's block: what a file takes beyond its bytes
OBJECTS = 24  # files a window: kept arrays, states, a segment, and those on their way


def announce_plan(
    config: RunConfig,
    models: Models,
    manifest: Manifest,
    chain: Chain,
    out: Path,
    log: CommitLog,
    note: Callable[[str], None],
) -> None:
    """Tell what the run will take, before anything is written; nothing where it is finished already.

    Args:
        log: what holds of the run in `out`, or will hold once `--overwrite` has made the rest void.

    Raises:
        EnvironmentFault: when it does not fit.
    """
    if log.finished is not None:
        return
    if config.shares_gpu:  # what its models hold, from earlier work or before an interruption, is ours in our turn
        for node in chain:
            if node.stage.lane == "server":
                node.stage.leave_gpu()
    plan = make_plan(config, models, manifest, chain, out, read_calibration(), log)
    note(plan.text())
    counted = plan.frames if plan.counted else None
    hints = [
        mini_hint(config),
        no_person_hint(config),
        *past_end_hints(config, counted),
        *given_count_hints(config, counted),
        *distilled_hints(config),
        *workflow_hints(config),
    ]
    for hint in hints:
        if hint is not None:
            note(hint)
    plan.check()


def make_plan(
    config: RunConfig,
    models: Models,
    manifest: Manifest,
    chain: Chain,
    out: Path,
    calibration: Calibration | None = None,
    log: CommitLog | None = None,
) -> Plan:
    """Project the run; nothing is loaded, opened or written.

    Args:
        config, models, manifest: of the run. chain: closed. out: the run directory, there or not.
        calibration: what earlier runs took; None: no time is told. log: what holds in `out`; None: its journal.
    """
    video = manifest["video"]
    width, height = int(video["width"]), int(video["height"])
    frames = claimed_frames(config, video, Path(config.video).stat().st_size)
    held, available = _held(config, frames), available_ram_bytes()
    generated, encoded = _generated_size(chain, width, height), source_size(video)
    server = server_need(config, generated)
    working, kept = disk_bytes(config, models, width, height, frames, _behind(chain, config), generated, encoded)
    ram = config.ram or available  # --ram bounds this program alone
    need = ram_need(chain, height, width, held, config.windows_ahead)
    spare = ram if server is None else min(ram, available - server.total)
    fps, vram = float(config.fps or video["claimed_fps"]), vram_limit(config)
    return Plan(
        frames=frames,
        counted=bool(video.get("claimed_frames")),
        windows=None if frames is None else config.count_windows(frames),
        shots=_shots(config, frames),
        size=(width, height),
        generated_size=generated,
        fps=fps,
        window=config.window,
        overlap=config.overlap,
        rate=_rate(config, fps, frames),
        footage=_footage(video),
        models={kind: model.name for kind, model in models.files.items()},
        device=config.device,
        generator=config.generator if config.generates else None,
        ram=need,
        vram=vram_need(chain, height, width, held),
        disk_working=working,
        disk_kept=kept,
        disk_present=_present_bytes(read_log(out) if log is None else log, chain, kept, frames),
        ram_limit=ram,
        vram_limit=vram,
        disk_free=free_disk_bytes(out),
        by_turns=config.shares_gpu,
        ahead=config.windows_ahead,
        server=server,
        on_server=kept_by_server(config, generated, frames),
        both_fit=server is None or need.total + server.total <= available,
        fits="" if need.total <= spare else what_fits(_projected(config), chain, config, models, manifest, held, spare),
        limits=_given_limits(config, ram, vram),
        seconds=expected_seconds(calibration, config, manifest, tuple(chain), frames),
        out=out,
        keep=config.keep,
    )


def _held(config: RunConfig, frames: int | None) -> int:
    """Frames of the longest window there is, 4n+1."""
    return config.window if frames is None else min(config.window, max(5, -(-(frames - 1) // 4) * 4 + 1))


def _shots(config: RunConfig, frames: int | None) -> str | None:
    """What the plan says about shots: a window ends where one does."""
    if config.on_cut != "split":
        return None
    if config.cuts is None:
        return "shots    cuts are found while decoding; windows are counted as if there were none"
    count = 1 + len(shot_starts(config.cuts, frames or 10**9))
    return f"shots    {count}, by --cuts"


def _behind(chain: Chain, config: RunConfig) -> int:
    """How many windows the first nodes are beyond the last ones, by what they read and by `--ahead`."""
    return max(map(chain.lag, chain.names)) + config.windows_ahead


def _present_bytes(log: CommitLog, chain: Chain, kept: int | None, frames: int | None) -> int:
    """What of the bytes that stay is there already."""
    done = sum(record["span"][1] - record["span"][0] for record in log.of(chain.names[-1]))
    return kept * min(done, frames) // frames if kept and frames else 0


def _projected(config: RunConfig) -> Projection:
    """Peak RAM of a run by its chain, the size of its frames, and the frames of a window."""
    return lambda chain, size, frames: ram_need(chain, size[1], size[0], frames, config.windows_ahead).total


def _given_limits(config: RunConfig, ram: int, vram: int | None) -> frozenset[str]:
    """The options that a limit comes from."""
    limits = {"ram": ram, "vram": vram}
    return frozenset(f"--{name}" for name, limit in limits.items() if getattr(config, name) == limit is not None)


def ram_need(chain: Chain, height: int, width: int, window_frames: int, ahead: int = 0) -> Need:
    """Peak RAM: what every stage keeps loaded, the window decoded ahead, and the stage whose window is the largest.

    With windows `ahead` the largest of each lane, for they work side by side; and of each window ahead its frames,
    masks and small arrays, beside what is committed of one window while the next one is made; and what generators are
    to be shown of the windows that come next.
    """
    loaded = {node.name: node.stage.peak_bytes(height, width, 0)[0] for node in chain}
    whole = {node.name: node.stage.peak_bytes(height, width, window_frames)[0] for node in chain}
    moving = {name: whole[name] - loaded[name] for name in whole}
    kept = _shared(chain, loaded)
    decoded = moving.pop(chain.source.name, 0)
    lanes: dict[str, int] = {}
    for name, size in moving.items():
        lane = chain[name].stage.lane if ahead else ""
        lanes[lane] = max(lanes.get(lane, 0), size)
    waiting = (ahead + 1 if ahead else 0) * window_frames * (height * width * 5 + SMALL_ARRAYS_BYTES)
    if ahead:
        stages = [node.stage for node in chain.generators if isinstance(node.stage, GeneratorStage)]
        waiting += sum(stage.conditioned_bytes(height, width, window_frames) for stage in stages)
    total = OTHER_LIBRARIES_BYTES + sum(kept.values()) + decoded + sum(lanes.values()) + waiting
    return Need(int(SPARE * total), max(whole, key=lambda name: whole[name]))


def vram_need(chain: Chain, height: int, width: int, window_frames: int) -> Need:
    """Peak VRAM of this process: all models stay loaded."""
    whole = {node.name: node.stage.peak_bytes(height, width, window_frames)[1] for node in chain}
    return Need(sum(_shared(chain, whole).values()), max(whole, key=lambda name: whole[name]))


def _shared(chain: Chain, needs: Mapping[str, int]) -> dict[str, int]:
    """The needs with a model that several stages share counted once."""
    found: dict[str, int] = {}
    for node in chain:
        key = node.stage.weights or node.name
        found[key] = max(found.get(key, 0), needs[node.name])
    return found


def disk_bytes(
    config: RunConfig,
    models: Models,
    width: int,
    height: int,
    frames: int | None,
    behind: int = 0,
    generated: tuple[int, int] | None = None,
    encoded: tuple[int, int] | None = None,
) -> tuple[int, int | None]:
    """`(working, kept)`: what is dropped by the end, and what stays, bytes. Frames are taken as incompressible.

    While working the store holds at most three windows of source frames (one decoded ahead, one not yet dropped as a
    whole), one as the generator made it, one raw and one blended; and for each window that nodes
    work `behind` others (by what they read, and by `--ahead`), one of each more. `encoded` is (width, height) of the
    output where that is not the frames'.
    """
    picture = width * height * 3
    generating = config.generates
    pictures = (5 if generating else 3) + (2 if generating else 1) * behind
    working = min(config.window, frames or config.window) * (
        picture * pictures + (0 if generated is None else 3 * math.prod(generated))
    )
    if frames is None:
        return working, None
    each = len(config.subjects) * MASK_BYTES_PER_PIXEL * width * height
    each += max(1, len(config.persons)) * SMALL_ARRAYS_BYTES + OBJECTS * FILE_BYTES / config.plan.stride
    if generating:
        each += (3 if config.comparison else 2) * OUTPUT_BYTES_PER_PIXEL * math.prod(encoded or (width, height))
    each += {"none": 0, "frames": 1, "all": 2 if generating else 1}[config.keep] * picture
    memories = _memory_bytes(config, models) * (2 + config.plan.count(frames) / STATE_KEEP_EVERY)
    held = 3 * config.overlap * picture if generating else 0  # the overlaps that later windows may read
    return working, int(frames * each + memories + held)


def _memory_bytes(config: RunConfig, models: Models) -> int:
    """What one window's carried SAM 2.1 memories take: of every subject, in the source and in the result."""
    yaml = models["sam"].config_path
    assert yaml is not None  # resolve() refuses a SAM without one
    subjects = config.subjects
    memory = object_state_bytes(read_config(yaml), 1 + max(len(subject.corrections) for subject in subjects))
    return (2 if config.generates else 1) * len(subjects) * memory


def _generated_size(chain: Chain, width: int, height: int) -> tuple[int, int] | None:
    """(width, height) of what the generator makes; None where nothing is generated."""
    sizes = [node.stage.size_for(width, height) for node in chain.generators if isinstance(node.stage, GeneratorStage)]
    return sizes[0] if sizes else None


def _rate(config: RunConfig, fps: float, frames: int | None) -> str | None:
    trained = GENERATORS[config.generator].geometry.fps
    if GENERATORS[config.generator].on_servers:
        from stages.recipes.registry import plain

        trained = plain(config.workflow).family.geometry.fps
    return rate_line(trained, fps, frames, config.plan) if trained is not None and config.generates else None


def _footage(video: Mapping[str, Any]) -> tuple[str, ...]:
    """What becomes of HDR, of interlaced pictures, and of those that are reduced."""
    found = []
    if video.get("source"):
        found.append(
            f"{'x'.join(map(str, source_size(video)))}, reduced by --work-height; the output has its own size again"
        )
    if video.get("tone_map"):
        found.append(f"HDR ({video['tone_map']}) is mapped to BT.709; --hdr refuse refuses it")
    if video.get("deinterlaced"):
        found.append("interlaced, deinterlaced by bwdif: as many frames, at the same times")
    return tuple(found)


def available_ram_bytes() -> int:
    """RAM that this process may come to hold: what it has, and what is free to it (in a container, the container's)."""
    own = rss_bytes()
    free = int(psutil.virtual_memory().available)
    most, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if most.is_file() and used.is_file() and most.read_text().strip() != "max":
        free = min(free, max(0, int(most.read_text()) - int(used.read_text())))
    return own + free


def vram_limit(config: RunConfig) -> int | None:
    """VRAM that this process may take: what is free, at most `--vram`; None where it takes none."""
    if config.device != "cuda":
        return None
    free = free_vram_bytes()
    return min(free, config.vram or free)


def free_vram_bytes() -> int:
    """VRAM that is free on the GPU now, with what torch holds of it."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free) + int(torch.cuda.memory_reserved())


def free_disk_bytes(out: Path) -> int | None:
    """Free bytes where the run directory is, or will be; None in a bucket, which says nothing of it."""
    if isinstance(out, BucketPath):
        return None
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free
