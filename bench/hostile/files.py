"""Videos, weights and pictures that are cut, flipped, emptied, exchanged or no files at all."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from _fuzz import mutate, write_bases

from bench.hostile import odd
from bench.hostile.documents import sam_of
from bench.hostile.trial import Trial

MINI = Path(__file__).resolve().parents[2] / "stages" / "models" / "mini"


def attempt(trial: Trial, room: Path) -> None:
    """One file that is not what it should be, named where one of its kind is expected."""
    trial.rng.choice(KINDS)(trial, room)


@cache
def _bases(video: Path, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return write_bases(video, folder)


def _video(trial: Trial, room: Path) -> None:
    world, rng = trial.world, trial.rng
    base = rng.choice(_bases(world.case.video, world.folder / "bases"))
    video = room / f"bent{base.suffix}"
    if rng.random() < 0.1:
        trial.notes.append(odd.no_file(video, rng))
    else:
        video.write_bytes(mutate(base.read_bytes(), rng.randrange(10**9)))
    how = rng.random()
    if how < 0.6:
        trial.skate(["frame", str(video), "--at", str(rng.choice((0, 2, 6, 99))), "--to", str(room / "frame.png")])
    elif how < 0.8:
        masks, judged = str(world.exported / "mask_skateboard"), str(video)
        trial.skate(["evaluate", "--original", masks, "--generated", judged, *sam_of(trial)], models=True)
    elif how < 0.9:
        other = str(world.exported / "mask_skateboard")
        words = ["--masks", str(video) if rng.random() < 0.5 else other, "--pose", str(video), "--out", str(room / "o")]
        trial.skate(["generate", str(world.case.video), *words, *sam_of(trial)], models=True)
    else:
        trial.skate(["extract", str(video), "--out", str(room / "run"), *world.case.options], models=True)


def _weights(trial: Trial, room: Path) -> None:
    world, rng = trial.world, trial.rng
    words = list(world.models)
    option = rng.choice(("--sam", "--sam", "--pose", "--detector"))
    sound = {
        "--sam": Path(words[1]),
        "--pose": MINI / "pose.onnx",
        "--detector": MINI / "detector.onnx",
    }[option]
    path = room / (sound.name if rng.random() < 0.8 else f"weights{rng.choice(('.pt', '.pth', '.bin', '.onnx', ''))}")
    if rng.random() < 0.15:
        trial.notes.append(odd.no_file(path, rng))
    else:
        path.write_bytes(odd.bent_bytes(sound.read_bytes(), rng))
    words[words.index(option) + 1] = str(path)
    begin = ["extract", str(world.case.video), "--out", str(room / "run"), "--box", world.box, *words]
    trial.skate([*begin, "--window", "5", "--overlap", "2", "--device", "cpu"], models=True)


def _picture(trial: Trial, room: Path) -> None:
    """A mask, a skeleton or a reference of another size, another depth, cut, or with a header that lies."""
    world, rng = trial.world, trial.rng
    picture = room / "picture.png"
    height, width = rng.choice(((64, 96), (64, 96), (1, 1), (64, 1), (3000, 2), (96, 64)))
    kind = np.uint16 if rng.random() < 0.2 else np.uint8
    shape = (height, width, *rng.choice(((), (3,), (4,))))
    values = np.random.default_rng(rng.randrange(10**9)).integers(0, 255, shape, dtype=kind)
    data = cv2.imencode(rng.choice((".png", ".png", ".jpg", ".bmp", ".tiff")), values)[1].tobytes()
    how = rng.random()
    if how < 0.1:
        trial.notes.append(odd.no_file(picture, rng))
    elif how < 0.3 and data[:4] == b"\x89PNG":  # gigapixels by the header
        picture.write_bytes(
            data[:16] + rng.choice((b"\0\1\0\0\0\1\0\0", b"\x7f\xff\xff\xff" * 2, b"\0" * 8)) + data[24:]
        )
    else:
        picture.write_bytes(odd.bent_bytes(data, rng) if how < 0.7 else data)
    begin = ["--out", str(room / "run"), "--window", "5", "--overlap", "2", "--device", "cpu"]
    if rng.random() < 0.5:
        words = ["run", str(world.case.video), "--object-mask", str(picture), *world.models, *begin]
    else:
        masks = room / "masks"
        masks.mkdir()
        for index, file in enumerate(sorted((world.exported / "mask_skateboard").iterdir())):
            (masks / file.name).write_bytes(file.read_bytes())
            if index == 2 and not picture.is_fifo() and not picture.is_dir():
                (masks / file.name).unlink()
                (masks / file.name).symlink_to(picture)
        pose = world.exported / "pose_skater"
        words = ["generate", str(world.case.video), "--masks", str(masks), "--pose", str(pose), *sam_of(trial), *begin]
    trial.skate(words, models=True)


KINDS: tuple[Callable[[Trial, Path], None], ...] = (_video, _video, _weights, _picture)
