"""Interlaced clips: whole frames, as many and at the same times, the same bytes wherever reading begins."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from _clips import Clip, make, make_damaged
from _crash import differing, make_case, results
from _zygote import shared_zygote
from test_decode_windows import assert_same, comparable, run

from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage, read_span
from stages.video.deinterlace import deinterlaced
from stages.video.reader import RawFrame
from stages.video.source import VideoSource
from storage.spans import Span


def moving(position: float, width: int, height: int) -> Array:
    """`[height, width, 3]` uint8: a bright smooth bar at a place along the width."""
    bar = 200 * np.exp(-(((np.arange(width) - position % width) / 5) ** 2)) + 30
    return np.repeat(np.broadcast_to(bar, (height, width))[..., None], 3, axis=2).astype(np.uint8)


def woven(index: int, width: int, height: int) -> Array:
    """A frame of two fields, the bottom one first, as x264 flags it; the bar is three pixels further in the second."""
    image = moving(6.0 * index, width, height).copy()
    image[::2] = moving(6.0 * index + 3, width, height)[::2]
    return image


H264 = Clip(30, options={"flags": "+ildct+ilme"}, b_frames=0)
CLIPS = {
    "h264": H264,
    "b-frames": replace(H264, b_frames=2),
    "transport": replace(H264, container="mpegts", start_seconds=2.0),
    "intra": replace(H264, key_every=1),
    "one key frame": replace(H264, key_every=1000),
}


def made(path: Path, clip: Clip) -> Path:
    return make(path, clip, image=woven)


def combing(image: Array) -> float:
    """How much neighbouring lines differ more than lines of one field do."""
    luma = image.astype(np.float32).mean(axis=-1)
    return float(np.abs(np.diff(luma, axis=0)).mean() - np.abs(luma[2:] - luma[:-2]).mean())


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_whole_and_keep_their_times(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / "clip", CLIPS[name])
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
        assert all(picture.interlaced_frame for picture in pictures)
        times = [float(picture.time) for picture in pictures]
        raw = [picture.to_ndarray(format="rgb24") for picture in pictures]
    with DecodeStage(DecodeConfig(path)) as stage:
        found = stage.next(Span(0, 50))
        assert stage.properties.deinterlaced
    np.testing.assert_allclose(found.times, np.array(times) - times[0], atol=1e-9)
    assert len(found.times) == 30 and found.bad_frames == []
    for index in range(1, 29):
        assert combing(found.frames[index]) < 0.3 * combing(raw[index])
        truth = moving(6.0 * index, 64, 48)  # the first field's moment
        error = np.abs(found.frames[index].astype(int) - truth).mean()
        assert error < 0.5 * np.abs(raw[index].astype(int) - truth).mean(), index


@pytest.mark.parametrize("fps", [None, 10.0])
@pytest.mark.parametrize("name", CLIPS)
def test_going_on_from_any_window_gives_the_same(tmp_path: Path, name: str, fps: float | None) -> None:
    config = DecodeConfig(made(tmp_path / "clip", CLIPS[name]), fps=fps)
    whole, states = run(config, 9, 4)
    for index in range(1, len(whole)):
        rest, later = run(config, 9, 4, index, states[index - 1])
        for one, other in zip(rest, whole[index:], strict=True):
            assert_same(one, other)
        assert comparable(later) == comparable(states[index:])


@pytest.mark.parametrize("name", ["h264", "intra"])
def test_spans_are_read_again_by_seeking(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DecodeConfig(made(tmp_path / "clip", CLIPS[name]))
    with DecodeStage(config) as stage:
        whole = stage.next(Span(0, 50))
    restarts: list[bool] = []
    plain = VideoSource.restart

    def noted(self: VideoSource, careful: bool = False) -> None:
        restarts.append(careful)
        plain(self)

    monkeypatch.setattr(VideoSource, "restart", noted)
    for start in (5, 12, 13, 24, 29):  # every twelfth is a key frame
        images = list(read_span(config, Span(start, 30), whole.digests[start:], float(whole.times[start])))
        np.testing.assert_array_equal(np.stack(images), whole.frames[start:])
    assert restarts == []


def flagged(index: int, interlaced: bool) -> RawFrame:
    picture = av.VideoFrame.from_ndarray(woven(index, 64, 48), format="rgb24").reformat(format="yuv420p")
    with_flag = picture
    if interlaced:
        with_flag = next(iter(_interlaced(picture)))
    return RawFrame(with_flag, index)


def _interlaced(picture: av.VideoFrame) -> list[av.VideoFrame]:
    graph = av.filter.Graph()
    source = graph.add("buffer", f"video_size=64x48:pix_fmt={picture.format.name}:time_base=1/1000")
    field, sink = graph.add("setfield", "tff"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    source.push(picture)
    return [sink.pull()]  # type: ignore[list-item]


def planes(frame: RawFrame) -> bytes:
    return b"".join(bytes(plane) for plane in frame.picture.planes)


def test_mixed_clips_follow_the_flags_wherever_reading_begins() -> None:
    pattern = [False, False, True, True, False, True, False, False, True, True]
    frames = [flagged(index, flag) for index, flag in enumerate(pattern)]
    whole = list(deinterlaced(iter(frames), from_start=True))
    assert [frame.pts for frame in whole] == list(range(10))
    assert [frame.deinterlaced for frame in whole] == pattern
    for before, after, flag in zip(frames, whole, pattern, strict=True):
        assert (planes(before) == planes(after)) != flag, "flagged frames change, no other does"
        assert not after.picture.interlaced_frame
    for start in range(1, 10):
        part = list(deinterlaced(iter(frames[start:]), from_start=False))
        assert [frame.pts for frame in part] == list(range(start + pattern[start], 10))
        for frame in part:
            assert planes(frame) == planes(whole[frame.pts or 0])
    progressive = [frame for frame, flag in zip(frames, pattern, strict=True) if not flag]
    assert list(deinterlaced(iter(progressive), from_start=False)) == progressive, "the very same pictures"


def test_a_change_of_size_is_left_to_the_check_for_it(tmp_path: Path) -> None:
    large = av.VideoFrame(96, 48, "yuv420p")
    frames = [flagged(0, True), flagged(1, True), RawFrame(large, 2)]
    assert [frame.picture.width for frame in deinterlaced(iter(frames), from_start=True)] == [64, 64, 96]


def test_interlaced_hdr_is_mapped_too(tmp_path: Path) -> None:
    clip = replace(H264, frames=6, pixel_format="yuv420p10le", tags=(9, 1, 9, 18))
    with DecodeStage(DecodeConfig(made(tmp_path / "clip.mp4", clip))) as stage:
        found = stage.next(Span(0, 50))
        assert stage.properties.deinterlaced and stage.properties.tone_map.startswith("HLG")
    assert len(found.times) == 6 and found.frames.max() > 100


def test_damage_in_an_interlaced_clip_is_met_the_same_way_everywhere(tmp_path: Path) -> None:
    clip = replace(H264, container="matroska", options=H264.options | {"x264-params": "scenecut=0:mbtree=0"})
    config = DecodeConfig(make_damaged(tmp_path / "clip.mkv", [9, 20], clip))
    whole, states = run(config, 9, 4)
    assert sum(len(window.bad_frames) for window in whole) >= 2
    for index in range(1, len(whole)):
        rest, _ = run(config, 9, 4, index, states[index - 1])
        for one, other in zip(rest, whole[index:], strict=True):
            assert_same(one, other)


def test_a_killed_run_of_an_interlaced_hlg_clip_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """The whole chain, killed after its second window was decoded; the output carries BT.709's tags."""
    case = make_case(tmp_path)
    clip = Clip(13, 96, 64, pixel_format="yuv420p10le", tags=(9, 1, 9, 18), b_frames=0, options=H264.options)
    case = replace(case, video=made(tmp_path / "phone.mp4", clip))
    assert shared_zygote().run(case.run(tmp_path / "whole")).code in (0, 1)
    killed = shared_zygote().run(
        case.run(tmp_path / "run"), hook=("_hooks:signal_after_commits", {"commits": 9, "number": 15})
    )
    assert killed.code == 130, killed.output
    resumed = shared_zygote().run(["resume", str(tmp_path / "run")])
    assert resumed.code in (0, 1), resumed.output
    assert differing(results(tmp_path / "run"), results(tmp_path / "whole")) == []
    with av.open(str(tmp_path / "run" / "output.mp4")) as container:
        picture = next(container.decode(video=0))
    assert (picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc) == (1, 1, 1, 1)
    assert not picture.interlaced_frame
