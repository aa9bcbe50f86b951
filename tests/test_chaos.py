"""The process is killed, ten times, at commit points and in between; the resumed run must be the same byte for byte.

The ComfyUI server is killed as well. The long versions: `python bench/chaos.py` (docs/durability.md).
"""

from pathlib import Path

import pytest
from _crash import differing, make_case, results, shared_case
from _server_chaos import Disturbance, comfy_case, disturbed, start
from _zygote import shared_zygote
from fake_comfy.process import ServerProcess

# Each row is one run: killed at the first point, continued and killed at the next, and so on, then resumed to the end.
KILLS = (
    ("decode.begin", "pose.arrays#1", "track.state#2", "journal.written#9"),
    ("decode.state", "generate.journal", "composite.arrays#2", "composite.journal", "blend.arrays#2", "sink.state#2"),
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


# The server alone, waited for and not; with the process; with the process at a fault point, then elsewhere.
SERVER_KILLS = (
    Disturbance((0.6,), 0.1, elsewhere=False, process_kill=None, point=None, patience=10.0),
    Disturbance((0.7,), 0.3, elsewhere=True, process_kill=None, point=None, patience=0.2),
    Disturbance((0.5,), 0.1, elsewhere=False, process_kill=0.8, point=None, patience=10.0),
    Disturbance((0.4,), 0.1, elsewhere=True, process_kill=None, point="generate.state#2", patience=10.0),
)


def test_the_server_is_killed(tmp_path: Path) -> None:
    case = comfy_case(make_case(tmp_path, frames=11))
    with ServerProcess(step_seconds=0.02) as server:
        whole = start(shared_zygote(), case, tmp_path / "whole", [server.address])
        assert whole.code in (0, 1), whole.output
        wanted = results(tmp_path / "whole")
        for index, what in enumerate(SERVER_KILLS):
            run = tmp_path / str(index)
            outcome = disturbed(shared_zygote(), case, server, run, what, whole.seconds)
            assert outcome.good and outcome.server_kills, f"{what}: {outcome}"
            assert differing(results(run), wanted) == [], str(what)
