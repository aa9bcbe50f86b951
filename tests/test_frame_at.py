"""One frame of a long video: the one that decoding everything gives, found without doing so."""

from pathlib import Path

import numpy as np
import pytest
from _clips import Clip, make
from _runs import invoke

from stages.video import at
from stages.video.at import Frames, frame_at
from stages.video.plain import plain_frames
from storage.errors import InputError
from stream.options.values import MOMENT

FRAMES = 120


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("at") / "clip", Clip(frames=FRAMES, b_frames=2))


def refuse(*_: object) -> None:
    raise AssertionError("everything was decoded")


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_the_frame_is_that_of_decoding_everything(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "clip", Clip(frames=FRAMES, b_frames=2, container=container))
    pictures = list(plain_frames(path))
    assert len(pictures) == FRAMES
    if container != "mpegts":  # it has no index: libav may land behind the frame, and all is decoded then
        monkeypatch.setattr(at, "_counted", refuse)
    for wanted in (9, 30, 47, 48, 77, FRAMES - 1):
        number, seconds, picture = frame_at(path, wanted)
        assert number == wanted
        np.testing.assert_array_equal(picture, pictures[wanted])
        assert frame_at(path, None, seconds)[0] == wanted, "the frame that is shown at its own time"
        assert frame_at(path, None, seconds + 0.01)[0] == wanted


def test_where_stamps_tell_nothing_everything_is_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = list(plain_frames(clip))
    shown, tick = at._stamps(clip)
    for stamps in ([], list(range(FRAMES)), shown[:96] + shown[97:], shown[1:]):
        monkeypatch.setattr(at, "_stamps", lambda video, stamps=stamps: (stamps, tick))
        number, _, picture = frame_at(clip, 100)
        assert number == 100
        np.testing.assert_array_equal(picture, pictures[100])
        monkeypatch.undo()


@pytest.mark.parametrize(("held", "met"), [(0, [50]), (5, [48, 49, 50, 51, 52]), (100, list(range(42, 59)))])
def test_no_more_large_pictures_are_made_than_are_kept(
    clip: Path, monkeypatch: pytest.MonkeyPatch, held: int, met: list[int]
) -> None:
    frames = Frames(clip)
    monkeypatch.setattr(at, "HELD_BYTES", held * 3 * frames.properties.width * frames.properties.height)
    assert sorted(frames._around(50)) == met
    np.testing.assert_array_equal(frames.picture(50), frame_at(clip, 50)[2])


def test_what_is_not_there_is_refused(clip: Path) -> None:
    with pytest.raises(InputError, match=rf"--at 120: .* has {FRAMES} frames, counted from 0"):
        frame_at(clip, FRAMES)
    with pytest.raises(InputError, match=r"--at 600 s: .* has 120 frames"):
        frame_at(clip, None, 600.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("1:23.5", 83.5), ("83.5s", 83.5), ("0:00", 0.0), ("1:02:03", 3723.0), ("5s", 5.0)],
)
def test_times(text: str, value: float) -> None:
    found = MOMENT.read(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["", "1.5", "-1", "1:60", "1:-3", "a:3", "1:2:3:4", "nan", "1:nan", "infs"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError):
        MOMENT.read(text)


def test_the_command_takes_a_time(clip: Path, tmp_path: Path) -> None:
    ended = invoke(["frame", str(clip), "--at", "0:02.5", "--to", str(tmp_path / "f.png")])
    assert ended.code == 0 and "at 2.5" in ended.out, ended.err
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    refused = invoke(["frame", str(clip), "--at", "1.5", "--to", str(tmp_path / "g.png")])
    assert refused.code == 2 and "write for example 90, 1:23.5 or 83.5s" in refused.err
