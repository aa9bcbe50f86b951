"""The process is killed, ten times, at commit points and in between; the resumed run must be the same byte for byte.

The long version, every point and 50 random times: `python bench/chaos.py` (docs/durability.md).
"""

from pathlib import Path

import pytest
from _crash import differing, results, shared_case
from _zygote import shared_zygote

# Each row is one run: killed at the first point, continued and killed at the next, and so on, then resumed to the end.
KILLS = (
    ("decode.begin", "pose.arrays#1", "track.state#2", "journal.written#9"),
    ("decode.state", "generate.journal", "blend.arrays#3", "sink.state#2"),
    ("score.begin#4", "drop.journal#2", "finish.joined"),
)


@pytest.mark.parametrize("points", KILLS, ids=lambda points: points[0])
def test_killed_at_commit_points(tmp_path: Path, points: tuple[str, ...]) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    for point in points:
        ended = shared_zygote().run(case.run(run), fault=point)
        assert ended.code == -9, f"{point} was not reached: {ended.output}"
    ended = shared_zygote().run(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_killed_at_any_time(tmp_path: Path) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    ended = shared_zygote().run(case.run(run), kill_after=0.9)
    ended = shared_zygote().run(case.run(run), kill_after=1.3)
    ended = shared_zygote().run(case.run(run))
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []
