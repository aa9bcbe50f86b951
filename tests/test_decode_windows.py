"""Decoding window by window: where the clip ends, going on from any window, reading spans again."""

import gc
from pathlib import Path
from typing import Any

import _clips
import av
import numpy as np
import pytest
from _clips import Clip, make
from _small_run import small_config, small_run

from stages.base import Array
from stages.decode import DecodeConfig, Decoded, DecodeStage, read_span
from stages.video.digest import frame_digest
from stages.video.source import SourceFrame
from storage.arrays import RunArrays
from storage.errors import InputError, RunDirectoryError
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.options.assembly import decode_config

WINDOW, STRIDE = 81, 60
Parts = tuple[dict[str, Any], dict[str, Array]]


def new_span(index: int, window: int = WINDOW, stride: int = STRIDE) -> Span:
    return Span(0 if index == 0 else window + (index - 1) * stride, window + index * stride)


def run(
    config: DecodeConfig, window: int = WINDOW, stride: int = STRIDE, first: int = 0, state: Parts | None = None
) -> tuple[list[Decoded], list[Parts]]:
    """All windows from `first` on, and the state after each."""
    found, states = [], []
    with DecodeStage(config) as stage:
        if state is not None:
            stage.set_state(*state)
        for index in range(first, 1000):
            found.append(stage.next(new_span(index, window, stride)))
            states.append(stage.get_state().to_parts())
            if found[-1].last:
                return found, states
    raise AssertionError("the clip never ended")


def assert_same(one: Decoded, other: Decoded) -> None:
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.times, other.times)
    assert (one.last, one.clip_frames_min16, one.bad_frames, one.digests) == (
        other.last,
        other.clip_frames_min16,
        other.bad_frames,
        other.digests,
    )


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 80, 81, 82, 141, 142, 250])
def test_every_length_is_found_out_exactly(tmp_path: Path, frames: int) -> None:
    path = make(tmp_path / "clip.mp4", Clip(frames, width=32, height=32))
    found, _ = run(DecodeConfig(path))
    expected = 1 + max(0, -(-(frames - WINDOW) // STRIDE))
    assert [window.last for window in found] == [False] * (expected - 1) + [True]
    assert sum(len(window.times) for window in found) == frames
    assert all(len(window.times) == new_span(index).frames for index, window in enumerate(found[:-1]))
    assert {window.clip_frames_min16 for window in found} == {min(frames, 16)}


@pytest.mark.parametrize("frames", [5, 6, 9, 10, 15, 16, 30])
def test_length_is_exact_from_the_first_small_window_on(tmp_path: Path, frames: int) -> None:
    path = make(tmp_path / "clip.mp4", Clip(frames, width=32, height=32))
    found, _ = run(DecodeConfig(path), 5, 4)
    assert {window.clip_frames_min16 for window in found} == {min(frames, 16)}
    assert sum(len(window.times) for window in found) == frames


def comparable(states: list[tuple[dict[str, Any], dict[str, Array]]]) -> list[Any]:
    return [
        (values, {name: (array.shape, array.tobytes()) for name, array in arrays.items()}) for values, arrays in states
    ]


CLIPS = {
    "b-frames": Clip(50, b_frames=3),
    "open-gop": Clip(50, b_frames=3, options={"x264-params": "scenecut=0:mbtree=0:open-gop=1:bframes=3"}),
    "variable": Clip(50, times=[0.04 * i + 0.013 * (i % 3) for i in range(50)], container="matroska"),
    "raw": Clip(50, container="h264"),
    "transport": Clip(50, container="mpegts", start_seconds=2.0),
    "vp9": Clip(50, codec="libvpx-vp9", container="webm", options={"deadline": "realtime", "auto-alt-ref": "1"}),
    "one key frame": Clip(50, key_every=1000),
    "hlg": Clip(50, pixel_format="yuv420p10le", tags=(9, 1, 9, 18)),
}


@pytest.mark.parametrize("fps", [None, 17.0, 60.0])
@pytest.mark.parametrize("name", CLIPS)
def test_going_on_from_any_window_gives_the_same(tmp_path: Path, name: str, fps: float | None) -> None:
    path = make(tmp_path / "clip", CLIPS[name])
    config = DecodeConfig(path, fps=fps)
    whole, states = run(config, 13, 10)
    for index in range(1, len(whole)):
        rest, later = run(config, 13, 10, index, states[index - 1])
        for one, other in zip(rest, whole[index:], strict=True):
            assert_same(one, other)
        assert comparable(later) == comparable(states[index:])


@pytest.mark.parametrize("fps", [None, 17.0])
def test_stamps_that_start_again_go_on_exactly_too(tmp_path: Path, fps: float | None) -> None:
    """Recordings joined byte by byte: the same stamps and the same pictures three times in one file."""
    part = make(tmp_path / "part.ts", Clip(36, container="mpegts", key_every=1000))
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 3)
    config = DecodeConfig(path, fps=fps)
    whole, states = run(config, 9, 9)
    assert sum(len(window.times) for window in whole) == (108 if fps is None else 77)
    for index in range(1, len(whole)):
        rest, later = run(config, 9, 9, index, states[index - 1])
        assert len(rest) == len(whole) - index, f"gone on after window {index - 1}"
        for one, other in zip(rest, whole[index:], strict=True):
            assert_same(one, other)
        assert comparable(later) == comparable(states[index:])
    for index, window in enumerate(whole):  # frames that were dropped are read again, by the time of the first
        span = Span(9 * index, 9 * index + len(window.times))
        again = read_span(config, span, window.digests, float(window.times[0]))
        np.testing.assert_array_equal(list(again), window.frames)


def test_damaged_clips_go_on_exactly_too(tmp_path: Path) -> None:
    path = _clips.make_damaged(tmp_path / "clip.mkv", [12, 30], Clip(50, container="matroska"))
    config = DecodeConfig(path)
    whole, states = run(config, 13, 10)
    assert sum(len(window.bad_frames) for window in whole) >= 2
    for index in range(1, len(whole)):
        rest, _ = run(config, 13, 10, index, states[index - 1])
        for one, other in zip(rest, whole[index:], strict=True):
            assert_same(one, other)


def test_state_is_small_and_needs_no_pickle(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(60))
    _, states = run(DecodeConfig(path), 13, 10)
    values, arrays = states[-1]
    assert arrays.keys() == {"pictures"} and arrays["pictures"].nbytes < 20_000 and len(str(values)) < 1500


@pytest.mark.parametrize("index", [0, 2])
def test_another_file_under_the_name_is_refused(tmp_path: Path, index: int) -> None:
    path = make(tmp_path / "clip.mp4", Clip(40))
    config = DecodeConfig(path)
    whole, states = run(config, 13, 10)
    make(path, Clip(40), image=lambda i, w, h: _clips.picture_rgb(i + 3, w, h))
    with pytest.raises(InputError, match="changed since"):
        run(config, 13, 10, index + 1, states[index])
    with pytest.raises(InputError, match="changed since"):
        list(read_span(config, Span(0, 5), whole[0].digests[:5], float(whole[0].times[0])))


@pytest.mark.parametrize("fps", [None, 17.0, 60.0])
@pytest.mark.parametrize("name", CLIPS)
def test_spans_can_be_read_again(tmp_path: Path, name: str, fps: float | None) -> None:
    path = make(tmp_path / "clip", CLIPS[name])
    config = DecodeConfig(path, fps=fps)
    (whole,), _ = run(config, 401)
    for span in (Span(0, 4), Span(17, 29), Span(len(whole.times) - 1, len(whole.times)), Span(8, 8)):
        part = slice(*span)
        for seconds in (float(whole.times[span.start]), None):
            images = list(read_span(config, span, whole.digests[part], seconds))
            assert len(images) == span.frames
            for image, expected in zip(images, whole.frames[part], strict=True):
                np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("container", ["mp4", "matroska", "flv"])
def test_seeking_is_used_where_it_can_be(tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.video.source import VideoSource

    path = make(tmp_path / "clip", Clip(60, container=container))
    config = DecodeConfig(path)
    _, states = run(config, 13, 10)
    restarts: list[bool] = []
    monkeypatch.setattr(VideoSource, "restart", lambda self, careful=False: restarts.append(careful))
    run(config, 13, 10, 3, states[2])
    assert restarts == []


def test_a_wrong_start_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(5))
    with DecodeStage(DecodeConfig(path)) as stage, pytest.raises(ValueError, match="before frame 0"):
        stage.next(Span(3, 5))
    stage.close()


def test_frames_that_are_held_are_never_overwritten(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(60))
    with DecodeStage(DecodeConfig(path)) as stage:
        held = stage.next(Span(0, 10)).frames[3:5]
        copy = held.copy()
        later = [stage.next(Span(start, start + 10)) for start in (10, 20, 30)]
        np.testing.assert_array_equal(held, copy)
        del held
        digests = [frame_digest(frame) for window in later for frame in window.frames]
    assert digests == [digest for window in later for digest in window.digests]


def test_pictures_go_back_to_the_decoder_at_once(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(60, rotation=90))
    gc.disable()
    try:
        with DecodeStage(DecodeConfig(path)) as stage:
            stage.next(Span(0, 50))
            held = sum(type(found) is av.VideoFrame for found in gc.get_objects())
    finally:
        gc.enable()
    assert held <= 16  # what the decoder hands out at once; none of the others waits for the search for cycles


def test_a_picture_that_cannot_be_converted_is_said_at_its_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "clip.mp4", Clip(30))

    def fails(self: SourceFrame) -> Array:
        raise InputError(f"frame at {self.seconds:.3f} s")

    with DecodeStage(DecodeConfig(path)) as stage:
        stage.next(Span(0, 5))
        monkeypatch.setattr(SourceFrame, "to_rgb", fails)
        with pytest.raises(InputError, match=r"frame at 0\.208 s"):
            stage.next(Span(5, 10))


def test_frames_that_were_dropped_cost_no_more_to_find_in_a_long_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sought anew in nearly every window of a variation: nothing else of the clip is read for that."""
    run = RunReader(small_run("extract"))
    asked: list[tuple[str, int]] = []
    plain = RunArrays.read

    def noted(self: RunArrays, name: str, start: int, stop: int) -> Array:
        asked.append((name, stop - start))
        return plain(self, name, start, stop)

    monkeypatch.setattr(RunArrays, "read", noted)
    source = FrameSource(run, decode_config(small_config("extract")))
    for start in (9, 3):
        assert len(source.read(Span(start, start + 2))) == 2
    source.close()
    assert asked == [("times", 1)] * 2


def test_frames_that_were_dropped_are_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that go on from one another, or lie in the last one, are not sought anew."""
    config = decode_config(small_config("extract"))
    (whole,), _ = run(config, 401)
    source = FrameSource(RunReader(small_run("extract")), config)
    sought: list[int] = []
    lost = False
    plain = RunArrays.read

    def noted(self: RunArrays, name: str, start: int, stop: int) -> Array:
        sought.append(start)
        if lost:
            raise RunDirectoryError("times: damaged")
        return plain(self, name, start, stop)

    monkeypatch.setattr(RunArrays, "read", noted)
    for start, stop in [(0, 9), (6, 15), (7, 12), (12, 21), (20, 21), (3, 9), (2, 9), (8, 10), (10, 12), (15, 18)]:
        np.testing.assert_array_equal(source.read(Span(start, stop)), whole.frames[start:stop])
    assert sought == [0, 3, 2, 15]
    source.close()
    np.testing.assert_array_equal(source.read(Span(16, 18)), whole.frames[16:18])
    assert sought[4:] == [16], "nothing is held of what was closed"
    lost = True
    np.testing.assert_array_equal(source.read(Span(3, 12)), whole.frames[3:12])
    source.close()
