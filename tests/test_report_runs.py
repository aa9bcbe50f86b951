"""`skate report` of a run at work: from the first decoded window on there is always something to show."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _runs import invoke
from _small_run import FRAMES, small_config, small_run

from storage.errors import RunDirectoryError
from stream.progress.events import Event, RunBegins, WindowDone
from stream.report.collect import Facts
from stream.report.of_run import report_run
from stream.run.lifecycle import start
from stream.run.redo import redo


class Asks:
    """A listener that has the report written after every commit."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.seen: dict[str, dict[str, Any]] = {}
        self.pages: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunBegins):
            with pytest.raises(RunDirectoryError, match="nothing is decoded yet"):
                report_run(self.out)
        elif isinstance(event, WindowDone):
            name = f"{event.stage} {event.index}"
            self.seen[name] = report_run(self.out).to_json()
            self.pages[name] = (self.out / "report" / "index.html").read_text()


@pytest.mark.parametrize("chain", ["run", "extract"])
def test_at_any_time(tmp_path: Path, chain: str) -> None:
    asks = Asks(tmp_path / "run")
    start(small_config(chain), asks.out, listener=asks)
    first = asks.seen["decode 0"]
    assert first["frames"] == 0 and first["gate"] is None and not first["complete"]
    assert set(first["cost"]["seconds"]) == {"decode"}
    assert asks.seen["track 0"]["frames"] == 9 and asks.seen["track 0"]["frames_scored"] == 0
    last = list(asks.seen.values())[-1]
    assert last["complete"] and last["frames"] == FRAMES
    assert "The run is not finished" in asks.pages["track 1"]
    assert "The run is not finished" not in list(asks.pages.values())[-1]
    if chain == "extract":
        assert "poses and masks only" in list(asks.pages.values())[-1]
        return
    assert "Not scored yet" in asks.pages["sink 0"] and asks.seen["score 0"]["frames_scored"] == 6
    assert [len(values["by_window"]) for values in asks.seen.values()] == sorted(
        len(values["by_window"]) for values in asks.seen.values()
    )


def test_again_after_the_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run(), run)
    before = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    shutil.rmtree(run / "report")
    assert invoke(["report", str(run)]).out.strip() == f"{run}/report/index.html"
    after = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    assert after.keys() == before.keys() and after["iou.csv"] == before["iou.csv"]
    assert json.loads(after["summary.json"]) == json.loads(before["summary.json"])
    assert Facts().complete


@pytest.mark.parametrize("how", ["another look", "nothing made", "redo"])
def test_what_shows_a_result_goes_with_it(tmp_path: Path, how: str) -> None:
    """`proof.mp4` says of every frame whether it passed: beside another result it would say it of that."""
    run = Path(shutil.copytree(small_run(), tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))
    proof, strip, own = run / "report/proof.mp4", run / "report/frames.png", run / "report/notes.txt"
    proof.write_bytes(b"of the result that is there")
    own.write_text("somebody else's")
    start(small_config(), run)
    assert proof.exists() and strip.exists(), "the result is the same"
    if how == "redo":
        redo(run, [1], seed=9, text=None)
    else:
        again = {"seed": 5} if how == "another look" else {"reskin": "remove", "generator": "plate"}
        start(replace(small_config(), **again), run, overwrite=True)
    assert not proof.exists() and own.exists()
    assert strip.exists() == (how != "nothing made"), "where nothing is scored no frame is the worst"
