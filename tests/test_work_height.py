"""--work-height: everything is worked on at that height, and the output is the source's own but for the region."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _crash import Case, differing, make_case, results
from _small_run import HEIGHT, WIDTH, small_clip, small_config, small_mask
from _zygote import Ended, shared_zygote

from stages.base import Array, Inputs
from stages.decode import DecodeConfig, DecodeStage, read_source, read_span
from stages.enlarge import SPECK, enlarged, without_specks
from stages.finishing import regenerated
from stages.prompts import Correction, ObjectPrompt
from stages.resize import reduced, resize_frames
from stages.video.plain import plain_frames
from storage.errors import InputError, UsageError
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.windows import WindowPlan
from stream.options.assembly import decode_config
from stream.options.recorded import read_run
from stream.options.working import at_work

ALL = ("--work-height", "64", "--view", "follow", "--stabilise", "6", "--track-view", "follow", "--match-grain")
SMALL, LARGE = (96, 64), (192, 128)


def skate(arguments: list[str], **given: Any) -> Ended:
    ended = shared_zygote().run(arguments, **given)
    assert "Traceback" not in ended.output, ended.output
    return ended


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("work"), 21, LARGE, 9, 3)


@pytest.fixture(scope="module")
def finished(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    ended = skate(case.run(run, *ALL, "--keep", "all"))
    assert ended.code in (0, 1), ended.output
    assert "; 96x64 at 24 frames/s" in ended.output
    assert "footage  192x128, reduced by --work-height; the output has its own size again" in ended.output
    return run


def test_all_that_is_stored_has_the_height_and_the_output_the_sources_size(finished: Path) -> None:
    arrays = RunReader(finished).arrays
    for name in ("frames", "generated", "masks/object", "masks/person"):
        assert arrays.read(name, 3, 4).shape[1:3] == (64, 96), name
    with av.open(str(finished / "output.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == LARGE
    exactly = resize_frames(np.stack(list(plain_frames(Path(read_run(finished)[1].video)))), SMALL)
    assert np.array_equal(arrays.read("frames", 0, 21), exactly)


def test_outside_the_region_the_output_has_the_sources_detail(finished: Path) -> None:
    """It differs from the source by the encoder alone; frames enlarged from what was worked on would lose more."""
    run = RunReader(finished)
    source = np.stack(list(plain_frames(Path(read_run(finished)[1].video))))
    output = np.stack(list(plain_frames(finished / "output.mp4")))
    frames, made = (run.arrays.read(name, 0, 21) for name in ("frames", "generated"))
    inside = (frames != made).any(3)
    assert inside.any()
    outside = ~np.stack([resize_frames(mask[None, ..., None].repeat(3, 3).astype(np.uint8), LARGE)[0, ..., 0] > 0
                         for mask in inside])  # fmt: skip
    plain = resize_frames(made, LARGE)
    errors = [np.abs(found.astype(int) - source)[outside].mean() for found in (output, plain)]
    assert errors[0] < 0.6 * errors[1]
    region = np.abs(resize_frames(output, SMALL).astype(int) - made)
    assert region[inside].mean() < 12, "and the region is what was made"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["decode.state#2", "sink.arrays#1", "score.state#1"])
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path: Path, case: Case, finished: Path, fault: str) -> None:
    run = tmp_path / "run"
    assert skate(case.run(run, *ALL, "--keep", "all"), fault=fault).code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), results(finished)) == []


def test_killed_or_lost_the_same_is_made_again(tmp_path: Path, case: Case, finished: Path) -> None:
    run = tmp_path / "run"
    assert skate(case.run(run, *ALL), fault="sink.begin#2").code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    assert (run / "output.mp4").read_bytes() == (finished / "output.mp4").read_bytes()
    (run / "segments" / "00001.mp4").unlink()
    assert skate(["resume", str(run)]).code in (0, 1), "its frames were dropped: they are decoded again"
    assert (run / "output.mp4").read_bytes() == (finished / "output.mp4").read_bytes()


def test_verdicts_elsewhere_are_the_runs(tmp_path: Path, finished: Path) -> None:
    iou: list[float] = RunReader(finished).arrays.read("iou", 0, 21).tolist()
    lines = [line for line in skate(["evaluate", str(finished)]).output.splitlines() if line.startswith("Frame ")]
    assert [line.split()[4] for line in lines] == [f"{value:.4f}" for value in iou]
    to = tmp_path / "to"
    assert skate(["export", str(finished), "--to", str(to)]).code == 0
    metadata = json.loads((to / "tracking_metadata.json").read_text())
    given = read_run(finished)[1].prompt
    assert given is not None and given.box is not None
    assert metadata["config"]["prompt"]["box"] == [value / 2 for value in given.box]
    elsewhere = ["evaluate", "--metadata", str(to / "tracking_metadata.json"), "--generated"]
    found = skate([*elsewhere, str(finished / "output.mp4")]).output.splitlines()
    assert [line for line in found if line.startswith("Frame ")] == [line.partition(" by the ")[0] for line in lines]


def test_a_mask_is_refused_and_no_size_is_enlarged(tmp_path: Path) -> None:
    config = replace(small_config(with_mask=True), work_height=64)
    with pytest.raises(UsageError, match=rf"--work-height: {small_mask()} is of the video's size"):
        at_work(config, {"width": 114, "height": 64, "source": [160, 90]})
    assert at_work(config, {"width": 160, "height": 90, "source": None}) is config
    assert reduced((160, 90), None) == reduced((160, 90), 90) == reduced((160, 90), 1080) == (160, 90)
    assert reduced((1920, 1080), 720) == (1280, 720) and reduced((1080, 1920), 960) == (540, 960)
    with DecodeStage(DecodeConfig(small_clip(), height=400)) as decode:
        assert (decode.properties.width, decode.properties.height) == (WIDTH, HEIGHT) and not decode.properties.source


def test_what_is_pointed_at_is_given_in_the_videos_pixels() -> None:
    config = replace(
        small_config(),
        correct=(Correction(4, (10.0, 20.0, 30.0, 40.0)),),
        person_box=(0.0, 0.0, 160.0, 90.0),
        view=(20.0, 10.0, 100.0, 50.0),
        work_height=45,
    )
    found = at_work(config, {"width": 80, "height": 45, "source": [160, 90]})
    assert found.prompt == ObjectPrompt(box=(30.0, 35.0, 50.0, 41.0))
    assert found.correct[0].box == (5.0, 10.0, 15.0, 20.0) and found.person_box == (0.0, 0.0, 80.0, 45.0)
    assert found.view == (10.0, 5.0, 50.0, 25.0)
    pointed = at_work(replace(config, prompt=ObjectPrompt(points=((8.0, 6.0, 1),))), {"width": 80, "height": 45,
                                                                                     "source": [160, 90]})  # fmt: skip
    assert pointed.prompt is not None and pointed.prompt.points == ((4.0, 3.0, 1),)


def test_frames_and_pictures_are_read_again_and_another_video_is_told() -> None:
    config = replace(decode_config(small_config()), height=45)
    with DecodeStage(config) as decode:
        window = next(iter(WindowPlan(9, 3).windows(21)))
        decoded = decode.process(window, Inputs())
    frames, times = decoded.arrays["frames"], decoded.arrays["times"]
    assert frames.shape[1:3] == (45, 80)
    again = list(read_span(config, Span(2, 7), decoded.info["frame_digests"][2:7], float(times[2])))
    assert np.array_equal(np.stack(again), frames[2:7])
    pictures = np.stack(list(read_source(config, Span(2, 7), frames[2:7], times[2:7].tolist())))
    assert pictures.shape[1:3] == (90, 160) and np.array_equal(resize_frames(pictures, (80, 45)), frames[2:7])
    other = frames[2:7].copy()
    other[2] ^= 1
    with pytest.raises(InputError, match="frame 4 is not the one decoded before"):
        list(read_source(config, Span(2, 7), other, times[2:7].tolist()))


def pictured(where: Array) -> tuple[Array, Array, Array]:
    """A source of noise, its frame at a third of the size, and what was generated of that in a region `[h, w]`."""
    rng = np.random.default_rng(3)
    source = rng.integers(0, 200, (90, 120, 3), dtype=np.uint8)
    frame = resize_frames(source[None], (40, 30))[0]
    made = frame.copy()
    made[where] = (250, 20, 40)
    return source, frame, made


def test_only_what_was_regenerated_is_enlarged() -> None:
    where = np.zeros((30, 40), bool)
    where[8:20, 10:30] = True
    source, frame, made = pictured(where)
    found = enlarged(source, frame, made)
    footprint = np.repeat(np.repeat(where, 3, 0), 3, 1)
    assert np.array_equal(found[~footprint], source[~footprint])
    inside = np.zeros_like(footprint)
    inside[36:48, 42:78] = True
    assert (np.abs(found[inside].astype(int) - (250, 20, 40)) <= 1).all()
    assert (found != source).any(2)[24:60, 30:90].mean() > 0.99
    assert enlarged(source, frame, frame) is source


def test_what_is_as_it_was_by_chance_is_no_hole() -> None:
    where = np.zeros((30, 40), bool)
    where[8:20, 10:30] = True
    _, frame, made = pictured(where)
    made[12, 15] = frame[12, 15]
    assert without_specks(regenerated(frame, made))[12, 15], "a speck"
    made[14:17, 18:22] = frame[14:17, 18:22]
    assert SPECK <= 12 and not without_specks(regenerated(frame, made))[14:17, 18:22].any(), (
        "a hole between arm and body"
    )
    small = frame.copy()
    small[:28] = 255 - frame[:28]
    assert (
        not without_specks(regenerated(frame, frame)).any()
        and without_specks(regenerated(frame, small)).sum() == 28 * 40
    )
