"""The benchmark: every clip tracked once, every result of it judged, the numbers put together.

OUT/clips/NAME/       a run of each clip, with the generator's own result
OUT/values/NAME/METHOD.npz    what was found in a result; what is there already is not judged again
OUT/fidelity.json, OUT/*.png
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.fidelity import calibrate
from bench.fidelity.clips import BOARD, SKATER, VERSION, Clip, Known, known
from bench.fidelity.elsewhere import Elsewhere
from bench.fidelity.faults import Planted
from bench.fidelity.judge import Judge, Judged
from stages.base import Array
from stages.baselines import blurred
from stages.sam.model import SamModel
from storage.durable import write_atomic
from storage.errors import RunDirectoryError
from stream.demo.faults import Result, true_iou
from stream.demo.job import VISIBLE_PIXELS, demo_config
from stream.run.lifecycle import start

IDENTITY, BLUR = "identity", "blur"
QUICK_FAULTS = ("shift", "rotation", "late", "early-skater", "vanish", "double", "blur-board")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Set:
    """What is measured.

    Attributes:
        clips, faults: of the benchmark. elsewhere: results made elsewhere, by name of the method.
        name: of the method that the clips' runs are; the generator's.
    """

    name: str
    clips: Sequence[Clip]
    faults: Sequence[Planted]
    elsewhere: Mapping[str, Elsewhere]


@dataclass(frozen=True)
class Taken:
    """All that was judged of one clip: by method; the truth of its contacts, `[T, 2]` bool."""

    clip: Clip
    judged: Mapping[str, Judged]
    on_board: Array


def measure(wanted: Set, out: Path, options: dict[str, Any], tell: Tell) -> list[Taken]:
    """Track and judge what is not there yet; a line to `tell` for each result."""
    _claim(out, options)
    with Sharing() as sharing:
        return [_clip(wanted, clip, out, options, sharing, tell) for clip in wanted.clips]


def _claim(out: Path, options: Mapping[str, Any]) -> None:
    """A folder is of one version and one set of options: what is kept in it was found by these.

    Raises:
        RunDirectoryError: when it was begun with others.
    """
    path = out / "settings.json"
    given = {name: value for name, value in sorted(options.items()) if value}
    asked = json.loads(json.dumps({"version": VERSION, "options": given}, default=str))
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(asked, indent=1) + "\n").encode())
    elif (held := json.loads(path.read_text(encoding="utf-8"))) != asked:
        names = {**held.get("options", {}), **asked["options"]}
        other = [name for name in names if held.get("options", {}).get(name) != asked["options"].get(name)]
        what = f"other options ({', '.join(other)})" if other else "another version of the benchmark"
        raise RunDirectoryError(f"{out}: was begun with {what}: choose another --out")


class Sharing:
    """One SAM 2.1 for all clips, made when it is first needed."""

    def __init__(self) -> None:
        self.model: SamModel | None = None

    def judge(self, run: Path) -> Judge:
        """The judge of a run's clip."""
        judge = Judge(run, self.model)
        self.model = judge.model
        return judge

    def __enter__(self) -> "Sharing":
        return self

    def __exit__(self, *about: object) -> None:
        if self.model is not None:
            self.model.close()


def methods_of(wanted: Set, clip: Clip) -> list[str]:
    """What is judged of a clip."""
    planted = [fault.name for fault in wanted.faults] if clip.use != "noise" else []
    others = [wanted.name, BLUR, *wanted.elsewhere] if clip.use == "check" else []
    return [IDENTITY, *others, *planted]


def _clip(wanted: Set, clip: Clip, out: Path, options: dict[str, Any], sharing: Sharing, tell: Tell) -> Taken:
    run, values = out / "clips" / clip.name, out / "values" / clip.name
    truth = known(clip.scene)
    judge: Judge | None = None
    found = {}
    for method in methods_of(wanted, clip):
        path = values / f"{method}.npz"
        if not _is_there(path, wanted.elsewhere.get(method), clip):
            if judge is None:
                tell(f"{clip.name}: tracked")
                start(demo_config(clip.scene, run, dict(options)), run)
                judge = sharing.judge(run)
            tell(f"{clip.name}: {method}")
            _judged(wanted, clip, method, judge, truth).save(path)
        found[method] = Judged.load(path)
    return Taken(clip, found, truth.on_board)


def _is_there(path: Path, elsewhere: Elsewhere | None, clip: Clip) -> bool:
    """Whether a result is judged already; a video that is newer than what was found in it is judged again."""
    if not path.is_file():
        return False
    return elsewhere is None or path.stat().st_mtime >= elsewhere.videos[clip.name].stat().st_mtime


def _judged(wanted: Set, clip: Clip, method: str, judge: Judge, truth: Known) -> Judged:
    """One result of one clip."""
    frames = len(judge.frames)
    if method == wanted.name:
        return replace(judge.of_run(), size=np.zeros(frames), true_iou=np.ones(frames))
    fault = _fault(wanted, method)
    if fault is None:
        made = frames_of(wanted, clip, method, judge, truth)
        return replace(judge.of(made), size=np.zeros(frames), true_iou=np.ones(frames))
    faulty, size, before = planted(fault, clip, judge.frames, truth)
    return replace(judge.of(faulty.frames), size=size, true_iou=true_iou(before, faulty, BOARD))


def frames_of(wanted: Set, clip: Clip, method: str, judge: Judge, truth: Known) -> Array:
    """A method's result of a clip, `[T, H, W, 3]` uint8 RGB."""
    if method == wanted.name:
        return judge.made()
    if method in wanted.elsewhere:
        return wanted.elsewhere[method].frames(clip)
    if method == BLUR:
        masks = judge.masks()
        return blurred(judge.frames, masks["object"] | masks["person"])
    fault = _fault(wanted, method)
    return judge.frames if fault is None else planted(fault, clip, judge.frames, truth)[0].frames


def _fault(wanted: Set, method: str) -> Planted | None:
    return next((fault for fault in wanted.faults if fault.name == method), None)


def planted(fault: Planted, clip: Clip, frames: Array, truth: Known) -> tuple[Result, Array, Result]:
    """The faulty result, the size of its fault by frame, and the result as it was."""
    before = Result(frames, truth.masks, truth.plates, truth.joints)
    faulty, size = fault.graded(before) if clip.use == "curve" else fault.full(before)
    seen = truth.masks[fault.subject].sum((1, 2)) >= VISIBLE_PIXELS
    if fault.kind == "late":  # what stands still is never late
        seen &= true_iou(before, faulty, fault.subject) < calibrate.CHANGED
    if fault.subject == SKATER or fault.kind == "swap":
        seen &= truth.masks[BOARD].sum((1, 2)) >= VISIBLE_PIXELS
    return faulty, np.where(seen | (size == 0), size, np.nan), before
