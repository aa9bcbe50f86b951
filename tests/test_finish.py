"""The end of a run: its videos belong to what it is now, and a source that was damaged or cut off is named."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from _clips import Clip, make
from _crash import Case, copied, make_case
from _runs import CLIP_OPTIONS, invoke, small_clip, small_models
from _zygote import Ended, shared_zygote

from storage.rundir import RunReader, read_log
from stream.options.recorded import read_run
from stream.report.comparison import write_comparison
from stream.run.status import Status, read_status, status_text

OTHER = ("--seed", "11", "--prompt", "brushed steel")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """A finished run with a comparison that can be redone."""
    folder = tmp_path_factory.mktemp("finish")
    case = make_case(folder, frames=11)
    case = Case(case.video, (*case.options, "--keep", "all"))
    skate(case.run(folder / "made", "--comparison"))
    return case, folder / "made"


def skate(arguments: list[str], fault: str | None = None) -> Ended:
    ended = shared_zygote().run(arguments, fault=fault)
    assert "Traceback" not in ended.output and ended.code in ((0, 1) if fault is None else (-9,)), ended.output
    return ended


def compared(run: Path) -> bytes:
    return (run / "comparison.mp4").read_bytes()


def damaged(run: Path) -> list[str]:
    return read_status(run, verify=True).damaged


def test_the_comparison_is_that_of_the_new_prompt(made: tuple[Case, Path], tmp_path: Path) -> None:
    case, finished = made
    fresh, run = tmp_path / "fresh", copied(finished, tmp_path)
    skate(case.run(fresh, "--comparison", *OTHER))
    skate(case.run(run, "--comparison", "--overwrite", *OTHER), fault="finish.report")
    assert compared(run) == compared(finished), "the old one stays until the new one has finished"
    skate(["resume", str(run)])
    assert compared(run) == compared(fresh) != compared(finished)
    assert damaged(run) == []


def test_the_comparison_is_that_of_the_redone_window(made: tuple[Case, Path], tmp_path: Path) -> None:
    run = copied(made[1], tmp_path)
    skate(["redo", str(run), "--windows", "1", "--seed", "9"])
    write_comparison(RunReader(run), read_run(run)[1], tmp_path / "anew.mp4")
    assert compared(run) == (tmp_path / "anew.mp4").read_bytes() != compared(made[1])


@pytest.mark.parametrize("way", ["cut", "gone"])
def test_a_damaged_comparison_is_found_and_made_again(made: tuple[Case, Path], tmp_path: Path, way: str) -> None:
    run = copied(made[1], tmp_path)
    if way == "cut":
        (run / "comparison.mp4").write_bytes(compared(run)[:-500])
    else:
        (run / "comparison.mp4").unlink()
    assert damaged(run) == ["comparison.mp4"]
    skate(["resume", str(run)])
    assert compared(run) == compared(made[1]) and damaged(run) == []


def test_a_comparison_drawn_otherwise_replaces_a_lost_one(
    made: tuple[Case, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(made[1], tmp_path)
    (run / "comparison.mp4").unlink()
    monkeypatch.setattr("stream.report.comparison.PAPER", (90, 0, 0))  # as another version of Pillow might
    assert invoke(["resume", str(run)]).code in (0, 1)
    assert compared(run) != compared(made[1]) and damaged(run) == []


def test_a_comparison_may_be_asked_for_later_and_stays(made: tuple[Case, Path], tmp_path: Path) -> None:
    case, finished = made
    run = tmp_path / "run"
    skate(case.run(run))
    assert not (run / "comparison.mp4").exists()
    skate(case.run(run, "--comparison"))
    assert compared(run) == compared(finished)
    ended = skate(case.run(run))
    assert f"compare  {run / 'comparison.mp4'}" in ended.output and damaged(run) == []


def test_masks_alone_leave_no_video_of_before(made: tuple[Case, Path], tmp_path: Path) -> None:
    case, finished = made
    run = copied(finished, tmp_path)
    ended = skate(["extract", *case.run(run)[1:], "--overwrite"])
    assert "output " not in ended.output and "compare " not in ended.output
    assert not list(run.glob("*.mp4")) and damaged(run) == []
    log = read_log(run)
    assert log.finished is not None and set(log.finished["files"]) == {"report/iou.csv"}


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A clip of 20 frames whose header is whole and whose last third is missing, and options for it."""
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "cut.mp4"
    with (
        av.open(str(small_clip(folder))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: round(0.632 * len(data))])
    yield path, ["--box", "60,60,110,85", *small_models(folder), *CLIP_OPTIONS]


def test_a_video_that_was_cut_off_is_named(cut_off: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, options = cut_off
    run = tmp_path / "run"
    lines = invoke(["extract", str(path), "--out", str(run), *options]).out.splitlines()
    done = json.loads(invoke(["resume", str(run), "--json"]).out.splitlines()[-1])
    frames = done["frames"]
    assert done["claimed_frames"] == 20 and 8 < frames < 14 and done["bad_frames"] == 1
    told = f"the header claims 20 frames, {frames} could be decoded: the file may be cut off, fetch it again"
    assert f"short    {told}" in lines and "damaged  1 source frame concealed by the last good one" in lines
    assert done["cut_short"] == told == json.loads((run / "report" / "summary.json").read_text())["cut_short"]
    assert f"The source is short: {told}" in (run / "report" / "index.html").read_text()


def test_a_matroska_that_was_cut_off_is_named_by_its_seconds(cut_off: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, run = make(tmp_path / "clip.mkv", Clip(20, 160, 90, container="matroska", key_every=4)), tmp_path / "run"
    data = path.read_bytes()
    path.write_bytes(data[: round(0.632 * len(data))])
    ended = invoke(["extract", str(path), "--out", str(run), *cut_off[1]])
    assert "plan     about 20 frames" in ended.err
    assert "short    the header claims 0.83 s, 0." in ended.out and "fetch it again" in ended.out


def test_a_resampled_video_that_was_cut_off_is_named_by_its_seconds(
    cut_off: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path, options = cut_off
    result = invoke(["extract", str(path), "--out", str(tmp_path / "run"), *options, "--fps", "12"])
    assert result.code == 0 and "short    the header claims 0.83 s, 0." in result.out


def test_damage_is_told_with_what_repairs_it() -> None:
    found = Status(Path("my run"), 9, 1, {"decode": 1}, "done", ["output.mp4"], None, None, None, None)
    assert status_text(found).splitlines()[-2:] == [
        "damaged   output.mp4",
        "next      `skate resume 'my run'` repairs it",
    ]
