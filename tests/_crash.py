"""A small run that is killed and resumed, and what of it must come out the same."""

import atexit
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from _sam_fixture import write_small_sam
from _zygote import shared_zygote

from stages.picture import mask_box
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip

STAGES = ("decode", "pose", "track", "aim", "motion", "view", "generate", "composite", "blend", "sink", "score")
POINTS = tuple(f"{stage}.{point}" for stage in STAGES for point in ("begin", "arrays", "state", "journal"))
OTHER_POINTS = ("journal.before", "journal.written", "journal.after", "drop.journal")
FINISH_POINTS = ("finish.joined", "finish.report", "finish.before")


@dataclass(frozen=True)
class Case:
    """A clip, the models, and the options of `skate run` for it."""

    video: Path
    options: tuple[str, ...]

    def run(self, out: Path, *more: str) -> list[str]:
        """The command line that begins the run in `out`, or continues it."""
        return ["run", str(self.video), "--out", str(out), *self.options, *more]


def make_case(
    folder: Path, frames: int = 21, size: tuple[int, int] = (96, 64), window: int = 5, overlap: int = 2
) -> Case:
    """Write a demo clip and a random SAM 2.1 of 64 px into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = DemoConfig(frames=frames, width=size[0], height=size[1], seed=3)
    video = folder / "clip.mp4"
    write_clip(config, video)
    sam = write_small_sam(folder)
    box = ",".join(f"{value:g}" for value in mask_box(Scene(config).frame(0).object_mask))
    options = ["--box", box, "--sam", str(sam.checkpoint), "--sam-config", str(sam.config_yaml), "--pose", "mini"]
    options += ["--detector", "mini", "--window", str(window), "--overlap", str(overlap), "--device", "cpu"]
    return Case(video, tuple(options))


@cache
def shared_case() -> tuple[Case, Path, dict[str, str]]:
    """`(case, finished run, its results)`: the run that nothing interrupted, for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="skate-crash-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    case = make_case(folder)
    ended = shared_zygote().run(case.run(folder / "reference"))
    assert ended.code in (0, 1), ended.output
    return case, folder / "reference", results(folder / "reference")


def copied(finished: Path, folder: Path) -> Path:
    """A copy of a run directory, to be damaged."""
    return Path(shutil.copytree(finished, folder / "run", ignore=shutil.ignore_patterns(".lock")))


def about_to_switch(folder: Path, *new: str) -> Path:
    """A copy of the shared case's run in `folder`, whose new run with these words has finished and has not taken its
    place."""
    case, finished, _ = shared_case()
    run = copied(finished, folder)
    ended = shared_zygote().run([*case.run(run), *new, "--overwrite"], fault="next.switch")
    assert ended.code == -9, ended.output
    return run


def results(out: Path, everything: bool = True, generated: bool = True) -> dict[str, str]:
    """Digests of all that must be the same: every array decoded, the segments, `output.mp4` and `iou.csv`.

    Args:
        everything: also the files of `run.zarr` byte for byte, states included.
        generated: False for a run of `skate extract`, which has arrays alone.
    """
    run = RunReader(out)
    found = {}
    for name in sorted(run.arrays.layout.arrays):
        count = run.arrays.frames(name)
        start = min(count, run.log.dropped.get(name, 0))
        values = run.arrays.read(name, start, count)
        found[name] = f"{start}..{count} {hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()}"
    files = []
    if generated:
        files = [out / "output.mp4", out / "report" / "iou.csv", *sorted((out / "segments").iterdir())]
    if everything:
        files += sorted(path for path in (out / "run.zarr").rglob("*") if path.is_file())
    for file in files:
        found[str(file.relative_to(out))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def differing(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Names of what is not the same."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
