"""`skate demo`: render the clip, run the chain on it, and compare with what the renderer knows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import Array
from stages.picture import mask_box
from stages.region import REMOVE, region
from stages.video.segment import read_segment
from storage.errors import RunDirectoryError, UsageError
from storage.rundir import RunReader, is_run
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.demo.group import GroupAccuracy, follow_group
from stream.demo.measured import contact_f1, motion_error
from stream.demo.truth_files import write_truth
from stream.options.config import RunConfig
from stream.options.recorded import read_run
from stream.options.settings import config_from_options
from stream.plan.hints import is_demo_clip
from stream.progress.events import Listener
from stream.report.result import Result
from stream.run.lifecycle import start

VISIBLE_PIXELS = 400  # of 640x360: below this a board is a sliver, and IoU says little
RENDERER = 2  # one more wherever the same config gives other frames: clips of before are not taken for these
KEYPOINT_SCORE = 0.3  # the threshold of the annotators; below it a joint counts as not seen


@dataclass(frozen=True)
class Accuracy:
    """Accuracy against the renderer's own masks and joints.

    Attributes:
        object_iou_mean, object_iou_p5: over the `object_frames` frames with enough visible board.
        object_share: those frames as a share of all.
        object_false_frames: frames without any board in which one was reported; `object_absent_frames` is their base.
        person_iou_mean: over the frames with enough visible person.
        keypoint_error_px: mean distance of joints that are visible and reported.
        keypoint_recall: share of visible joints that are reported.
        score_iou_mean: the reverse-tracking IoU of the result, None when nothing was generated.
        group: of all subjects by name, where there are more than one skater and one board.
        plate_psnr_db: of the background put in the place of the subjects, over the region that changed; None where they
            were not removed.
        motion_error_px, contact_f1: as `stream.demo.measured` tells them; None where the run did not measure that.
    """

    object_iou_mean: float
    object_iou_p5: float
    object_frames: int
    object_share: float
    object_false_frames: int
    object_absent_frames: int
    person_iou_mean: float
    keypoint_error_px: float
    keypoint_recall: float
    score_iou_mean: float | None
    group: GroupAccuracy | None = None
    plate_psnr_db: float | None = None
    motion_error_px: float | None = None
    contact_f1: float | None = None

    def bounds(self) -> list[tuple[str, float, str, float]]:
        """`(what, value, ">=" or "<=", bound)` of everything that must hold."""
        false_share = self.object_false_frames / max(1, self.object_absent_frames)
        rows = [
            ("board IoU, mean", self.object_iou_mean, ">=", 0.85),
            ("board IoU, 5th percentile", self.object_iou_p5, ">=", 0.70),
            ("frames with enough board", self.object_share, ">=", 0.80),
            ("board reported where there is none", false_share, "<=", 0.02),
            ("person IoU, mean", self.person_iou_mean, ">=", 0.80),
            ("keypoint error, px, mean", self.keypoint_error_px, "<=", 2.0),
            ("keypoint recall", self.keypoint_recall, ">=", 0.95),
        ]
        if self.score_iou_mean is not None:
            rows.append(("reverse-tracking IoU, mean", self.score_iou_mean, ">=", 0.85))
        if self.plate_psnr_db is not None:
            rows.append(("removed region, PSNR, dB", self.plate_psnr_db, ">=", 28.0))
        return rows

    def holds(self) -> bool:
        """Whether every bound holds."""
        return all(_holds(value, sign, bound) for _, value, sign, bound in self.bounds())

    def to_json(self) -> dict[str, Any]:
        """The `truth` object of the JSON contract."""
        names = ["object_iou_mean", "object_iou_p5", "object_frames", "object_false_frames", "person_iou_mean"]
        found = {name: getattr(self, name) for name in [*names, "keypoint_error_px", "keypoint_recall"]}
        measured = {name: getattr(self, name) for name in ("plate_psnr_db", "motion_error_px", "contact_f1")}
        found |= {name: value for name, value in measured.items() if value is not None}
        return found | (self.group.to_json() if self.group is not None else {})


def _holds(value: float, sign: str, bound: float) -> bool:
    return value >= bound if sign == ">=" else value <= bound


def truth_text(accuracy: Accuracy) -> str:
    """The table that `skate demo` prints."""
    lines = ["against the renderer's ground truth:"]
    for what, value, sign, bound in accuracy.bounds():
        verdict = "ok" if _holds(value, sign, bound) else "FAILED"
        lines.append(f"  {what:<36} {value:8.3f}   {sign} {bound:<5g} {verdict}")
    told = {"camera motion, error, px, mean": accuracy.motion_error_px, "contact, F1": accuracy.contact_f1}
    lines += [f"  {what:<36} {value:8.3f}" for what, value in told.items() if value is not None]
    return "\n".join(lines + (accuracy.group.lines() if accuracy.group is not None else []))


def run_demo(
    clip: DemoConfig,
    out: Path,
    options: dict[str, Any],
    overwrite: bool = False,
    truth: Path | None = None,
    listener: Listener | None = None,
) -> tuple[Result, Accuracy]:
    """Render, run, compare; write the truth into the folder `truth`, where one is given.

    Raises:
        RunDirectoryError: when `out` holds a run that is no demo, and `overwrite` is not given.
        UsageError: when the folder `truth` holds something.
    """
    if not overwrite:
        _refuse_others(out)
    if truth:
        write_truth(Scene(clip), truth)
    scene, config = Scene(clip), demo_config(clip, out, options)
    result = start(config, out, overwrite=True, listener=listener)
    found = compare(scene, RunReader(out), result.iou_mean)
    if config.reskin == REMOVE:
        found = replace(found, plate_psnr_db=removed_psnr(scene, RunReader(out), config.dilate))
    if max(clip.skaters, clip.boards) > 1:
        group = follow_group(scene, Path(config.video), out, options, overwrite, listener)
        found = replace(found, group=group)
    return result, found


def _refuse_others(out: Path) -> None:
    """Refuse a run that is no demo's: one of a clip that was not rendered into its own `input` folder."""
    if not is_run(out):
        return
    video = read_run(out)[1].video
    if not (is_demo_clip(video) and (out / "input" / Path(video).name).is_file()):
        raise RunDirectoryError(
            f"{out} holds a run of {Path(video).name}, which is no demo's clip: choose another --out, "
            "or --overwrite to replace that run by the demo"
        )


def demo_config(clip: DemoConfig, out: Path, options: dict[str, Any]) -> RunConfig:
    """Render the clip into the run directory, where it is not there yet, and give the run's config.

    The object's prompt is the truth's box on frame 0; the pose stage finds the person.
    """
    video = out / "input" / clip_name(clip)
    if not video.exists():
        video.parent.mkdir(parents=True, exist_ok=True)
        write_clip(clip, video)
    first = Scene(clip).frame(0)
    if not first.object_mask.any():
        raise UsageError(
            f"--clip-size {clip.width}x{clip.height}: the board has no pixel on frame 0, give a larger size"
        )
    given = {**options, "box": mask_box(first.object_mask), "point": (), "object_mask": None, "prompt_frame": 0}
    return config_from_options(str(video), "run", given, out)


def clip_name(clip: DemoConfig) -> str:
    """The file of a clip: another for every config and for every version of the renderer."""
    group = "" if clip.skaters == clip.boards == 1 else f"-{clip.skaters}x{clip.boards}"
    camera = "" if clip.camera == "steady" else f"-{clip.camera}{clip.shots or ''}"
    return f"demo-{clip.width}x{clip.height}-{clip.frames}-seed{clip.seed}{camera}{group}-r{RENDERER}.mp4"


def compare(scene: Scene, run: RunReader, score_iou_mean: float | None) -> Accuracy:
    """Masks and keypoints of a finished run against the scene's own, frame by frame."""
    arrays = run.arrays
    objects, persons, errors, absent = [], [], [], []
    seen = visible = 0
    for t in range(len(scene)):
        truth = scene.frame(t)
        found_object = arrays.read("masks/object", t, t + 1)[0]
        pixels, enough = int(truth.object_mask.sum()), VISIBLE_PIXELS * scene.board_scale(t) ** 2
        if pixels >= enough:
            objects.append(_iou(found_object, truth.object_mask))
        elif pixels == 0:
            absent.append(bool(found_object.any()))
        if truth.person_mask.sum() >= enough:
            persons.append(_iou(arrays.read("masks/person", t, t + 1)[0], truth.person_mask))
        keypoints = arrays.read("keypoints/person", t, t + 1)[0]
        reported = truth.joints_visible & (keypoints[:, 2] > KEYPOINT_SCORE)
        errors.append(np.linalg.norm(keypoints[reported, :2] - truth.joints[reported], axis=1))
        seen, visible = seen + int(reported.sum()), visible + int(truth.joints_visible.sum())
    all_errors = np.concatenate(errors)
    return Accuracy(
        object_iou_mean=float(np.mean(objects)) if objects else 0.0,
        object_iou_p5=float(np.percentile(objects, 5)) if objects else 0.0,
        object_frames=len(objects),
        object_share=len(objects) / len(scene),
        object_false_frames=sum(absent),
        object_absent_frames=len(absent),
        person_iou_mean=float(np.mean(persons)) if persons else 0.0,
        keypoint_error_px=float(all_errors.mean()) if all_errors.size else float("inf"),
        keypoint_recall=seen / max(1, visible),
        score_iou_mean=score_iou_mean,
        motion_error_px=motion_error(scene, run),
        contact_f1=contact_f1(scene, run),
    )


def removed_psnr(scene: Scene, run: RunReader, dilate: tuple[int, int]) -> float:
    """Of the encoded result against the park without anybody, dB, over what was to vanish: the masks with their rings,
    and what of the subjects these leave out."""
    error, pixels, t = 0.0, 0, 0
    config = scene.config
    for record in run.log.of("sink"):
        segment = run.store.path(f"segments/{record['info']['segment']}")
        for picture in read_segment(segment, config.height, config.width):
            truth, plate = scene.frame(t), scene.truth(t).plate
            masks = [run.arrays.read(f"masks/{name}", t, t + 1) for name in ("object", "person")]
            there = cv2.resize(region(masks[0], masks[1], "both", dilate)[0].astype(np.uint8), picture.shape[1::-1]) > 0
            there |= truth.object_mask | truth.person_mask
            error += float(np.square(picture[there].astype(np.float64) - plate[there]).sum())
            pixels, t = pixels + 3 * int(there.sum()), t + 1
    return float(10 * np.log10(255**2 * max(1, pixels) / max(error, 1e-9)))


def _iou(found: Array, truth: Array) -> float:
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0
