"""Whole runs of pictures of any size: each gives a sound result, or is refused in one line before anything is begun."""

from pathlib import Path

import pytest
from _clips import Clip, make
from _crash import make_case
from _zygote import Ended, shared_zygote

from stages.video.limits import VideoLimits
from stages.video.plain import plain_frames

FRAMES = 7


def skate(arguments: list[str]) -> Ended:
    ended = shared_zygote().run(arguments)
    assert "Traceback" not in ended.output, ended.output
    return ended


def begin(folder: Path, width: int, height: int, *more: str) -> tuple[Path, Ended]:
    """A run of a clip of this size; its directory and how it ended."""
    clip = Clip(FRAMES, width, height, pixel_format="rgb24", codec="png", container="mov", b_frames=0)
    video = make(folder / "odd.mov", clip)
    options = make_case(folder / "models", frames=1).options
    box = f"0,0,{max(1, width // 2)},{max(1, height // 2)}"
    run = folder / "run"
    return run, skate(["run", str(video), "--out", str(run), "--box", box, *options[2:], *more])


SLOW = [
    pytest.param(*size, marks=pytest.mark.slow)
    for size in [(2, 2), (3, 5), (15, 17), (17, 1000), (1000, 3), (63, 65), (640, 1), (4097, 33)]
]


@pytest.mark.parametrize(("width", "height"), [(1, 1), *SLOW])
def test_pictures_of_any_size(tmp_path: Path, width: int, height: int) -> None:
    run, ended = begin(tmp_path, width, height)
    assert ended.code in (0, 1), ended.output
    shapes = [frame.shape for frame in plain_frames(run / "output.mp4")]
    assert shapes == [(height + height % 2, width + width % 2, 3)] * FRAMES
    assert skate(["status", str(run), "--verify"]).code == 0
    exported = tmp_path / "exported"
    assert skate(["export", str(run), "--to", str(exported), "--view", "--plate"]).code == 0
    assert len(list((exported / "mask_skateboard").iterdir())) == FRAMES


def test_a_picture_beyond_the_limit_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    run, ended = begin(tmp_path, 16, 17, "--max-pixels", "271")
    assert ended.code == 3 and len(ended.output.splitlines()) == 1, ended.output
    assert "frames of 16x17 are 272 pixels, the limit is 271" in ended.output and not run.exists()
    assert len(list(plain_frames(tmp_path / "odd.mov", VideoLimits(max_pixels=272)))) == FRAMES
