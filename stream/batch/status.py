"""How far a batch is: a row a job, as a table and as a page."""

import dataclasses
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from storage.backend import open_store
from storage.errors import SkateError
from storage.rundir import is_run
from stream.batch.jobs import Batch, Ended, Job
from stream.plan.calibration import duration_text
from stream.report.html import page, table
from stream.run.status import read_status

HEAD = ("job", "state", "windows", "gate", "IoU", "left", "")


@dataclasses.dataclass(frozen=True)
class Row:
    """A job's progress.

    Attributes:
        name: its own. state: "waiting", "running", "interrupted", "done" or "failed".
        windows: of its clip, as far as they are known; done_windows: of them those that every stage has done.
        gate, message: how it ended, None and empty before. iou_mean: so far. seconds_left: an estimate.
    """

    name: str
    state: str
    windows: int | None = None
    done_windows: int = 0
    gate: str | None = None
    iou_mean: float | None = None
    seconds_left: float | None = None
    message: str = ""

    def cells(self) -> list[str]:
        """As the table has it."""
        return [
            self.name,
            self.state,
            "" if self.windows is None else f"{self.done_windows} of {self.windows}",
            self.gate or "",
            "" if self.iou_mean is None else f"{self.iou_mean:.4f}",
            duration_text(self.seconds_left) if self.seconds_left and self.state != "done" else "",
            self.message,
        ]


def rows_of(batch: Batch) -> list[Row]:
    """Every job, in order; may be asked while the batch is worked through."""
    ended = batch.ended()
    return [_row(batch.folder / job.name, job, ended.get(job.name)) for job in batch.jobs]


def _row(run: Path, job: Job, ended: Ended | None) -> Row:
    gate, message = (ended.gate, ended.message) if ended is not None else (None, "")
    before = "failed" if message else "waiting"
    if not is_run(run):
        return Row(job.name, before, gate=gate, message=message)
    try:
        status = read_status(run)
    except SkateError as error:
        return Row(job.name, "failed", message=str(error))
    return Row(
        name=job.name,
        state="failed" if message and status.state == "interrupted" else status.state,
        windows=status.windows,
        done_windows=min(status.done.values(), default=0),
        gate=gate if status.state == "done" else None,
        iou_mean=status.iou_mean,
        seconds_left=status.seconds_left,
        message=message if status.state != "running" else "",
    )


def counts(rows: Sequence[Row]) -> str:
    """How many jobs there are of each state, as a line."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return f"{len(rows)} jobs: " + ", ".join(f"{count} {state}" for state, count in found.items())


def write_page(folder: Path, rows: Sequence[Row]) -> Path:
    """Write `index.html` into the batch's folder; returns its path."""
    links = [
        f'<a href="{quote(row.name)}/report/index.html">{escape(row.name)}</a>' if row.state == "done" else None
        for row in rows
    ]
    body = f"<h1>{escape(folder.name)}</h1>\n<p>{escape(counts(rows))}</p>\n" + table(
        HEAD, [row.cells() for row in rows], "facts", links
    )
    open_store(folder).show("index.html", page(f"{folder.name}: batch", body).encode(errors="backslashreplace"))
    return folder / "index.html"
