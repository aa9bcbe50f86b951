"""What another process makes of a run while a command reads it: nothing of two runs is put together without a word."""

from pathlib import Path

import pytest
from _crash import about_to_switch, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote
from test_nothing_void import NEW, tree

from storage.errors import RunDirectoryError
from storage.rundir import RunReader
from stream.report.segments import segment_frames

SAID = "another skate process has ended or replaced this run meanwhile"


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return about_to_switch(tmp_path_factory.mktemp("ready"), *NEW)


@pytest.fixture(scope="module")
def switched(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the new run leaves."""
    run = copied(ready, tmp_path_factory.mktemp("switched"))
    assert skate(["resume", str(run)]).code in (0, 1)
    return results(run)


@pytest.mark.parametrize(
    ("command", "at"),
    [
        ("report RUN", "stream.report.write:summarise"),
        ("report RUN --proof", "stream.report.proof:_places"),
        ("export RUN --to TO", "stream.report.export:_write_all"),
        ("evaluate RUN", "stream.report.evaluate:resolve_models"),
        ("generate RUN --out TO --seed 3", "stream.run.variation:_begin"),
    ],
)
def test_what_was_read_of_a_run_that_is_replaced_counts_for_nothing(
    ready: Path, switched: dict[str, str], tmp_path: Path, command: str, at: str
) -> None:
    run, target = copied(ready, tmp_path), tmp_path / "to"
    words = [{"RUN": str(run), "TO": str(target)}.get(word, word) for word in command.split()]
    ended = skate(words, hook=("_hooks:meanwhile", {"arguments": ["resume", str(run)], "at": at}))
    assert ended.code == 6 and SAID in ended.output, ended.output
    assert differing(results(run), switched) == [] and not (run / "report" / "proof.mp4").exists()
    assert skate(["status", str(run), "--verify"]).code == 0 and not target.exists()
    assert skate(words).code in (0, 1)


def test_an_older_export_stays_where_the_run_is_replaced(ready: Path, tmp_path: Path) -> None:
    run, target = copied(ready, tmp_path), tmp_path / "to"
    words = ["export", str(run), "--to", str(target)]
    assert skate(words).code == 0
    before = tree(target)
    hook = ("_hooks:meanwhile", {"arguments": ["resume", str(run)], "at": "stream.report.export:_write_all"})
    assert skate(words, hook=hook).code == 6
    assert tree(target) == before


def test_what_a_redo_has_taken_away_is_no_damage(tmp_path: Path) -> None:
    run = copied(shared_case()[1], tmp_path)
    reader = RunReader(run)
    reader.check_stands(end=True)
    (run / "segments" / "00001.mp4").rename(tmp_path / "gone.mp4")
    with pytest.raises(RunDirectoryError, match="is missing or damaged"), reader.standing():
        list(segment_frames(reader, reader.log.of("sink")[1]))
    (tmp_path / "gone.mp4").rename(run / "segments" / "00001.mp4")
    assert skate(["redo", str(run), "--windows", "1"], fault="blend.begin").code == -9
    with pytest.raises(RunDirectoryError, match=SAID), reader.standing():
        list(segment_frames(reader, reader.log.of("sink")[1]))


def test_a_run_that_only_goes_on_still_stands(tmp_path: Path) -> None:
    """Who exports what is tracked so far need not begin again; a report of what was there is not put over the end's."""
    case, run = shared_case()[0], tmp_path / "run"
    assert skate(case.run(run), fault="score.journal#3").code == -9
    reader = RunReader(run)
    assert skate(["resume", str(run)], fault="score.journal#2").code == -9
    reader.check_stands(end=True)
    assert skate(["resume", str(run)]).code in (0, 1)
    reader.check_stands()
    with pytest.raises(RunDirectoryError, match=SAID):
        reader.check_stands(end=True)
