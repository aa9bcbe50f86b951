"""Boxes, points, masks and poses at the edge of what they may be."""

import io
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from bench.hostile.nasty.looked import INPUT, WELL, call, not_begun, nothing_left, nth, tracked
from bench.hostile.trial import Trial
from storage.rundir import RunReader

WIDTH, HEIGHT, FRAMES = 96, 64, 5
USAGE = 2
BOXES = (
    "10,10,10,10", "20,10,10,20", "10,20,20,10", "-5,-5,20,20", "90,60,100,70", "200,200,220,220", "nan,1,2,3",
    "1,1,inf,5", "1e308,1,1e309,5", "-0,-0,96,64", "0,0,96.0001,64", "0,0,96,64", "40,40,40.1,40.1",
    "40,40,40.0000001,50", "95,63,96,64", "0,0,1,1", "1,2,3", "1,2,3,4,5", "", ",,,", "1;2;3;4", "0x1,0x2,0x30,0x30",
    "\uff11,2,30,40",
    "1_0,2_0,3_0,4_0", " 30 , 40 , 50 , 50 ", "3e1,4e1,5e1,5e1", "+30,+40,+50,+50", "30,40,50,50,", "[30,40,50,50]",
    "-1e-9,0,10,10", "30.5,40.5,31.49,41.49", "1e-320,0,20,20",
)  # fmt: skip
POINTS = (
    "96,64", "95.999,63.999", "-0.001,5", "40,50,2", "40,50,-1", "40,50,0", "40,50,1.0", "40,50,true", "nan,nan", "40",
    "40,50,1,1", "0,0", "47.5,31.5", "1e2,1", "",
)  # fmt: skip
CORRECTIONS = (
    "0:30,40,50,50", "4:30,40,50,50", "5:30,40,50,50", "-1:30,40,50,50", "2:nan,1,2,3", "2:10,10,10,10",
    "2:", ":1,2,3,4", "2:+30,40;-1,1", "2:-1,1", "2:+200,1", "person@2:30,40,50,50", "object@2:30,40,50,50",
    "@2:30,40,50,50",
    "nobody@2:30,40,50,50", "2:absent.png", "2:/etc/passwd", "2:mask.png", "2:+30,40;+30,40;-30,40", "2.5:1,2,3,4",
    "2:30,40,50,50:2", "1e0:30,40,50,50", "\u0662:30,40,50,50", "object@object@2:30,40,50,50",
)  # fmt: skip


def board(mode: str = "L", size: tuple[int, int] = (WIDTH, HEIGHT), value: int = 255) -> Image.Image:
    """A mask of a small board."""
    image = np.zeros((size[1], size[0]), np.uint8)
    image[40:52, 30:55] = value
    return Image.fromarray(image).convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    """The picture's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **given)
    return file.getvalue()


def sixteen(value: int) -> bytes:
    """A PNG of 16 bits."""
    image = np.zeros((HEIGHT, WIDTH), np.uint16)
    image[40:52, 30:55] = value
    return saved(Image.fromarray(image))


def chunked(kind: bytes, body: bytes, end: bool = False) -> bytes:
    """A sound mask with one more chunk, in front of its pixels or at the end."""
    whole = saved(board())
    at = whole.index(b"IEND") - 4 if end else 33
    more = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return whole[:at] + more + whole[at:]


def palette(clear: bool) -> bytes:
    """The board is entry 1 of a palette; black on white, or with the board transparent."""
    image = Image.fromarray(np.asarray(board()) // 255)
    image = image.convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    return saved(image, transparency=1) if clear else saved(image)


def alpha(of_board: int, elsewhere: int) -> bytes:
    """White everywhere; the board is in the alpha alone."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, elsewhere))
    image.paste((255, 255, 255, of_board), (30, 40, 55, 52))
    return saved(image)


def turned() -> bytes:
    """EXIF says that it stands on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(board(), exif=exif.tobytes())


def spoken() -> PngImagePlugin.PngInfo:
    """A text of 8 MB, packed to some kB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * (8 << 20), zip=True)
    return info


MASKS: dict[str, Callable[[], bytes]] = {
    "sound": lambda: saved(board()),
    "palette": lambda: palette(False),
    "palette, clear": lambda: palette(True),
    "16 bits": lambda: sixteen(65535),
    "16 bits, dim": lambda: sixteen(255),
    "one bit": lambda: saved(board("1")),
    "grey with alpha": lambda: saved(board("LA")),
    "RGB": lambda: saved(board("RGB")),
    "board in the alpha": lambda: alpha(255, 0),
    "alpha all zero": lambda: alpha(0, 0),
    "float TIFF": lambda: saved(board("F"), "TIFF"),
    "wrong size by one": lambda: saved(board(size=(WIDTH + 1, HEIGHT))),
    "turned size": lambda: saved(board(size=(HEIGHT, WIDTH))),
    "ten times the size": lambda: saved(board(size=(960, 640))),
    "black": lambda: saved(board(value=0)),
    "at the threshold": lambda: saved(board(value=128)),
    "below the threshold": lambda: saved(board(value=127)),
    "white": lambda: saved(Image.new("L", (WIDTH, HEIGHT), 255)),
    "one pixel": lambda: saved(Image.fromarray((np.arange(WIDTH * HEIGHT) == 3000).reshape(HEIGHT, WIDTH))),
    "JPEG": lambda: saved(board(), "JPEG"),
    "BMP": lambda: saved(board(), "BMP"),
    "GIF": lambda: saved(board(), "GIF"),
    "WebP": lambda: saved(board("RGB"), "WEBP"),
    "PPM": lambda: saved(board(), "PPM"),
    "animated PNG": lambda: saved(board(), save_all=True, append_images=[board(value=0)]),
    "turned by EXIF": turned,
    "a gamma": lambda: chunked(b"gAMA", struct.pack(">I", 1)),
    "an unknown critical chunk": lambda: chunked(b"ABCD", b"x"),
    "text of megabytes": lambda: saved(board(), pnginfo=spoken()),
    "two ends": lambda: saved(board()) + b"more" * 1000,
    "no end": lambda: saved(board())[:-12],
    "half": lambda: saved(board())[: len(saved(board())) // 2],
    "text": lambda: b"255,255,255",
    "empty": lambda: b"",
    "a signature alone": lambda: b"\x89PNG\r\n\x1a\n",
}
OTHERS = (
    "--prompt-frame=4",
    "--prompt-frame=5",
    "--prompt-frame=-1",
    "--prompt-frame=1e3",
    "--prompt-frame=2147483648",
)
SHELVES = (
    "sound", "one less", "one more", "unpadded", "a hole", "twice one number", "upper case", "hidden beside",
    "a folder in", "mixed kinds", "black", "palette", "16 bits", "one of another size", "negative numbers",
    "no numbers",
    "huge number", "text beside", "a link out", "white",
)  # fmt: skip
POSES = (
    "nobody", "two persons", "71 numbers", "nan", "text for a number", "canvas of nothing", "canvas twice",
    "empty list", "a frame less", "null people", "far outside", "one joint", "an object", "very long",
    "points for confidences",
)  # fmt: skip
PROMPTS = (
    [["--box", text] for text in BOXES]
    + [["--point", text] for text in POINTS]
    + [["--point", "40,50,0", "--point", "41,50,0"], ["--point", "40,50", "--point", "40,50,0"]]
    + [[word for _ in range(300) for word in ("--point", "40,50")]]
    + [["--box", "30,40,55,52", "--correct", text] for text in CORRECTIONS]
    + [
        ["--box", "30,40,55,52", "--person-box", text]
        for text in ("30,40,55,52", "0,0,0,0", "200,1,300,9", "nan,1,2,3")
    ]
    + [["--box", "30,40,55,52", text] for text in OTHERS]
)
ALL: tuple[tuple[str, Any], ...] = (
    *(("prompt", words) for words in PROMPTS),
    *(("mask", name) for name in MASKS),
    *(("shelf", name) for name in SHELVES),
    *(("pose", name) for name in POSES),
)


def attempt(trial: Trial, room: Path) -> None:
    """Prompts, masks of a frame, folders of masks, poses."""
    (kind, what), _ = nth(trial, ALL)
    KINDS[kind](trial, room, what)
    nothing_left(trial, room)


def _clip(trial: Trial) -> str:
    return str(trial.world.extracted.parent / "short" / "clip.mp4")


def _pointed(trial: Trial, room: Path, words: list[str]) -> int:
    (room / "mask.png").write_bytes(saved(board()))
    words = [word.replace(":mask.png", f":{room / 'mask.png'}") for word in words]
    out = room / "out"
    ended = call(trial, ["extract", _clip(trial), "--out", str(out), *words, *tracked(trial.world)], models=True)
    trial.expect(ended.code in (*WELL, USAGE, INPUT), f"ends with {ended.code}")
    if ended.code == USAGE:
        not_begun(trial, out)
    if ended.code in WELL:
        masks = RunReader(out).arrays.read("masks/object", 0, FRAMES)
        trial.expect(masks.shape == (FRAMES, HEIGHT, WIDTH), f"masks are {masks.shape}")
    return ended.code


def _prompt(trial: Trial, room: Path, words: list[str]) -> None:
    _pointed(trial, room, words)


def _mask(trial: Trial, room: Path, name: str) -> None:
    (room / "given.png").write_bytes(MASKS[name]())
    code = _pointed(trial, room, ["--object-mask", str(room / "given.png")])
    if name in (
        "black",
        "below the threshold",
        "text",
        "empty",
        "a signature alone",
        "wrong size by one",
        "turned size",
    ):
        trial.expect(code == INPUT, f"a mask that is {name!r} ends with {code}")
    if name in ("sound", "one bit", "RGB", "at the threshold", "two ends"):
        trial.expect(code in WELL, f"a mask that is {name!r} ends with {code}")


def _shelf(trial: Trial, room: Path, name: str) -> None:
    """A folder of masks that `skate generate` and `skate evaluate` take."""
    shelf = room / "masks"
    shelf.mkdir()
    picture = saved(board(value=0 if name == "black" else 255))
    picture = saved(Image.new("L", (WIDTH, HEIGHT), 255)) if name == "white" else picture
    for index in range(FRAMES):
        (shelf / _named(name, index)).write_bytes(_kind(name, index, picture))
    _shuffled(name, shelf, picture, trial.rng)
    words = ["--masks", str(shelf), "--pose", str(trial.world.exported.parent / "short_pose.json")]
    poses = Path(words[3])
    if not poses.exists():
        call(trial, ["export", str(trial.world.extracted), "--to", str(trial.world.folder / "short_export")])
        shutil.copy(trial.world.folder / "short_export" / "pose.json", poses)
    _given(trial, room, words, name in ("sound", "unpadded", "upper case", "palette", "white", "16 bits"))


def _named(name: str, index: int) -> str:
    if name in ("unpadded", "negative numbers", "no numbers"):
        return {"unpadded": f"m_{index + 7}.png", "negative numbers": f"{index - 2}.png"}.get(
            name, "abcde"[index] + ".png"
        )
    return f"m_{index:05d}.PNG" if name == "upper case" else f"m_{index:05d}.png"


def _kind(name: str, index: int, picture: bytes) -> bytes:
    if name == "one of another size" and index == 3:
        return saved(board(size=(WIDTH, HEIGHT + 2)))
    if name == "mixed kinds" and index == 2:
        return saved(board(), "JPEG")
    return {"palette": palette(False), "16 bits": sixteen(65535)}.get(name, picture)


def _shuffled(name: str, shelf: Path, picture: bytes, rng: random.Random) -> None:
    if name == "one less":
        (shelf / f"m_{rng.randrange(4):05d}.png").unlink()
    elif name == "one more":
        (shelf / "m_00005.png").write_bytes(picture)
    elif name == "a hole":
        (shelf / "m_00004.png").rename(shelf / "m_00009.png")
    elif name == "twice one number":
        (shelf / "m_00004.png").rename(shelf / "m_3.png")
    elif name == "hidden beside":
        (shelf / "._m_00001.png").write_bytes(b"\0\5\x16\7")
        (shelf / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    elif name == "a folder in":
        (shelf / "m_00005.png").mkdir()
    elif name == "huge number":
        (shelf / "m_00004.png").rename(shelf / f"m_{'9' * 200}.png")
    elif name == "text beside":
        (shelf / "readme.txt").write_text("masks")
    elif name == "a link out":
        (shelf / "m_00004.png").unlink()
        (shelf / "m_00004.png").symlink_to("/etc/passwd")


def _given(trial: Trial, room: Path, words: list[str], sound: bool) -> None:
    out = room / "out"
    more = ["--window", "5", "--overlap", "2", "--device", "cpu", *trial.world.models[:4]]
    ended = call(trial, ["generate", _clip(trial), "--out", str(out), *words, *more], models=True)
    trial.expect(ended.code in (*WELL, USAGE, INPUT), f"ends with {ended.code}")
    if sound:
        trial.expect(ended.code in WELL, f"what is sound ends with {ended.code}")
    if ended.code in WELL:
        call(
            trial, ["evaluate", "--original", words[1], "--generated", str(out / "output.mp4"), *more[-4:]], models=True
        )


def _pose(trial: Trial, room: Path, name: str) -> None:
    """A POSE_KEYPOINT file."""
    body = [value for index in range(18) for value in (30 + index, 20 + index, 1.0)]
    numbers: list[object] = list(body)
    if name in ("nan", "text for a number"):
        numbers[4] = float("nan") if name == "nan" else "12"
    numbers = {"71 numbers": numbers[:-1], "one joint": [*numbers[:3], *[0] * 51], "very long": numbers * 400}.get(
        name, numbers
    )
    if name in ("far outside", "points for confidences"):
        numbers = [value * 1e30 for value in body] if name == "far outside" else list(body[:36])
    person = {"pose_keypoints_2d": numbers}
    people: object = {"nobody": [], "two persons": [person, person], "null people": None}.get(name, [person])
    height, width = (0, 0) if name == "canvas of nothing" else (HEIGHT, WIDTH * (2 if name == "canvas twice" else 1))
    frames: object = [{"people": people, "canvas_height": height, "canvas_width": width} for _ in range(FRAMES)]
    frames = {"empty list": [], "a frame less": frames[:-1], "an object": {"frames": frames}}.get(name, frames)  # type: ignore[index]
    (room / "pose.json").write_text(json.dumps(frames))
    shelf = room / "masks"
    shelf.mkdir()
    for index in range(FRAMES):
        (shelf / f"{index}.png").write_bytes(saved(board()))
    _given(
        trial, room, ["--masks", str(shelf), "--pose", str(room / "pose.json")], name in ("two persons", "canvas twice")
    )


KINDS: dict[str, Callable[[Trial, Path, Any], None]] = {
    "prompt": _prompt,
    "mask": _mask,
    "shelf": _shelf,
    "pose": _pose,
}
