"""Hostile files: whatever the bytes, decoding ends, in frames or in one line."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _clips import Clip, make, mutate

from stages.base import Array
from stages.decode import DecodeConfig, Decoded, DecodeStage
from stages.video.limits import VideoLimits
from stages.video.reader import VideoReader
from storage.errors import InputError
from storage.spans import Span

LIMIT_SECONDS = 20.0
BASES = {
    "mp4": Clip(40, options={"x264-params": "scenecut=0:mbtree=0:threads=1"}),
    "matroska": Clip(40, container="matroska", times=[0.04 * i + 0.01 * (i % 3) for i in range(40)]),
    "mpegts": Clip(40, container="mpegts"),
    "avi": Clip(40, container="avi", codec="mpeg4", b_frames=0),
    "webm": Clip(40, container="webm", codec="libvpx-vp9", options={"deadline": "realtime"}),
}


Parts = tuple[dict[str, Any], dict[str, Array]]


def windows(path: Path, state: Parts | None = None, first: int = 0) -> list[Decoded]:
    """Every window of 17 frames, from `first` on."""
    found = []
    with DecodeStage(DecodeConfig(path, max_bad_frames=20)) as stage:
        if state is not None:
            stage.set_state(*state)
        for index in range(first, 200):
            found.append(stage.next(Span(index * 17, index * 17 + 17)))
            if found[-1].last:
                return found
    raise AssertionError("more frames than the file can hold")


def mutated(folder: Path, seed: int) -> Path:
    names = sorted(BASES)
    name = names[seed % len(names)]
    base = folder / f"base.{name}"
    if not base.exists():
        make(base, BASES[name])
    path = folder / f"{seed}.{name}"
    path.write_bytes(mutate(base.read_bytes(), seed))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("seed", range(20))
def test_mutated_files_end_in_frames_or_in_a_refusal(
    folder: Path, seed: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = mutated(folder, seed)
    caplog.set_level(logging.DEBUG)
    started = time.perf_counter()
    try:
        found = windows(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        times = np.concatenate([window.times for window in found])
        assert times[0] == 0 and (np.diff(times) > 0).all() and len(times) <= 80
    assert time.perf_counter() - started < LIMIT_SECONDS
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", [0, 4, 5, 10, 12, 14, 16])
def test_mutated_files_go_on_as_they_began(folder: Path, seed: int) -> None:
    path = mutated(folder, seed)
    try:
        whole = windows(path)
    except InputError:
        return  # refused before: nothing to go on with
    with DecodeStage(DecodeConfig(path, max_bad_frames=20)) as stage:
        first = stage.next(Span(0, 17))
        state = stage.get_state().to_parts()
    if first.last:
        return
    for one, other in zip(windows(path, state, 1), whole[1:], strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.times, other.times)
        assert one.bad_frames == other.bad_frames


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", Clip(40, container="matroska"))
    with DecodeStage(DecodeConfig(path)) as stage:
        stage.next(Span(0, 5))
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(InputError, match="changed while"):
            stage.next(Span(5, 100))


def test_a_file_that_is_unlinked_is_still_read_to_its_end(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", Clip(40, container="matroska"))
    with DecodeStage(DecodeConfig(path)) as stage:
        stage.next(Span(0, 5))
        path.unlink()
        assert len(stage.next(Span(5, 100)).times) == 35


@pytest.mark.parametrize("name", ["hole.h264", "hole.HEVC", "hole.m4v"])
def test_bare_codec_data_without_end_is_refused_before_it_is_gathered(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    os.truncate(path, 1 << 40)  # it takes no room
    with pytest.raises(InputError, match="from byte 0 on hold no picture"):
        VideoReader(path, VideoLimits())


def test_bare_codec_data_that_ends_in_a_hole_is_refused(tmp_path: Path) -> None:
    base = make(tmp_path / "clip.h264", Clip(frames=3, container="h264"))
    with VideoReader(base, VideoLimits()) as reader:
        assert reader.container.format.name == "h264"
    named_otherwise = base.rename(tmp_path / "clip.dat")  # its content tells what it is
    os.truncate(named_otherwise, 1 << 40)
    with pytest.raises(InputError, match="from byte 33554432 on hold no picture"):
        VideoReader(named_otherwise, VideoLimits())
