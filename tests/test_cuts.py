"""Cuts: found exactly, no flash and no pan among them; windows end with their shots, wherever decoding goes on."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from _clips import Clip, make
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import Array, Inputs, Window
from stages.cuts import LEAST_SHOT, REMEMBERED, CutFinder, shot_starts
from stages.decode import DecodeConfig, DecodeStage
from storage.errors import InputError
from stream.demo import DemoConfig, Scene
from stream.engine.windows import WindowPlan, shots_of
from stream.options.settings import read_cuts

FRAMES, SIZE = 110, (160, 90)
SCENE = DemoConfig(FRAMES, *SIZE, seed=1, camera="cuts")
PLAN = WindowPlan(17, 4)


@pytest.fixture(scope="module")
def scene() -> tuple[list[Array], list[int]]:
    """The pictures of a clip of three shots with a flash in the second, and the cuts."""
    made = Scene(SCENE)
    assert made.shots[1].flash is not None and [shot.kind for shot in made.shots][2] == "pan"
    return [made.frame(t).image for t in range(FRAMES)], [shot.start for shot in made.shots[1:]]


@pytest.fixture(scope="module")
def clip(scene: tuple[list[Array], list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cuts") / "clip.mp4"
    return make(path, Clip(FRAMES, *SIZE), lambda index, width, height: scene[0][index])


def found(pictures: Sequence[Array], first: int = 0, before: Sequence[Array] = ()) -> list[int]:
    finder = CutFinder(before)
    for frame, picture in enumerate(pictures, start=first):
        finder.show(frame, picture)
        assert finder.knows(frame - 6) or frame < first + 6
    finder.end()
    return finder.told(first + len(pictures))


def plain(*lengths: int, flash: int = -9) -> list[Array]:
    """Shots of these lengths, each in a colour of its own; two bright frames at `flash`."""
    colours = np.random.default_rng(4).integers(0, 256, (len(lengths), 3))
    pictures = [np.full((18, 32, 3), colours[k], np.uint8) for k, count in enumerate(lengths) for _ in range(count)]
    for frame in (flash, flash + 1):
        if 0 <= frame < len(pictures):
            pictures[frame] = np.full((18, 32, 3), 255, np.uint8)
    return pictures


def test_hard_cuts_are_found_and_a_flash_is_none() -> None:
    assert found(plain(20, 30, 9, 40)) == [20, 50, 59]
    assert found(plain(20, 30, flash=30)) == [20]
    assert found(plain(40, flash=3)) == []
    assert found(plain(20, 30, flash=20)) == [20, 22], "a cut in a flash is told: which of the two, nobody can say"
    slow = [np.full((18, 32, 3), 3 * t, np.uint8) for t in range(80)]
    assert found(slow) == [], "a fade"


def brightened(pictures: list[Array], start: int, count: int) -> list[Array]:
    """With so many bright pictures in place of these."""
    bright = [np.full((18, 32, 3), 255, np.uint8)] * count
    return [*pictures[:start], *bright, *pictures[start + count :]]


@pytest.mark.parametrize("count", range(1, 9))
def test_a_flash_is_gone_within_six_frames(count: int) -> None:
    pictures = brightened(plain(60), 30, count)
    cuts = [] if count <= 6 else [30, 30 + count]
    assert found(pictures) == cuts
    for stop in range(20, 50):
        later = found(pictures[stop:], stop, pictures[max(0, stop - REMEMBERED) : stop])
        assert later == [cut for cut in cuts if cut >= stop], f"gone on with from frame {stop}"


def test_a_cut_in_the_last_frames_is_told_when_there_are_no_more() -> None:
    for last in range(4, 12):
        finder = CutFinder()
        for frame, picture in enumerate(plain(30, last)):
            finder.show(frame, picture)
        assert finder.knows(30) == (last > 6)
        assert finder.told(30 + last) == ([30] if last > 6 else [])
        finder.end()
        assert finder.knows(30) and finder.told(30 + last) == ([] if last > 6 else [30])


def test_shots_of_15_frames_stand() -> None:
    assert shot_starts([15, 30], 45) == [15, 30]
    assert shot_starts([14, 30], 45) == [30] and shot_starts([15, 30], 44) == [15]


@pytest.mark.parametrize("stop", [1, 5, 19, 20, 21, 33, 34, 35, 36, 49, 50, 51, 60])
def test_what_is_found_depends_on_the_frames_near_alone(stop: int) -> None:
    pictures = plain(20, 30, 9, 40, flash=34)
    later = found(pictures[stop:], stop, pictures[max(0, stop - REMEMBERED) : stop])
    assert later == [cut for cut in found(pictures) if cut >= stop]


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_no_shot_is_short(lengths: list[int]) -> None:
    *cuts, frames = itertools.accumulate(lengths)
    starts = shot_starts(cuts, frames)
    assert set(starts) <= set(cuts)
    shots = [b - a for a, b in itertools.pairwise([0, *starts, frames])]
    assert frames < 2 * LEAST_SHOT or min(shots) >= LEAST_SHOT
    if all(length >= LEAST_SHOT for length in lengths):
        assert starts == cuts


def test_a_short_shot_joins_the_one_behind_it_and_the_last_one_the_one_before() -> None:
    assert shot_starts([40, 50, 100], 130) == [40, 100]
    assert shot_starts([10, 100, 120], 130) == [100]


def decoded(config: DecodeConfig, afresh: bool = False) -> tuple[list[Window], list[int]]:
    """The clip's windows and the cuts that were told; `afresh`: by a new stage for each window, from the state."""
    stage, windows, cuts = DecodeStage(config), list[Window](), list[int]()
    stage.open()
    while not windows or not windows[-1].last:
        if afresh and windows:
            parts = stage.get_state().to_parts()
            stage.close()
            stage = DecodeStage(config)
            stage.open()
            stage.set_state(*parts)
        wanted = PLAN.after(windows[-1] if windows else None)
        output = stage.process(wanted, Inputs())
        windows.append(PLAN.decoded(wanted, output.info))
        assert len(output.arrays["frames"]) == windows[-1].new.frames
        cuts += output.info["cuts"]
    stage.close()
    return windows, cuts


def test_windows_end_with_their_shots_wherever_decoding_goes_on(
    clip: Path, scene: tuple[list[Array], list[int]]
) -> None:
    config = DecodeConfig(clip, split=True)
    windows, cuts = decoded(config)
    assert cuts == scene[1]
    assert windows == list(PLAN.windows(FRAMES, scene[1]))
    assert shots_of(windows) == list(itertools.pairwise([0, *scene[1], FRAMES]))
    assert decoded(config, afresh=True) == (windows, cuts)
    assert decoded(DecodeConfig(clip)) == (list(PLAN.windows(FRAMES)), cuts), "told, and spanned"


@pytest.mark.parametrize("fps", [60.0, 13.0])
def test_frames_shown_twice_are_no_still(clip: Path, scene: tuple[list[Array], list[int]], fps: float) -> None:
    config = DecodeConfig(clip, split=True, fps=fps)
    windows, cuts = decoded(config)
    assert cuts == [-(-cut * fps // 24) for cut in scene[1]]
    assert decoded(config, afresh=True) == (windows, cuts)


def test_given_cuts_are_taken_as_they_are(clip: Path) -> None:
    config = DecodeConfig(clip, split=True, cuts=(30, 33, 70, 104))
    windows, cuts = decoded(config)
    assert cuts == [30, 33, 70, 104] and windows == list(PLAN.windows(FRAMES, [30, 70]))
    assert decoded(config, afresh=True) == (windows, cuts)
    with pytest.raises(InputError, match=r"--cuts: frame 110 is behind the end of the clip, which has 110 frames"):
        decoded(DecodeConfig(clip, split=True, cuts=(30, 110)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("12\nx\n", r"line 2: 'x' is no frame number"),
        ("12\n\n0\n", r"line 3: '0' is no frame number"),
        ("-4\n", r"line 1: '-4' is no frame number"),
        ("12\n90\n90\n", r"line 3: '90' stands there twice"),
        ("90\n12\n", r"line 2: '12' is below the line before it"),
        ("1.5\n", r"line 1: '1.5' is no frame number"),
        ("9999999999\n", r"line 1: '9999999999' is no frame number"),
    ],
)
def test_a_file_of_cuts_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "cuts.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_cuts(path)


def test_a_file_of_cuts(tmp_path: Path) -> None:
    path = tmp_path / "cuts.txt"
    path.write_text("12\r\n90\n\n 400 \n")
    assert read_cuts(path) == (12, 90, 400)
    with pytest.raises(InputError, match="cannot be read"):
        read_cuts(tmp_path)
