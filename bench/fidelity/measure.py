"""The benchmark: every clip tracked once, every result of it judged, the numbers put together.

OUT/clips/NAME/       a run of each clip, with the generator's own result
OUT/values/NAME/METHOD.npz    what was found in a result; what is there already is not judged again
OUT/fidelity.json, OUT/*.png
"""

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
from stages.fidelity.registry import metrics
from stages.sam.model import SamModel
from stream.demo.faults import Result, true_iou
from stream.demo.job import VISIBLE_PIXELS, demo_config
from stream.run.lifecycle import start

IDENTITY, BLUR = "identity", "blur"
QUICK_FAULTS = ("shift", "rotation", "late", "early-skater", "vanish", "double", "blur")

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
    with Sharing() as sharing:
        return [_clip(wanted, clip, out, options, sharing, tell) for clip in wanted.clips]


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
        if not path.is_file():
            if judge is None:
                tell(f"{clip.name}: tracked")
                start(demo_config(clip.scene, run, dict(options)), run)
                judge = sharing.judge(run)
            tell(f"{clip.name}: {method}")
            _judged(wanted, clip, method, judge, truth).save(path)
        found[method] = Judged.load(path)
    return Taken(clip, found, truth.on_board)


def _judged(wanted: Set, clip: Clip, method: str, judge: Judge, truth: Known) -> Judged:
    """One result of one clip."""
    whole = np.ones(len(judge.frames))
    plain = {"size": np.zeros(len(judge.frames)), "true_iou": whole}
    if method == wanted.name:
        return replace(judge.of_run(), **plain)
    if method in wanted.elsewhere:
        return replace(judge.of(wanted.elsewhere[method].frames(clip)), **plain)
    if method == IDENTITY:
        return replace(judge.of(judge.frames), **plain)
    if method == BLUR:
        masks = judge.masks()
        return replace(judge.of(blurred(judge.frames, masks["object"] | masks["person"])), **plain)
    fault = next(fault for fault in wanted.faults if fault.name == method)
    faulty, size, before = planted(fault, clip, judge.frames, truth)
    return replace(judge.of(faulty.frames), size=size, true_iou=true_iou(before, faulty, BOARD))


def planted(fault: Planted, clip: Clip, frames: Array, truth: Known) -> tuple[Result, Array, Result]:
    """The faulty result, the size of its fault by frame, and the result as it was."""
    before = Result(frames, truth.masks, truth.plates, truth.joints)
    faulty, size = fault.graded(before) if clip.use == "curve" else fault.full(before)
    seen = truth.masks[fault.subject].sum((1, 2)) >= VISIBLE_PIXELS
    if fault.subject == SKATER or fault.kind == "swap":
        seen &= truth.masks[BOARD].sum((1, 2)) >= VISIBLE_PIXELS
    return faulty, np.where(seen | (size == 0), size, np.nan), before


def put_together(wanted: Set, taken: Sequence[Taken]) -> dict[str, Any]:
    """The numbers of `fidelity.json`."""
    threshold = metrics()["iou"].bound
    noise = [each.judged[IDENTITY] for each in taken if each.clip.use == "noise"]
    bounds = {name: calibrate.bound_of(metric, noise) if noise else metric.bound for name, metric in metrics().items()}
    checks = [each for each in taken if each.clip.use == "check"]
    methods, fired = {}, {}
    for method in methods_of(wanted, checks[0].clip):
        methods[method], fired[method] = calibrate.summed([each.judged[method] for each in checks], bounds)
    pairs = {
        use: {
            fault.name: [(each.judged[fault.name], each.judged[IDENTITY]) for each in taken if each.clip.use == use]
            for fault in wanted.faults
        }
        for use in ("curve", "check")
    }
    found: dict[str, Any] = {
        "version": VERSION,
        "clips": [each.clip.to_json() for each in taken],
        "bounds": {
            name: {"value": _number(bounds[name]), "high": m.high, "unit": m.unit} for name, m in metrics().items()
        },
        "methods": methods,
        "fired": fired,
        "ceiling": {each.clip.name: _ceiling(each.judged[IDENTITY], threshold) for each in taken},
        "contact": {each.clip.name: calibrate.contact_against(each.on_board, each.judged[IDENTITY]) for each in taken},
        "checked": {f.name: calibrate.checked(f, pairs["check"][f.name], bounds) for f in wanted.faults},
        "blame": calibrate.blamed(
            [pair for use in pairs.values() for each in use.values() for pair in each], threshold
        ),
    }
    if noise:
        curves = {f.name: _curves(f, pairs["curve"][f.name], bounds) for f in wanted.faults}
        found["curves"] = curves
        found["faults"] = {f.name: _smallest(f, curves[f.name]) for f in wanted.faults}
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def _ceiling(judged: Judged, threshold: float) -> dict[str, Any]:
    values = judged.of("iou")
    values = values[~np.isnan(values)]
    return {
        "frames": len(values), "iou_mean": _number(float(values.mean())), "iou_min": _number(float(values.min())),
        "failing": int((values <= threshold).sum()),
    }  # fmt: skip


def _curves(fault: Planted, pairs: Sequence[calibrate.Pair], bounds: Mapping[str, float]) -> dict[str, Any]:
    shares = {name: calibrate.curve(metric, fault, pairs, bounds[name]) for name, metric in metrics().items()}
    return {"strengths": list(fault.strengths), "unit": fault.unit, "subject": fault.subject, "shares": shares}


def _smallest(fault: Planted, curves: Mapping[str, Any]) -> dict[str, Any]:
    """By metric that finds the fault at all, the smallest that it finds."""
    least = {name: calibrate.smallest(fault, shares) for name, shares in curves["shares"].items()}
    return {name: {"smallest": value, "unit": fault.unit} for name, value in least.items() if value is not None}
