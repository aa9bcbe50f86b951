"""A correction on a finished run: every window before it stands as it is, and the rest is as if it had been given."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash import Case, copied, differing, make_case, results
from _server_chaos import comfy_case
from _zygote import Ended, shared_zygote
from fake_comfy import FakeComfy, Paint
from test_nothing_void import tree

from storage.layout import Layout
from storage.log import CommitLog
from storage.records import window_of
from storage.rundir import read_log
from stream.options.differences import Difference
from stream.run.attempts import worst_iou

FRAME, WINDOW = 8, 2  # windows of the 11 frames have the new frames [0, 5), [5, 8), [8, 11)
CORRECTED = ("--correct", f"{FRAME}:10,10,40,40")
VIEWED = "view"  # the one that looks ahead


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


@dataclass(frozen=True)
class Made:
    """A finished run, the options for it, and the results of a run that was corrected from the start."""

    case: Case
    run: Path
    corrected: dict[str, str]


def make(folder: Path, case: Case, *correction: str) -> Made:
    assert skate(case.run(folder / "run")).code in (0, 1)
    assert skate(case.run(folder / "fresh", *correction)).code in (0, 1)
    return Made(case, folder / "run", results(folder / "fresh"))


def small_case(folder: Path, *more: str, frames: int = 11) -> Case:
    case = make_case(folder, frames=frames)
    return Case(case.video, (*case.options, *more))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("correct")
    return make(folder, small_case(folder), *CORRECTED)


def standing(run: Path, window: int) -> dict[tuple[str, int], int]:
    """The numbers of the records of all windows before this one; a view looks into the window after its own."""
    commits = read_log(run).commits
    return {task: record["n"] for task, record in commits.items() if task[1] < window - (task[0] == VIEWED)}


POINTS = ("next.cloned", "repair.window", "view.state", "generate.state", "score.journal", "next.switch")


def test_a_run_corrected_later_is_the_one_corrected_at_once(made: Made, tmp_path: Path) -> None:
    run = copied(made.run, tmp_path)
    stood = standing(run, WINDOW)
    ended = skate([*made.case.run(run), *CORRECTED, "--overwrite"])
    assert ended.code in (0, 1) and "what is read again was not kept" in ended.output, ended.output
    assert "damaged" not in ended.output
    assert differing(results(run), made.corrected) == [] and standing(run, WINDOW) == stood


@pytest.mark.slow
def test_killed_on_the_way_the_old_result_is_whole_and_the_new_one_comes(made: Made, tmp_path: Path) -> None:
    run = copied(made.run, tmp_path)
    before, stood = tree(run), standing(run, WINDOW)
    command = [*made.case.run(run), *CORRECTED, "--overwrite"]
    for point in POINTS:
        assert skate(command, fault=point).code == -9, point
        assert tree(run) == before, point
        if point != "next.cloned":
            command = ["resume", str(run)]
            ended = skate(["status", str(run), "--verify"])
            assert ended.code == 0, f"what was not kept is no damage: {ended.output}"
    assert skate(command).code in (0, 1)
    assert differing(results(run), made.corrected) == [] and not (run / "next").exists()
    assert standing(run, WINDOW) == stood, "kept, not made again"
    assert skate(["status", str(run), "--verify"]).code == 0


def test_earlier_windows_are_neither_read_nor_worked_on(tmp_path: Path) -> None:
    case = small_case(tmp_path, "--keep", "all")
    run, work = tmp_path / "run", tmp_path / "work"
    assert skate(case.run(run)).code in (0, 1)
    stored, stood = earlier(run, WINDOW), standing(run, WINDOW)
    ended = skate([*case.run(run, *CORRECTED), "--overwrite"], hook=("_hooks:note_work", {"path": str(work)}))
    assert ended.code in (0, 1), ended.output
    lines = work.read_text().split("\n")
    worked = {(name, int(index)) for name, _, index in (line.partition(" ") for line in lines) if index}
    assert {task for task in worked if task[1] < WINDOW} == {(VIEWED, WINDOW - 1)}
    assert {index for name, index in worked if name == "generate"} == {WINDOW}
    # What a window itself reads of the one before it: carried states, the overlap, the frames that both have.
    read = {line for line in lines if line and " " not in line and window_of(line) < WINDOW}
    assert {name for name in read if window_of(name) < WINDOW - 1} <= {"state/view/0"}
    assert not {name for name in read if name.startswith(("scores/", "iou/", "found/", "generated/", "blocks/raw/"))}
    assert earlier(run, WINDOW) == stored and standing(run, WINDOW) == stood


def earlier(run: Path, window: int) -> dict[str, str]:
    """Digests of all that the windows before this one have stored."""
    files = [file for file in (run / "run.zarr").rglob("*") if file.is_file() and file.name != "zarr.json"]
    files = [file for file in files if window_of(str(file.relative_to(run / "run.zarr"))) < window]
    files = [file for file in files if file.parent.name != VIEWED or window_of(file.name) < window - 1]
    files += [file for file in (run / "segments").iterdir() if int(file.stem) < window]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


class Darker(Paint):
    """Another server: half as bright."""

    def __call__(self, positive: Any, seed: int, graph: Any) -> Any:
        """What `Paint` gives, darker."""
        return super().__call__(positive, seed, graph) * np.float32(0.5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Case, Path, FakeComfy]]:
    """A finished run on a server that kept nothing, and another server, which gives other pictures."""
    folder = tmp_path_factory.mktemp("served")
    case = comfy_case(make_case(folder, frames=11))
    with FakeComfy() as server:
        assert skate(case.run(folder / "run", "--server", server.address)).code in (0, 1)
    with FakeComfy(Darker()) as other:
        yield case, folder / "run", other


@pytest.mark.slow  # tests/test_redo.py has the same in the suite
def test_a_server_that_gives_other_pictures(served: tuple[Case, Path, FakeComfy], tmp_path: Path) -> None:
    case, finished, server = served
    run = copied(finished, tmp_path)
    before = tree(run)
    ended = skate([*case.run(run, "--server", server.address), *CORRECTED, "--overwrite"])
    assert ended.code == 5 and "the server gives other pictures than then" in ended.output, ended.output
    assert tree(run) == before and not (run / "next").exists()
    assert skate(["status", str(run), "--verify"]).code == 0


def box(frame: int, x1: float = 1.0) -> dict[str, object]:
    return {"frame": frame, "box": [x1, 1.0, 9.0, 9.0], "points": []}


def masked(path: str, digest: str = "a" * 64) -> dict[str, object]:
    return {"frame": 8, "box": None, "points": [], "mask_png": path, "mask_digest": digest}


@pytest.mark.parametrize(
    ("name", "old", "new", "frame"),
    [
        ("correct", [], [box(150)], 150),
        ("correct", [box(7), box(9)], [box(7)], 9),
        ("correct", [box(7), box(9)], [box(7, 2.0), box(9)], 7),
        ("correct_person", [box(30)], [box(12), box(30), box(40)], 12),
        ("correct", [box(7), masked("old.png")], [box(7), masked("moved.png"), box(9)], 9),
        ("correct", [box(7), masked("old.png")], [box(7), masked("old.png", "b" * 64)], 8),
        ("correct", [box(7)], [box(7) | {"mask_png": None, "mask_digest": None}, box(9)], 9),  # as before
        ("seed", 1, 2, None),
        ("scene", None, [{"name": "a", "corrections": [box(3)]}], None),
        ("scene", [{"name": "a"}, {"name": "b", "corrections": [box(9)]}],
         [{"name": "a", "corrections": [box(5)]}, {"name": "b", "corrections": [box(9)]}], 5),
        ("scene", [{"name": "a", "held_by": "b"}], [{"name": "a", "corrections": [box(5)]}], None),
    ],
)  # fmt: skip
def test_from_which_frame_on_another_value_counts(name: str, old: object, new: object, frame: int | None) -> None:
    assert Difference(name, "track", old, new).frame == frame


def test_what_the_first_window_done_again_reads_is_wanted_and_nothing_older() -> None:
    blocks = {"overlap": {"shape": [2], "dtype": "uint8", "fill": 0, "until": "blend", "after": 2, "passing": False}}
    log = CommitLog([])
    log.layout = Layout.from_json({"arrays": {}, "blocks": blocks})
    for window in range(7):
        digests = {f"state/blend/{window}": "0" * 32, f"blocks/overlap/{window}": "0" * 32}
        log.apply({"kind": "commit", "n": window, "stage": "blend", "window": window, "span": [window, window + 1],
                   "digests": digests, "info": {}})  # fmt: skip
    log.apply({"kind": "redone", "n": 7, "stages": ["blend"], "window": 4})
    held = [key for key, task in log.writers.items() if not log.is_forgotten(task, key)]
    assert held == ["state/blend/0", "state/blend/3", "blocks/overlap/3"]


@pytest.mark.slow
def test_windows_that_stand_are_not_tried_again(served: tuple[Case, Path, FakeComfy], tmp_path: Path) -> None:
    case, run = served[0], tmp_path / "run"
    with FakeComfy() as server:
        given = ("--server", server.address, "--keep", "all")
        assert skate(case.run(run, *given)).code == 1
        count = len(server.prompts)
        ended = skate([*case.run(run, *given, "--retries", "1", *CORRECTED), "--overwrite"])
    log = read_log(run)
    scores = [log.commits["score", window]["info"] for window in range(WINDOW + 1)]
    passed = [worst_iou(score["iou"]) > 0.9 for score in scores]
    lost = scores[WINDOW - 1]["iou"][-1] == 0.0 and not scores[WINDOW - 1]["visible"][-1]  # then no attempt can help
    tried = log.attempts.get(WINDOW, [])
    assert ended.code == 1 and not any(passed[:WINDOW]) and log.attempts.keys() <= {WINDOW}
    assert len(server.prompts) == count + 1 + len(tried), "what was made anew, and attempts at it"
    assert len(tried) == 1 or lost or passed[WINDOW]


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--keep", "all"), ("--track-view", "follow"), ("--on-cut", "reset")])
def test_the_bytes_of_a_run_corrected_from_the_start(tmp_path: Path, more: tuple[str, ...]) -> None:
    made = make(tmp_path, small_case(tmp_path, *more, frames=21), "--correct", "12:10,10,40,40")
    assert skate([*made.case.run(made.run, "--correct", "12:10,10,40,40"), "--overwrite"]).code in (0, 1)
    assert differing(results(made.run), made.corrected) == []


@pytest.mark.slow
@pytest.mark.parametrize("point", [None, "view.begin", "view.arrays", "view.journal"])
def test_a_view_that_comes_out_other_takes_the_window_before_with_it(tmp_path: Path, point: str | None) -> None:
    case = make_case(tmp_path, frames=13, size=(160, 96))
    options = list(case.options)
    at = options.index("--sam")
    options[at : at + 4] = ["--sam", "mini"]
    case = Case(case.video, (*options, "--view", "follow", "--reskin", "object"))
    correction = ("--correct", "8:10,10,40,30")
    made = make(tmp_path, case, *correction)
    stood = standing(made.run, WINDOW - 1)
    command = [*case.run(made.run, *correction), "--overwrite"]
    if point is not None:
        assert skate(command, fault=point).code == -9
        command = ["resume", str(made.run)]
    assert skate(command).code in (0, 1)
    assert differing(results(made.run), made.corrected) == []
    assert standing(made.run, WINDOW - 1) == stood
    assert read_log(made.run).commits["generate", 1]["n"] > max(stood.values())


@pytest.mark.slow
def test_on_frame_150_at_the_windows_of_the_defaults(tmp_path: Path) -> None:
    case = make_case(tmp_path, frames=402, window=81, overlap=21)
    run, work, window = tmp_path / "run", tmp_path / "work", 2
    assert skate(case.run(run, "--keep", "all"), limit=500).code in (0, 1)
    stored, stood = earlier(run, window), standing(run, window)
    correction = ("--keep", "all", "--correct", "150:10,10,40,40", "--overwrite")
    ended = skate(case.run(run, *correction), limit=500, hook=("_hooks:note_work", {"path": str(work)}))
    assert ended.code in (0, 1), ended.output
    assert earlier(run, window) == stored and standing(run, window) == stood
    lines = work.read_text().split()
    read = {line for line in lines if "/" in line and window_of(line) < window}
    assert not {name for name in read if name.startswith(("scores/", "iou/", "found/", "generated/", "blocks/raw/"))}
