"""`skate export`: masks, skeletons and metadata as files that other tools take. Streamed, in flat memory."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import Array
from stages.choices import EACH
from stages.order import number_digits
from stages.poses.draw import draw
from stages.poses.openpose_json import cmu_frame, pose_keypoint_chunks
from stages.sam.prompts import words_of
from stages.sink import EncoderSettings, write_segment
from stages.subjects import OBJECT, PERSON, Subject
from stages.views.names import VIEWS as GENERATOR_VIEWS
from stages.views.names import view_name
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, InputError, RunDirectoryError, UsageError
from storage.rundir import CommitLog, Manifest, RunReader
from storage.spans import Span
from stream.options.assembly import encoder_settings
from stream.options.config import RunConfig
from stream.options.recorded import read_run
from stream.options.working import at_work
from stream.report.amodal import AmodalMasks
from stream.report.plates import PlatePictures
from stream.report.portable import CORRECTION_MASK, PROMPT_MASK, SUBJECT_MASK, given_masks, portable_config
from stream.report.replacing import in_place_of, put_back
from stream.report.seen import SeenPictures

FORMAT = 1
_IDENTITIES = (" weights", " config")  # of models, among what decides a run's results
PIECE_FRAMES = 12  # read at a time
CRF = 10  # of the two videos: masks read back at 128 are exact, skeletons keep their colours
MASKS, POSES, CMU = "mask_skateboard", "pose_skater", "pose_json"
PNGS, CMUS = "frame_*.png", "frame_*_keypoints.json"
SEEN, SEEN_VIEWS = "view", "views_generate.npy"  # of the generator
PLATE, HOLES = "plate", "plate_holes"
AMODAL = "amodal_{}"  # of a subject
METADATA, VIEWS = "tracking_metadata.json", "views_object.npy"


def export_run(
    path: Path,
    target: Path,
    pose_style: str | None = None,
    view: bool = False,
    plate: bool = False,
    amodal: bool = False,
) -> str:
    """Write everything that is tracked so far; returns the line to print. An earlier export there is replaced.

    Args:
        view: also what the generator saw, as far as its views are fixed. plate: also the clip without its subjects.
        amodal: also all of each subject, hidden or not.

    Raises:
        UsageError: when that is asked of a run that generates nothing.
        RunDirectoryError: when nothing is tracked yet, the folder holds something that is no export, or another process
            has replaced what was read.
        InputError: when the mask that the object was given by is gone.
        EnvironmentFault: when it cannot be written.
    """
    _, config = read_run(path)
    run = RunReader(path)
    tracked = run.log.of("track")
    if not tracked:
        raise RunDirectoryError(f"{path}: nothing is tracked yet, there is nothing to export: `skate resume {path}`")
    frames = int(tracked[-1]["span"][1])
    for subject in config.subjects:
        told = words_of(subject, config.scene is not None).mask
        for mask in given_masks(subject).values():
            if not Path(mask).is_file():
                raise InputError(f"{told} {mask} of {path} is not there any more: put it back, it belongs to an export")
    if view and not config.generates:
        raise UsageError(f"--view: {path} tracks alone, no generator saw it: export a run that generates")
    if view and config.passes == EACH:
        raise UsageError(
            f"--view: {path} has a generation for each subject: their views are `views/generate-NAME` in its run.zarr"
        )
    try:
        with _place_for(target, config) as made, run.standing():
            _write_all(run, config, frames, pose_style, made)
            seen = _write_seen(run, config, made) if view else 0
            empty = _write_plates(run, config, made) if plate else 0
            whole = _write_amodal(run, config, made) if amodal else 0
            _write_metadata(run, config, frames, pose_style, made)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or target}: {error.strerror or error}: free space or choose another --to"
        ) from error
    told = f", {seen} of what the generator saw" if view else ""
    told += f", {empty} without the subjects" if plate else ""
    told += f", {whole} of what is hidden too" if amodal else ""
    return f"{target}: {frames} frames of masks, skeletons and keypoints{told}"


@dataclass(frozen=True)
class Files:
    """What is written of a subject: folders of PNGs and CMU files, and files; "" is not written."""

    masks: str = ""
    mask_video: str = ""
    poses: str = ""
    cmu: str = ""
    keypoints: str = ""
    pose_video: str = ""
    prompt_mask: str = ""
    views: str = ""

    @property
    def folders(self) -> list[str]:
        """Names of the folders."""
        return [name for name in (self.masks, self.poses, self.cmu) if name]


def files_of(subject: Subject, plain: bool) -> Files:
    """The names of a subject's files; those that the plain options make have names of their own."""
    name, person = subject.name, subject.kind == PERSON
    if plain and person:
        return Files(poses=POSES, cmu=CMU, keypoints="pose.json", pose_video="pose.mp4")
    if plain:
        return Files(MASKS, "mask.mp4", prompt_mask=PROMPT_MASK, views=VIEWS)
    masks = Files(f"mask_{name}", f"mask_{name}.mp4", prompt_mask=SUBJECT_MASK.format(name), views=f"views_{name}.npy")
    if not person:
        return masks
    return dataclasses.replace(
        masks,
        poses=f"pose_{name}",
        cmu=f"pose_json_{name}",
        keypoints=f"pose_{name}.json",
        pose_video=f"pose_{name}.mp4",
    )


@contextlib.contextmanager
def _place_for(target: Path, config: RunConfig) -> Iterator[Path]:
    """A folder to write the export into, which takes its place in `target` when it is whole; half an export is none.

    Raises:
        RunDirectoryError: when there is something that was not exported by this program.
    """
    with contextlib.ExitStack() as undo:
        if not target.exists():
            target.mkdir(parents=True)
            undo.callback(shutil.rmtree, target, ignore_errors=True)
        put_back(target, METADATA)
        written = [files_of(subject, config.scene is None) for subject in config.subjects]
        folders = [target / name for files in written for name in files.folders]
        if any(target.iterdir()) and not all(folder.is_dir() for folder in folders):
            raise RunDirectoryError(f"{target} is not empty and holds no export of these subjects: choose another --to")
        names = [name for files in written for name in dataclasses.astuple(files) if name]
        names += [SEEN, f"{SEEN}.mp4", SEEN_VIEWS, PLATE, f"{PLATE}.mp4", HOLES, METADATA]
        for subject in config.subjects:
            names += [hidden := AMODAL.format(subject.name), f"{hidden}.mp4"]
            names += [path.name for path in target.glob(CORRECTION_MASK.format("*", subject.name))]
        with in_place_of(target, names, (PNGS, CMUS), METADATA) as made:
            yield made
        undo.pop_all()


def _write_all(run: RunReader, config: RunConfig, frames: int, pose_style: str | None, target: Path) -> None:
    video = run.manifest["video"]
    style = pose_style or config.pose_style
    times = run.arrays.read("times", 0, frames)
    settings = video_settings(video, config.fps)
    for subject in config.subjects:
        files = files_of(subject, config.scene is None)
        for folder in files.folders:
            (target / folder).mkdir()
        if files.masks:
            masks = _masks(run, subject.name, frames, target / files.masks)
            write_segment(target / files.mask_video, masks, times, settings)
        if files.poses:
            skeletons = _skeletons(run, subject.name, frames, style, target / files.poses, target / files.cmu)
            write_segment(target / files.pose_video, skeletons, times, settings)
            keypoints = _each(run, f"keypoints/{subject.name}", frames)
            with (target / files.keypoints).open("w", encoding="utf-8") as file:
                file.writelines(pose_keypoint_chunks(keypoints, video["height"], video["width"]))
        if config.track_view != "full" and files.views:  # a score looks through the same views
            views = run.arrays.read(view_name(subject.name), 0, frames)
            np.save(target / files.views, views, allow_pickle=False)
        for frame, mask in given_masks(subject).items():
            name = files.prompt_mask if frame is None else CORRECTION_MASK.format(frame, subject.name)
            shutil.copyfile(mask, target / name)


def _write_metadata(run: RunReader, config: RunConfig, frames: int, pose_style: str | None, target: Path) -> None:
    metadata = tracking_metadata(run.manifest, run.log, frames, pose_style or config.pose_style, config)
    strict = json.dumps(metadata, ensure_ascii=False).encode(errors="replace")  # a name that is no UTF-8 is no JSON
    write_atomic(target / METADATA, json.dumps(json.loads(strict), indent=2, sort_keys=True).encode() + b"\n")


def _write_seen(run: RunReader, config: RunConfig, target: Path) -> int:
    """Write what the generator saw: PNGs, a video, and the views (source pixels to the pictures'); how many frames."""
    pictures = SeenPictures(run, config)
    (target / SEEN).mkdir()
    if not pictures.frames:
        return 0
    whole = Span(0, pictures.frames)
    width, height = pictures.size
    settings = dataclasses.replace(
        video_settings(run.manifest["video"], config.fps), width=width, height=height, sample_aspect_ratio=(1, 1)
    )

    def written() -> Iterator[Array]:
        for t, picture in enumerate(pictures.each(whole)):
            _write_png(
                target / SEEN / f"{frame_name(t, pictures.frames)}.png", np.ascontiguousarray(picture[..., ::-1])
            )
            yield picture

    write_segment(target / f"{SEEN}.mp4", written(), run.arrays.read("times", *whole), settings)
    if GENERATOR_VIEWS in run.arrays.layout.arrays:
        np.save(target / SEEN_VIEWS, run.arrays.read(GENERATOR_VIEWS, *whole), allow_pickle=False)
    return pictures.frames


def _write_plates(run: RunReader, config: RunConfig, target: Path) -> int:
    """Write the clip without its subjects: PNGs, a video, and what of it is guessed; how many frames."""
    pictures = PlatePictures(run, config)
    (target / PLATE).mkdir()
    (target / HOLES).mkdir()

    def written() -> Iterator[Array]:
        for t, (picture, never) in enumerate(pictures.each()):
            name = f"{frame_name(t, pictures.frames)}.png"
            _write_png(target / PLATE / name, np.ascontiguousarray(picture[..., ::-1]))
            _write_png(target / HOLES / name, never.astype(np.uint8) * 255)
            yield picture

    times = run.arrays.read("times", 0, pictures.frames)
    write_segment(target / f"{PLATE}.mp4", written(), times, video_settings(run.manifest["video"], config.fps))
    return pictures.frames


def _write_amodal(run: RunReader, config: RunConfig, target: Path) -> int:
    """Write all of each subject, hidden or not: PNGs, and a video of these; how many frames."""
    masks = AmodalMasks(run, config)
    folders = {name: target / AMODAL.format(name) for name in masks.names}
    for folder in folders.values():
        folder.mkdir()
    files = [f"{frame_name(t, masks.frames)}.png" for t in range(masks.frames)]
    for file, every in zip(files, masks.each(), strict=True):
        for name, mask in every.items():
            _write_png(folders[name] / file, mask.astype(np.uint8) * 255)
    times, settings = run.arrays.read("times", 0, masks.frames), video_settings(run.manifest["video"], config.fps)
    for folder in folders.values() if files else ():
        pictures = (np.asarray(cv2.imread(str(folder / file))) for file in files)  # grey, as three channels
        write_segment(folder.with_name(f"{folder.name}.mp4"), pictures, times, settings)
    return masks.frames


def frame_name(t: int, frames: int) -> str:
    """Frame t of so many, with as many digits as they all need: ComfyUI's loaders take files in order of the text."""
    return f"frame_{t:0{number_digits(frames)}d}"


def video_settings(video: dict[str, Any], fps: float | None) -> EncoderSettings:
    """How `mask.mp4` and `pose.mp4` are coded: as the output is, a little finer."""
    return dataclasses.replace(encoder_settings(video, fps), crf=CRF)


def _each(run: RunReader, name: str, frames: int) -> Iterator[Array]:
    """The array's frames one at a time."""
    for start in range(0, frames, PIECE_FRAMES):
        yield from run.arrays.read(name, start, min(frames, start + PIECE_FRAMES))


def _masks(run: RunReader, name: str, frames: int, folder: Path) -> Iterator[Array]:
    """Write each mask as an 8-bit grey PNG (255 = object) and pass it on as `[H, W, 3]` uint8."""
    for t, mask in enumerate(_each(run, f"masks/{name}", frames)):
        grey = mask.astype(np.uint8) * 255
        _write_png(folder / f"{frame_name(t, frames)}.png", grey)
        yield np.repeat(grey[..., None], 3, axis=2)


def _skeletons(run: RunReader, person: str, frames: int, style: str, pictures: Path, cmus: Path) -> Iterator[Array]:
    """Draw each skeleton, write it as PNG and CMU JSON, and pass it on as `[H, W, 3]` uint8 RGB."""
    height, width = run.manifest["video"]["height"], run.manifest["video"]["width"]
    for t, keypoints in enumerate(_each(run, f"keypoints/{person}", frames)):
        skeleton = draw(keypoints, height, width, style)
        name = frame_name(t, frames)
        _write_png(pictures / f"{name}.png", np.ascontiguousarray(skeleton[..., ::-1]))
        cmu = json.dumps(cmu_frame(keypoints))
        (cmus / f"{name}_keypoints.json").write_text(cmu, encoding="utf-8")
        yield skeleton


def _write_png(path: Path, picture: Array) -> None:
    """`[H, W]` grey or `[H, W, 3]` BGR, uint8. Encoded here: cv2.imwrite tells no reason when it fails."""
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def tracking_metadata(
    manifest: Manifest, log: CommitLog, frames: int, pose_style: str, config: RunConfig
) -> dict[str, Any]:
    """Video properties, prompts, models and versions: enough, with the masks, for `skate evaluate`."""
    untracked: dict[str, list[list[int]]] = {subject.name: [] for subject in config.subjects}
    for record in log.of("track"):
        for name, spans in record["info"]["untracked"].items():
            untracked[name] += spans
    plain = config.scene is None
    found = {subject.name: _file_names(files_of(subject, plain), frames, config) for subject in config.subjects}
    files: dict[str, Any] = found[OBJECT] | found[PERSON] if plain else {"subjects": found}
    return {
        "format": FORMAT,
        "video": {**manifest["video"], "frames": frames},
        "config": portable_config(at_work(config, manifest["video"]).to_json()),
        "config_digest": manifest["config_digest"],
        "models": {name: value for name, (_, value) in manifest["decisive"].items() if name.endswith(_IDENTITIES)},
        "versions": manifest["versions"],
        "untracked": untracked,
        "pose_style": pose_style,
        "files": files,
    }


def _file_names(files: Files, frames: int, config: RunConfig) -> dict[str, str]:
    """What is written of a subject, by what it is."""
    name = f"frame_%0{number_digits(frames)}d"
    found = {
        "masks": files.masks and f"{files.masks}/{name}.png",
        "poses": files.poses and f"{files.poses}/{name}.png",
        "cmu": files.cmu and f"{files.cmu}/{name}_keypoints.json",
        "keypoints": files.keypoints,
        "mask_video": files.mask_video,
        "pose_video": files.pose_video,
        "views": files.views if config.track_view != "full" else "",
    }
    return {key: value for key, value in found.items() if value}
