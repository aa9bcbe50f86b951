"""Segments and their joining: exact times, the source's colours, the same bytes every time."""

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _clips import Clip, make, picture_rgb

from stages.base import Array, Inputs, Window
from stages.decode import DecodeConfig, DecodeStage
from stages.sink import ColourTags, EncoderSettings, SinkStage, join_segments, read_segment, segment_name
from stages.video.encode import TICKS_PER_SECOND, ticks
from storage.durable import file_sha256
from storage.errors import RunDirectoryError, UsageError
from storage.spans import Span
from stream.demo import DemoConfig
from stream.demo.clip import write_clip


def clip_of(frames: int, width: int = 64, height: int = 48) -> Array:
    return np.stack([picture_rgb(index, width, height) for index in range(frames)])


def sink(folder: Path, images: Array, times: Array, cuts: list[int], **options: object) -> list[Path]:
    """Encode `images` cut at `cuts`; gives the segments."""
    height, width = images.shape[1:3]
    paths = []
    with SinkStage(EncoderSettings(width, height, **options)) as stage:  # type: ignore[arg-type]
        for index, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(images)], strict=True)):
            span = Span(start, stop)
            window = Window(index, span, span, span, last=stop == len(images), padded_frames=span.frames)
            part = slice(*span)
            output = stage.process(window, Inputs({"generated": images[part], "times": times[part]}, folder=folder))
            path = folder / str(output.info["segment"])
            assert output.info == {
                "segment": segment_name(index),
                "sha256": file_sha256(path),
                "bytes": path.stat().st_size,
                "frames": stop - start,
            }
            paths.append(path)
    assert sorted(folder.iterdir()) == paths
    return paths


def seconds_of(ticks: int | None, base: Fraction | None) -> float:
    assert ticks is not None and base is not None
    return float(ticks * base)


def read(path: Path) -> tuple[Array, Array]:
    with av.open(str(path)) as container:
        found = [(p.to_ndarray(format="rgb24"), seconds_of(p.pts, p.time_base)) for p in container.decode(video=0)]
    return np.stack([image for image, _ in found]), np.array([seconds for _, seconds in found])


@pytest.mark.parametrize(
    "times",
    [
        np.arange(50) / 24,
        np.arange(50) * 1001 / 24000,
        np.arange(50) * 1001 / 60000,
        0.2 + np.cumsum(np.random.default_rng(0).uniform(0.004, 0.9, 50)),
    ],
    ids=["24", "23.976", "59.94", "variable"],
)
@pytest.mark.parametrize("cuts", [[], [20, 40], [20, 49]])
def test_joining_keeps_every_frame_and_its_time(tmp_path: Path, times: Array, cuts: list[int]) -> None:
    images = clip_of(50)
    paths = sink(tmp_path / "segments", images, times, cuts)
    output = tmp_path / "output.mp4"
    join_segments(paths, output, times)
    joined, seconds = read(output)
    np.testing.assert_array_equal(joined, np.concatenate([np.stack(list(read_segment(p, 48, 64))) for p in paths]))
    np.testing.assert_allclose(seconds, times - times[0], atol=0.51 / TICKS_PER_SECOND * 2)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["output.mp4"]
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0 and stream.frames == 50
        expected = times[-1] - times[0] + times[-1] - times[-2]
        assert abs(seconds_of(stream.duration, stream.time_base) - expected) < 3 / TICKS_PER_SECOND


def test_a_folder_that_reads_as_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, times = Path("host:8188"), np.arange(4) / 24
    folder.mkdir()
    join_segments(sink(folder / "segments", clip_of(4), times, [2]), folder / "output.mp4", times)
    write_clip(DemoConfig(frames=2, width=64, height=64), folder / "demo.mp4")
    assert sorted(path.name for path in folder.iterdir()) == ["demo.mp4", "output.mp4", "segments"]


def dirty_the_heap(value: int) -> None:
    """Fill memory that the next allocations will find."""
    for size in (500, 1000, 5000, 20000, 60000, 100000):
        blocks = [np.full(size, value, np.uint8) for _ in range(20)]
        del blocks


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (200, 112)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, size: tuple[int, int]) -> None:
    images, times = clip_of(40, *size), np.arange(40) / 24
    digests = set()
    for attempt, value in enumerate((0, 255, 128, 37, 255)):
        dirty_the_heap(value)
        paths = sink(tmp_path / str(attempt), images, times, [20])
        join_segments(paths, tmp_path / "output.mp4", times)
        digests.add((*(file_sha256(path) for path in paths), file_sha256(tmp_path / "output.mp4")))
    assert len(digests) == 1


def test_a_segment_depends_on_its_own_frames_alone(tmp_path: Path) -> None:
    images, times = clip_of(40), np.arange(40) / 24
    whole = sink(tmp_path / "a", images, times, [20])
    alone = sink(tmp_path / "b", images[20:], times[20:], [])
    assert whole[1].read_bytes() == alone[0].read_bytes()


def test_segments_are_closed_and_without_b_frames(tmp_path: Path) -> None:
    (path,) = sink(tmp_path, clip_of(30), np.arange(30) / 24, [])
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert packets[0].is_keyframe and all(packet.pts == packet.dts for packet in packets)
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (1, 1)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    images, times = clip_of(5, width, height), np.arange(5) / 24
    (path,) = sink(tmp_path, images, times, [], crf=1)
    coded, _ = read(path)
    assert coded.shape[1:3] == (height + height % 2, width + width % 2)
    back = np.stack(list(read_segment(path, height, width)))
    np.testing.assert_array_equal(back, coded[:, :height, :width])
    assert np.abs(coded[:, -1].astype(int) - coded[:, height - 1]).mean() < 2
    assert np.abs(back.astype(int) - images).mean() < 3


TAGS = {
    "untagged": (2, 0, 2, 2),
    "bt709": (1, 1, 1, 1),
    "bt601": (6, 1, 6, 6),
    "bt470bg": (5, 1, 5, 5),
    "bt2020 sdr": (9, 1, 9, 14),
    "full range": (1, 2, 1, 13),
    "full range untagged": (2, 2, 2, 2),
}


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
def test_an_untouched_clip_comes_out_with_its_colours(
    tmp_path: Path, tags: tuple[int, int, int, int], pixel_format: str
) -> None:
    """Decoded, encoded, decoded: the mean of every channel within 0.8 levels, every pixel within the coding's noise."""
    path = make(tmp_path / "clip.mp4", Clip(8, tags=tags, pixel_format=pixel_format))
    with DecodeStage(DecodeConfig(path)) as stage:
        source = stage.next(Span(0, 81))
        colour = stage.properties.colour
    (segment,) = sink(tmp_path / "segments", source.frames, source.times, [], colour=colour, crf=4)
    with DecodeStage(DecodeConfig(segment)) as stage:
        back = stage.next(Span(0, 81))
        assert stage.properties.colour == colour
    difference = back.frames.astype(float) - source.frames
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.8
    assert np.abs(difference).mean() < 1.6 and np.abs(difference).max() < 14


def test_black_and_white_stay(tmp_path: Path) -> None:
    images = np.zeros((4, 48, 64, 3), np.uint8)
    images[:, :, 32:] = 255
    for value_range in (1, 2):
        tags = ColourTags(1, value_range, 1, 1)
        (path,) = sink(tmp_path / str(value_range), images, np.arange(4) / 24, [], colour=tags)
        back = next(read_segment(path, 48, 64))
        assert back[:, :24].max() <= 1 and back[:, 40:].min() >= 254


def test_aspect_and_tags_are_written_to_the_output(tmp_path: Path) -> None:
    images, times = clip_of(6), np.arange(6) / 24
    tags = ColourTags(1, 1, 1, 1)
    paths = sink(tmp_path / "segments", images, times, [3], colour=tags, sample_aspect_ratio=(4, 3))
    join_segments(paths, tmp_path / "output.mp4", times)
    with DecodeStage(DecodeConfig(tmp_path / "output.mp4")) as stage:
        assert stage.properties.colour == tags and stage.properties.sample_aspect_ratio == (4, 3)


def test_segments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, times = clip_of(20), np.arange(20) / 24
    paths = sink(tmp_path / "a", images, times, [10])
    other = sink(tmp_path / "b", clip_of(10, 80, 48), times[:10], [])
    output = tmp_path / "output.mp4"
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(paths[1].read_bytes()[:-400])
    for segments, stamps in (
        ([paths[0]], times),
        ([*paths, *paths], times),
        ([paths[0], *other], times),
        ([paths[0], tmp_path / "absent.mp4"], times),
        ([paths[0], damaged], times),
    ):
        with pytest.raises(RunDirectoryError, match="verify"):
            join_segments(segments, output, stamps)
        assert not output.exists() and not list(tmp_path.glob("*.partial"))
    for path, size in ((tmp_path / "absent.mp4", (48, 64)), (damaged, (48, 64)), (paths[0], (48, 66))):
        with pytest.raises(RunDirectoryError, match="verify"):
            list(read_segment(path, *size))


def test_a_full_disk_leaves_no_piece_behind(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    folder = tmp_path / "segments"
    folder.mkdir()
    (folder / "00000.mp4.partial").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        sink(folder, clip_of(10), np.arange(10) / 24, [])
    assert caught.value.errno == errno.ENOSPC
    assert list(folder.iterdir()) == []


def test_times_must_rise_by_a_tick() -> None:
    assert ticks(np.array([0.0, 1 / 24])) == [0, 5000]
    with pytest.raises(ValueError, match="rise"):
        ticks(np.array([0.0, 0.5, 0.5]))


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"crf": 52}, {"fps": 0.0}):
        with pytest.raises(UsageError):
            EncoderSettings(64, 48, **wrong)
