"""`--overwrite`: the old result is whole until the new one has finished, wherever the process is killed."""

import shutil
from pathlib import Path

import pytest
from _crash import FINISH_POINTS, OTHER_POINTS, STAGES, about_to_switch, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote
from test_nothing_void import NEW, tree

from storage.log import read_log
from stream.options.recorded import read_run

MAKING = STAGES[STAGES.index("generate") :]
BEFORE = (
    "next.cloned",
    *(f"{stage}.{point}" for stage in MAKING for point in ("begin", "arrays", "state", "journal")),
    *OTHER_POINTS,
    *FINISH_POINTS,
    "next.switch",
)
AFTER = ("next.switched", "next.moved", "next.moved#9", "next.files", "next.journal")


def skate(arguments: list[str], fault: str | None = None) -> Ended:
    ended = shared_zygote().run(arguments, fault=fault)
    assert "Traceback" not in ended.output, ended.output
    return ended


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The new run, made alone."""
    path = tmp_path_factory.mktemp("fresh") / "run"
    assert skate(shared_case()[0].run(path, *NEW)).code in (0, 1)
    return path


def test_killed_at_every_point_on_the_way(tmp_path: Path, fresh: Path) -> None:
    """One run, killed at each point in turn; between the kills the old result is byte for byte there."""
    case, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    before = tree(run)
    command = [*case.run(run), *NEW, "--overwrite"]
    for point in BEFORE:
        assert skate(command, fault=point).code == -9, point
        assert tree(run) == before, point
        assert skate(["status", str(run)]).code == 0
        if point != "next.cloned":  # before that nothing of the new run counts
            command = ["resume", str(run)]
    assert skate(["export", str(run), "--to", str(tmp_path / "old")]).code == 0
    assert tree(run) == before
    assert skate(command).code in (0, 1)
    assert differing(results(run), results(fresh)) == [] and not (run / "next").exists()
    assert skate(["status", str(run), "--verify"]).code == 0


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return about_to_switch(tmp_path_factory.mktemp("ready"), *NEW)


@pytest.mark.parametrize("point", AFTER)
@pytest.mark.parametrize("command", ["status", "resume", "export"])
def test_a_killed_move_is_finished_by_the_next_command(
    ready: Path, fresh: Path, tmp_path: Path, point: str, command: str
) -> None:
    run = copied(ready, tmp_path)
    assert skate(["resume", str(run)], fault=point).code == -9
    more = {"export": ["--to", str(tmp_path / "to")], "status": ["--verify"]}
    assert skate([command, str(run), *more.get(command, [])]).code in (0, 1)
    assert differing(results(run), results(fresh)) == []
    if command == "resume":
        assert not (run / "next").exists()
    assert skate(["status", str(run), "--verify"]).code == 0


@pytest.mark.parametrize("point", ["decode.arrays", "track.journal#3", "next.moved#3"])
def test_nothing_of_the_old_run_is_used(tmp_path: Path, point: str) -> None:
    case, finished, _ = shared_case()
    alone, run = tmp_path / "alone", copied(finished, tmp_path)
    before = tree(run)
    assert skate(case.run(alone, "--fps", "12")).code in (0, 1)
    assert skate([*case.run(run, "--fps", "12"), "--overwrite"], fault=point).code == -9
    assert point.startswith("next") or tree(run) == before
    assert skate(case.run(run, "--fps", "12")).code in (0, 1)
    assert differing(results(run), results(alone)) == []


def test_the_old_options_take_it_back(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    assert skate([*case.run(run), *NEW, "--overwrite"], fault="blend.journal#2").code == -9
    assert (run / "next").exists()
    assert skate(case.run(run, "--seed", "77")).code == 6, "these are neither the old options nor the new"
    for more in (["--windows", "0"], ["--cancel"]):
        ended = skate(["redo", str(run), *more])
        assert ended.code == 6 and "an --overwrite is under way" in ended.output, ended.output
    assert skate(case.run(run)).code in (0, 1)
    assert not (run / "next").exists() and differing(results(run), wanted) == []


def begun(folder: Path, damaged: str) -> Path:
    """A run whose new one was killed on its way, and a file of that which a power cut or the disk has spoilt since."""
    case, finished, _ = shared_case()
    run = copied(finished, folder)
    assert skate([*case.run(run), *NEW, "--overwrite"], fault="blend.journal#2").code == -9
    file = run / "next" / damaged
    whole = file.read_bytes()
    file.write_bytes(b"" if damaged == "run.json" else whole[:400] + b"x" + whole[401:])
    return run


@pytest.mark.parametrize("damaged", ["run.json", "journal.jsonl"])
def test_what_is_said_of_a_damaged_new_run_helps(tmp_path: Path, fresh: Path, damaged: str) -> None:
    case, _, wanted = shared_case()
    run = begun(tmp_path / "new", damaged)
    before = tree(run)
    ended = skate(["resume", str(run)])
    assert ended.code == 6 and "start anew with --overwrite" in ended.output, ended.output
    again = shutil.copytree(run, tmp_path / "again")
    if damaged == "run.json":
        assert "with the options it was begun with, which writes it again" in ended.output
        assert skate(case.run(again, *NEW)).code in (0, 1)
        assert differing(results(again), results(fresh)) == [] and not (again / "next").exists()
    else:
        assert skate(case.run(again, *NEW)).code == 6
    assert skate(case.run(run, "--seed", "77")).code == 6, "these are neither the old options nor the new"
    assert tree(run) == before
    back = shutil.copytree(run, tmp_path / "back")
    assert skate(case.run(back)).code in (0, 1)
    assert differing(results(back), wanted) == [] and not (back / "next").exists()
    assert skate([*case.run(run, *NEW), "--overwrite"]).code in (0, 1)
    assert differing(results(run), results(fresh)) == [] and not (run / "next").exists()


@pytest.mark.parametrize("command", ["resume", "other"])
def test_what_another_process_has_made_of_the_run_meanwhile_is_seen(tmp_path: Path, fresh: Path, command: str) -> None:
    """The models are loaded before the run is locked: whoever has finished by then is not worked upon by mistake."""
    case, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    assert skate([*case.run(run), *NEW, "--overwrite"], fault="score.journal#6").code == -9
    words = ["resume", str(run)] if command == "resume" else case.run(run, "--iou-threshold", "0.5", "--overwrite")
    hook = ("_hooks:meanwhile", {"arguments": ["resume", str(run)]})
    ended = shared_zygote().run(words, hook=hook)
    assert ended.code == 6 and "another skate process has" in ended.output, ended.output
    assert differing(results(run), results(fresh)) == [] and not (run / "next").exists()
    assert skate(["status", str(run), "--verify"]).code == 0


def test_a_demo_that_was_moved_on_the_way_goes_on(tmp_path: Path) -> None:
    """The clip that was rendered for it lies in its own folder, and moves with it."""
    words = ["--frames", "5", "--clip-size", "96x64", "--window", "5", "--overlap", "0"]
    demo = tmp_path / "demo"
    assert skate(["demo", "--out", str(demo), *words]).code in (0, 1)
    assert skate(["demo", "--out", str(demo), *words, "--seed", "5"], fault="blend.journal").code == -9
    moved = demo.rename(tmp_path / "moved")
    assert skate(["resume", str(moved)]).code in (0, 1)
    assert not (moved / "next").exists() and skate(["status", str(moved), "--verify"]).code == 0
    assert read_run(moved)[1].seed == 5


def test_a_run_of_format_1_is_replaced(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"format": 2', '"format": 1'))
    (run / "journal.jsonl").write_bytes((run / "journal.jsonl").read_bytes()[100:])
    (run / "run.zarr" / "visible" / "c.0.0").write_bytes(b"old")
    ended = skate(case.run(run))
    assert ended.code == 6 and "has format 1, this program reads 2" in ended.output, ended.output
    assert skate([*case.run(run), "--overwrite"]).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_kept_tracking_is_not_stored_twice(tmp_path: Path) -> None:
    case, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    assert skate([*case.run(run), *NEW, "--overwrite"], fault="generate.begin").code == -9
    for name in ("masks/object/c.1.0.0", "state/track/6"):
        assert (run / "next" / "run.zarr" / name).samefile(run / "run.zarr" / name)
    assert read_log(run / "next").done("track") == 7 and read_log(run).finished is not None
    shutil.rmtree(run / "next")
    assert skate(["status", str(run), "--verify"]).code == 0
