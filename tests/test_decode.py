"""Decoding: what kinds of video come out right, and which are refused."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import _clips
import numpy as np
import pytest
from _clips import Clip, make, raw_frames

from stages.base import Array, Inputs, Window
from stages.decode import DecodeConfig, Decoded, DecodeStage, VideoProperties
from storage.errors import InputError, UsageError
from storage.spans import Span


def decode(path: Path, frames: int = 400, **options: object) -> tuple[Decoded, VideoProperties]:
    """The whole clip in one window."""
    with DecodeStage(DecodeConfig(path, **options)) as stage:  # type: ignore[arg-type]
        return stage.next(Span(0, frames)), stage.properties


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        decode(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and ": " in message
    return message


@pytest.mark.parametrize(
    "clip",
    [
        Clip(),
        Clip(width=63, height=47, pixel_format="yuv444p"),
        Clip(pixel_format="yuv420p10le"),
        Clip(tags=(1, 2, 1, 1)),
        Clip(tags=(1, 1, 1, 1)),
        Clip(tags=(6, 1, 6, 6)),
        Clip(pixel_format="yuv422p", codec="ffv1", container="matroska"),
        Clip(pixel_format="yuv420p", codec="libvpx-vp9", container="webm", options={"deadline": "realtime"}),
        Clip(pixel_format="yuv420p", codec="mpeg4", container="avi", b_frames=0, rate=Fraction(25)),
        Clip(pixel_format="bgr8", codec="gif", container="gif", rate=Fraction(25)),
    ],
    ids=lambda clip: f"{clip.codec}-{clip.pixel_format}-{clip.width}-{clip.tags[0]}{clip.tags[1]}",
)
def test_pixels_and_times_are_those_of_pyav(tmp_path: Path, clip: Clip) -> None:
    path = make(tmp_path / "clip", clip)
    images, seconds = raw_frames(path)
    found, properties = decode(path)
    assert found.last and found.bad_frames == [] and len(found.times) == clip.frames
    np.testing.assert_array_equal(found.frames, images)
    np.testing.assert_allclose(found.times, seconds - seconds[0], atol=1e-9)
    assert (properties.width, properties.height) == (clip.width, clip.height)
    assert found.frames.flags["C_CONTIGUOUS"] and found.frames.dtype == np.uint8


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, rotation: int, mirror: bool) -> None:
    path = make(tmp_path / "clip.mp4", Clip(frames=3, rotation=rotation, mirror=mirror, aspect=(4, 3)))
    images, _ = raw_frames(path)
    upright = np.stack([np.rot90(image, rotation // 90) for image in images])
    if mirror:
        upright = upright[:, :, ::-1]
    found, properties = decode(path)
    np.testing.assert_array_equal(found.frames, upright)
    turned = rotation in (90, 270)
    assert (properties.width, properties.height) == ((48, 64) if turned else (64, 48))
    assert properties.sample_aspect_ratio == ((3, 4) if turned else (4, 3))
    assert mirror or properties.rotation_degrees == rotation


def test_variable_rate_and_start_are_kept_relative(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).choice([1 / 24, 1 / 60, 0.1, 0.5], 39)
    times = [0.0, *np.cumsum(steps)]
    for start in (0.0, 3.5):
        path = make(tmp_path / f"{start}.mkv", Clip(40, times=times, container="matroska", start_seconds=start))
        found, _ = decode(path)
        np.testing.assert_allclose(found.times, times, atol=1.1e-3)  # Matroska's stamps are milliseconds


def test_missing_stamps_follow_the_claimed_rate(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.h264", Clip(20, container="h264", rate=Fraction(25)))
    found, _ = decode(path)
    np.testing.assert_allclose(found.times, np.arange(20) / 25, atol=1e-9)


def test_how_long_it_claims_to_be_is_read_of_every_container(tmp_path: Path) -> None:
    for suffix, container, start in (("mp4", "mp4", 0.0), ("mkv", "matroska", 0.0), ("mkv", "matroska", 3.5)):
        path = make(tmp_path / f"{start}.{suffix}", Clip(24, container=container, start_seconds=start))
        assert decode(path)[1].claimed_seconds == pytest.approx(1.0, abs=2e-3)
    # as YouTube's own WebM: the file's length, no tag
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"DURATIOM"))
    assert decode(path)[1].claimed_seconds == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("fps", [12.0, 24.0, 30.0, 60.0])
def test_fps_shows_the_nearest_earlier_frame(tmp_path: Path, fps: float) -> None:
    path = make(tmp_path / "clip.mp4", Clip(24))
    source, _ = decode(path)
    found, _ = decode(path, fps=fps)
    np.testing.assert_allclose(found.times, np.arange(round(fps)) / fps)
    shown = [int(np.flatnonzero(source.times <= t + 1e-9)[-1]) for t in found.times]
    np.testing.assert_array_equal(found.frames, source.frames[shown])


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video\n")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (text, empty, playlist, pipe, tmp_path, tmp_path / "absent.mp4"):
        refusal(path)


@pytest.mark.parametrize(("tags", "word"), [((9, 1, 9, 16), "PQ"), ((9, 1, 9, 18), "HLG"), ((8, 1, 1, 1), "matrix 8")])
def test_colours_that_would_be_misread_are_refused(tmp_path: Path, tags: tuple[int, int, int, int], word: str) -> None:
    path = make(tmp_path / "clip.mp4", Clip(2, tags=(9, 1, 9, 9), pixel_format="yuv420p10le"))
    assert decode(path)[1].colour_matrix == 9
    names = {8: "ycgco", 9: "bt2020nc"}, {16: "smpte2084", 18: "arib-std-b67", 1: "bt709"}
    params = f"colormatrix={names[0][tags[0]]}:transfer={names[1][tags[3]]}"
    path = make(tmp_path / "hdr.mp4", Clip(2, pixel_format="yuv420p10le", options={"x264-params": params}))
    assert word in refusal(path, hdr="refuse")


def test_audio_only_and_changing_size_are_refused(tmp_path: Path) -> None:
    assert "audio" in refusal(_clips.make_audio_only(tmp_path / "sound.mp4"))
    assert "64x48" in refusal(_clips.make_changing_size(tmp_path / "size.h264"))


def test_what_no_encoder_takes_is_refused_before_any_work(tmp_path: Path) -> None:
    for width, height, made in ((16384, 8, True), (16386, 8, False), (8, 16386, False)):
        clip = Clip(1, width, height, "yuv420p", "ffv1", "matroska", b_frames=0)
        path = make(tmp_path / f"{width}x{height}.mkv", clip)
        if made:
            assert len(decode(path)[0].times) == 1
        else:
            assert f"{width}x{height}: a side has more than the 16384 pixels" in refusal(path)


def test_limits_are_options(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(6, times=[0, 0.1, 0.2, 30.0, 30.1, 30.2]))
    assert "64x48" in refusal(path, max_pixels=64 * 48 - 1)
    assert "30 seconds" in refusal(path, max_gap_seconds=20.0)
    assert len(decode(path, max_pixels=64 * 48)[0].times) == 6
    for wrong in ({"fps": 0.0}, {"fps": float("nan")}, {"max_bad_frames": -1}, {"max_pixels": 0}):
        with pytest.raises(UsageError):
            DecodeConfig(path, **wrong)


def test_a_cut_file_ends_where_decoding_ends(tmp_path: Path) -> None:
    path = _clips.make_truncated(tmp_path / "cut.mkv", 0.6, Clip(60))
    whole = make(tmp_path / "whole.mkv", Clip(60, container="matroska"))
    found, _ = decode(path)
    assert 20 < len(found.times) < 60
    good = len(found.times) - 2
    np.testing.assert_array_equal(found.frames[:good], raw_frames(whole)[0][:good])


@pytest.mark.parametrize("codec", ["libx264", "ffv1", "libvpx-vp9"])
def test_damaged_frames_are_counted_and_concealed(tmp_path: Path, codec: str) -> None:
    clip = Clip(30, codec=codec, container="matroska", key_every=1 if codec == "libx264" else 6, b_frames=0)
    path = _clips.make_damaged(tmp_path / "clip.mkv", [12, 13], clip)
    images, times = raw_frames(tmp_path / "clip.whole")
    found, _ = decode(path)
    np.testing.assert_allclose(found.times, times - times[0], atol=1e-9)
    assert found.bad_frames[:2] == [12, 13]
    np.testing.assert_array_equal(found.frames[[12, 13]], images[[11, 11]])
    sound = [i for i in range(30) if i < 12 or i >= 18]
    np.testing.assert_array_equal(found.frames[sound], images[sound])
    assert "--max-bad-frames" in refusal(path, max_bad_frames=1)
    assert len(decode(path, max_bad_frames=6)[0].times) == 30


def test_process_follows_the_stage_contract(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(9))
    with DecodeStage(DecodeConfig(path)) as stage:
        wanted = Window(0, Span(0, 81), Span(0, 81), Span(0, 60), last=False, padded_frames=81)
        output = stage.process(wanted, Inputs())
    assert set(output.arrays) == {port.name for port in DecodeStage.writes} and output.info["frames"] == 9
    assert output.info["last"] is True and output.info["clip_frames_min16"] == 9
    assert len(output.info["frame_digests"]) == 9 == len(set(output.info["frame_digests"]))


def test_real_clips_when_they_are_there() -> None:
    folder = Path(os.environ.get("SKATE_CLIPS", "../shared/clips"))
    path = folder / "skateboarder.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set SKATE_CLIPS")
    with DecodeStage(DecodeConfig(path)) as stage:
        found = stage.next(Span(0, 5))
    images: list[Array] = []
    import av

    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            images.append(picture.to_ndarray(format="rgb24"))
            if len(images) == 5:
                break
    np.testing.assert_array_equal(found.frames, np.stack(images))
    assert not found.last and found.clip_frames_min16 == 16
    assert replace(DecodeConfig(path), fps=12.0).fps == 12.0
