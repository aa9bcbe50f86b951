"""The closed loop, on stages so simple that the best attempt is known: a white object, painted off its place."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.base import MASK, PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.blend import BlendConfig, BlendStage
from stages.generator import GeneratorStage, Request
from stages.prompts import Correction, ObjectPrompt
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.windows import WindowPlan
from stream.options.config import RunConfig
from stream.pipeline import Pipeline
from stream.progress.events import Reporter
from stream.run.attempts import ClosedLoop, request_of

PLAN = WindowPlan(5, 2)
FRAMES, HEIGHT, WIDTH = 14, 8, 24
FIRST_COLUMN, OBJECT = 4, slice(4, 12)


class Decode(Stage):
    """Of a clip with a hard cut before frame `cut`, where that is not 0."""

    name = "decode"
    cut = 0
    writes = (Port("times", "new", (), "float64"), Port("frames", "new", PICTURE, "uint8", "until_read"))

    def process(self, window: Window, inputs: Inputs) -> Output:
        end = self.cut if window.new.start < self.cut else FRAMES
        stop = min(window.new.stop, end)
        count = stop - window.new.start
        frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
        times = np.arange(window.new.start, stop) / 10
        facts = {"frames": count, "last": stop == FRAMES, "cut": stop == self.cut}
        return Output({"frames": frames, "times": times}, facts)


class Track(Stage):
    name = "track"
    reads = (Read("frames", "new"),)
    writes = (
        Port("masks/object", "new", MASK, "bool"),
        Port("masks/person", "new", MASK, "bool"),
        Port("place", "window", (), "uint8", "window"),
    )
    lane = "gpu"
    told_to_leave = 0

    def leave_gpu(self) -> None:
        self.told_to_leave += 1

    def process(self, window: Window, inputs: Inputs) -> Output:
        masks = np.zeros((window.new.frames, HEIGHT, WIDTH), bool)
        masks[:, :, OBJECT] = True
        place = np.array([OBJECT.start, OBJECT.stop], np.uint8)
        return Output({"masks/object": masks, "masks/person": masks & False, "place": place})


@dataclass
class Count(State):
    windows: int = 0


class Generate(GeneratorStage):
    """Paints the object `shifts[window][attempt]` columns off its place, which every attempt reads once more."""

    name = "generate"
    lane = "server"
    reads = (
        Read("frames", "read"),
        Read("place", "window"),
        Read("generated", "context", -1),
        Read("overlap", "window", -1),
    )
    writes = (Port("raw", "window", PICTURE, "uint8", "window"),)

    def __init__(self, shifts: Sequence[Sequence[int]], track: Track) -> None:
        self.shifts, self.track = shifts, track
        self.calls: list[tuple[int, int, tuple[int, int] | None, float | None]] = []
        self.state = Count()

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        assert self.state.windows == window.index, "an attempt starts from the state before its window"
        attempt = request.number
        self.calls.append((window.index, attempt, request.dilate, request.strength))
        left = self.track.told_to_leave
        assert left in (0, len(self.calls)), "models leave the GPU before every attempt, or never"
        self.state = Count(window.index + 1)
        raw = inputs.arrays["frames"].copy()
        shift = self.shifts[window.index][attempt]
        start, stop = inputs.arrays["place"] + shift
        raw[:, :, start:stop] = 255
        return Output({"raw": raw}, {"attempt": attempt})

    def get_state(self) -> Count:
        return Count(self.state.windows)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        self.state = Count.from_parts(values, arrays)


class Sink(Stage):
    name = "sink"
    reads = (Read("generated", "final"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        name = f"{window.index:05d}.mp4"
        (inputs.folder / name).write_bytes(inputs.arrays["generated"].tobytes())
        return Output(info={"segment": name, "sha256": "0" * 64})


class Score(Stage):
    """IoU of white pixels with the mask; judges the segment, as the real one does."""

    name = "score"
    lane = "gpu"
    reads = (Read("masks/object", "final"),)
    facts = ("sink",)
    writes = (Port("iou", "final", (), "float32", fill=float("nan")),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        masks = inputs.arrays["masks/object"]
        data = (inputs.folder / inputs.info["sink"]["segment"]).read_bytes()
        white = np.frombuffer(data, np.uint8).reshape(*masks.shape, 3)[..., 0] > 127
        iou = [float((w & m).sum() / (w | m).sum()) for w, m in zip(white, masks, strict=True)]
        seen = [bool(w.any()) for w in white]
        return Output({"iou": np.array(iou, np.float32)}, {"iou": iou, "visible": seen})


class Source:
    """Frames are never dropped here."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def read(self, span: Any) -> Array:
        return self.run.arrays.read("frames", *span)

    def close(self) -> None:
        pass


def process(
    path: Path,
    shifts: Sequence[Sequence[int]],
    retries: int,
    stop_after: int | None = None,
    by_turns: bool = False,
    ahead: int = 0,
    kept: bool = False,
    corrected: tuple[Correction, ...] = (),
) -> Generate:
    manifest = {"format": FORMAT_VERSION, "video": {"height": HEIGHT, "width": WIDTH}}
    track = Track()
    generate = Generate(shifts, track)
    blend = BlendStage(BlendConfig(PLAN.window, PLAN.overlap))
    chain = Chain([Decode(), track, generate, blend, Sink(), Score()])
    with RunDirectory(path, chain.layout(HEIGHT, WIDTH), manifest) as run:
        source: Any = Source(run)
        if kept:
            run.keep_all()
        pipeline = Pipeline(Executor(run, chain, source, by_turns), PLAN, Reporter(), keep="all", ahead=ahead)
        config = RunConfig(
            ObjectPrompt(box=(0, 0, 1, 1)), correct=corrected, retries=retries, dilate=(8, 2), iou_threshold=0.9
        )
        loop = ClosedLoop(pipeline.executor, config, print)
        pipeline.retry = loop.improve if stop_after is None else stopping(loop.improve, stop_after)
        pipeline.process()
    return generate


def stopping(improve: Callable[..., None], after: int) -> Callable[..., None]:
    """Interrupt the run after so many windows have been through the loop."""
    seen = 0

    def wrapped(window: Window, commit: Any) -> None:
        nonlocal seen
        improve(window, commit)
        seen += 1
        if seen == after:
            raise KeyboardInterrupt

    return wrapped


def result(path: Path) -> tuple[list[float], list[int]]:
    """IoU of every frame, and the attempt that stands in every window."""
    run = RunReader(path)
    iou = [value for record in run.log.of("score") for value in record["info"]["iou"]]
    return iou, [record["info"]["attempt"] for record in run.log.of("generate")]


WINDOWS = PLAN.count(FRAMES)
GOOD = [[0, 0, 0]] * WINDOWS


def test_no_retry_where_the_gate_holds(tmp_path: Path) -> None:
    generate = process(tmp_path, GOOD, retries=2)
    assert [call[:2] for call in generate.calls] == [(index, 0) for index in range(WINDOWS)]
    assert min(result(tmp_path)[0]) == 1.0


def test_the_first_window_is_tried_again_like_any(tmp_path: Path) -> None:
    """It works from the state before every window, which nobody has to keep."""
    generate = process(tmp_path, [[3, 0, 5], *GOOD[1:]], retries=2)
    assert [call[:2] for call in generate.calls][:2] == [(0, 0), (0, 1)]
    assert result(tmp_path) == ([1.0] * FRAMES, [1, *[0] * (WINDOWS - 1)])


def test_the_second_attempt_stands_and_the_rest_is_as_if_it_had_been_the_first(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[1] = [3, 0, 5]
    generate = process(tmp_path / "retried", shifts, retries=2)
    assert (1, 1, (8, 2), None) in generate.calls and not any(call[:2] == (1, 2) for call in generate.calls)
    iou, attempts = result(tmp_path / "retried")
    assert attempts == [0, 1, *[0] * (WINDOWS - 2)] and min(iou) == 1.0
    process(tmp_path / "straight", GOOD, retries=0)
    a, b = (RunReader(tmp_path / name).arrays.read("generated", 0, FRAMES) for name in ("retried", "straight"))
    assert np.array_equal(a, b), "a rejected attempt leaves no trace"
    for segment in (tmp_path / "straight/segments").iterdir():
        assert (tmp_path / "retried/segments" / segment.name).read_bytes() == segment.read_bytes()
    assert RunReader(tmp_path / "retried").log.attempts[1][0]["iou_min"] == 1.0


def test_the_best_of_bad_attempts_is_kept(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[2] = [4, 2, 6]
    process(tmp_path, shifts, retries=2)
    iou, attempts = result(tmp_path)
    assert attempts[2] == 1 and [record["attempt"] for record in RunReader(tmp_path).log.attempts[2]] == [1, 2]
    assert min(iou) == pytest.approx(6 / 10)


def test_the_gpu_is_left_to_every_attempt(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[2] = [4, 2, 6]
    generate = process(tmp_path, shifts, retries=2, by_turns=True)
    assert generate.track.told_to_leave == len(generate.calls) > WINDOWS


def test_the_first_attempt_stands_where_none_is_better(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[0] = [2, 4, 6]
    process(tmp_path / "retried", shifts, retries=2)
    process(tmp_path / "straight", shifts, retries=0)
    assert result(tmp_path / "retried") == result(tmp_path / "straight")
    a, b = (RunReader(tmp_path / name).arrays.read("generated", 0, FRAMES) for name in ("retried", "straight"))
    assert np.array_equal(a, b)


def test_an_interrupted_loop_goes_on_with_what_it_tried(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[1] = [4, 2, 0]
    with pytest.raises(KeyboardInterrupt):
        process(tmp_path, shifts, retries=1, stop_after=2)
    generate = process(tmp_path, shifts, retries=2)
    assert (1, 2) in [call[:2] for call in generate.calls] and (1, 1) not in [call[:2] for call in generate.calls]
    assert result(tmp_path)[1][1] == 2


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_run_that_is_there_is_tried_again_and_what_went_on_from_it_is_made_anew(tmp_path: Path, ahead: int) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[1], shifts[3] = [3, 0, 5], [4, 2, 0]
    process(tmp_path / "later", shifts, retries=0, kept=True)
    generate = process(tmp_path / "later", shifts, retries=2, ahead=ahead, kept=True)
    behind = [(index, 0) for index in range(2, WINDOWS)]
    behind[1:2] += [(3, 1), (3, 2)]
    assert [call[:2] for call in generate.calls] == [(1, 1), *behind]
    process(tmp_path / "straight", shifts, retries=2)
    assert result(tmp_path / "later") == result(tmp_path / "straight")
    a, b = (RunReader(tmp_path / name).arrays.read("generated", 0, FRAMES) for name in ("later", "straight"))
    assert np.array_equal(a, b)


def test_no_attempt_where_the_object_was_lost_before(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[1] = [20, 20, 20]  # off the picture: nothing is white any more
    shifts[2] = [5, 0, 0]
    generate = process(tmp_path, shifts, retries=1)
    assert (2, 1) not in [call[:2] for call in generate.calls]


@pytest.mark.parametrize("cut", [0, 6])
def test_attempts_where_what_was_lost_before_is_looked_for_anew(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a cut, and where a correction tells where it is on the window's first frame."""
    monkeypatch.setattr(Decode, "cut", cut)
    shifts = [list(row) for row in GOOD]
    shifts[1] = [20, 20, 20]
    shifts[2] = [5, 0, 0]
    generate = process(tmp_path, shifts, retries=1, corrected=() if cut else (Correction(6, (0, 0, 1, 1)),))
    assert RunReader(tmp_path).log.commits["decode", 2]["info"]["final"][0] == 6
    assert (2, 1) in [call[:2] for call in generate.calls]
    if cut:  # else its first frame is mixed with what the window before made
        assert result(tmp_path)[1][2] == 1 and RunReader(tmp_path).log.attempts[2][0]["iou_min"] == 1.0


def test_later_attempts_are_wider_and_stronger() -> None:
    found = [request_of(attempt, (8, 2), None) for attempt in (0, 1, 2, 3)]
    assert found == [
        Request(0, dilate=(8, 2)),
        Request(1, dilate=(8, 2)),
        Request(2, dilate=(12, 6), strength=1.25),
        Request(3, dilate=(16, 10), strength=1.5),
    ]
    assert [Request.of(json.loads(json.dumps(request.to_info()))) for request in found] == found
    assert [request_of(attempt, (0, 0), 0.5).strength for attempt in (0, 1, 2, 3)] == [0.5, 0.5, 0.75, 1.0]


def test_windows_that_stood_when_others_were_redone_are_left_alone(tmp_path: Path) -> None:
    """Somebody looked at them; those that are made after the redo are tried again."""
    shifts = [list(row) for row in GOOD]
    shifts[0], shifts[3] = [3, 0, 0], [4, 0, 2]
    process(tmp_path, shifts, retries=0, kept=True)
    before, making = RunReader(tmp_path), ("generate", "blend", "sink", "score")
    with RunDirectory(tmp_path, before.arrays.layout, before.manifest) as run:
        run.note_redo(making, [2])
        run.take_over(making, 2)
    generate = process(tmp_path, shifts, retries=2, kept=True)
    assert [call[:2] for call in generate.calls] == [(2, 0), (3, 0), (3, 1)]
    assert result(tmp_path)[1] == [0, 0, 0, 1]


def test_a_failing_window_whose_states_are_gone_is_told_of_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[-1] = [3, 0, 0]
    monkeypatch.setattr(Executor, "can_rewind", lambda *given: False)
    generate = process(tmp_path, shifts, retries=2)
    assert [call[:2] for call in generate.calls] == [(index, 0) for index in range(WINDOWS)]
    told = [line for line in capsys.readouterr().out.splitlines() if "is not tried again" in line]
    assert len(told) == 1 and told[0].startswith(f"window {WINDOWS - 1} ")


def test_the_journal_holds_every_attempt(tmp_path: Path) -> None:
    shifts = [list(row) for row in GOOD]
    shifts[1] = [3, 0, 0]
    process(tmp_path, shifts, retries=2)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [(line["window"], line["attempt"]) for line in lines if line["kind"] == "attempt"] == [(1, 1)]
