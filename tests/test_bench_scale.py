"""The simulator of batches: exact where nothing fails, nothing lost where much does, and near what was measured."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import pytest

from bench.scale import SMALL, clips_of, foretold, main, simulated
from bench.simulation import Costs, Simulation

PLAIN = Costs(generate=100.0, before=10.0, between=1.0, behind=5.0, open=2.0, finish=7.0)
FAILING = dataclasses.replace(
    PLAIN, worker_hours=0.3, server_hours=0.3, worker_away=60.0, server_away=100.0, spread=0.03,
    requests={"put": (3.0, 2.0, 1.0, 0.0)},
)  # fmt: skip


def test_without_faults_it_is_arithmetic() -> None:
    two = 2 + 10 + 2 * 101 + 5 + 7  # open, track, two windows, score, report
    assert Simulation([2, 2, 2], 1, 1, PLAIN).run().now == 3 * two
    assert Simulation([2, 2, 2], 2, 2, PLAIN).run().now == 2 * two
    assert Simulation([2, 2, 2], 1, 3, PLAIN).run().now == 3 * two, "there is one server"
    long = Simulation([10], 2, 2, PLAIN).run()
    assert long.now == 2 + 10 + 8 * 101 + 5 + 2 + 2 * 101 + 5 + 7 and long.pieces == 2
    assert long.generated == 1000.0 and long.full_until == 0.0


def test_what_fails_is_done_again_and_nothing_is_lost() -> None:
    clips = clips_of(60, 3)
    made = Simulation(clips, 6, 6, FAILING, 5).run()
    assert made.lost["worker lost"] and made.lost["server lost"] and made.lost["refused"]
    assert made.lost["clips given up"] or made.generated == sum(clips) * 100.0
    assert made.requests["put"] == 3 * 60 + 2 * sum(clips) + made.pieces
    assert sum(made.by_minute.values()) == made.requests["put"]
    again, other = Simulation(clips, 6, 6, FAILING, 5).run(), Simulation(clips, 6, 6, FAILING, 6).run()
    assert (made.now, made.lost) == (again.now, again.lost) and made.now != other.now
    assert (
        made.now
        > Simulation(clips, 6, 6, dataclasses.replace(FAILING, worker_hours=math.inf, server_hours=math.inf)).run().now
    )


def test_gpus_are_of_servers_and_of_workers_that_share_them() -> None:
    found = simulated([4] * 40, 11, PLAIN, 1, 10)
    assert found["servers"] == 10 and found["gpus_busy"] == pytest.approx(found["servers_busy"] * 10 / 11, abs=1e-4)
    assert found["cost"]["gpus"] == pytest.approx(11 * found["hours"] * 0.69, abs=0.05)


def test_the_small_cluster_is_foretold_within_15_percent() -> None:
    record = json.loads(SMALL.read_text())
    measured = {int(count): made["seconds"] for count, made in record["by_workers"].items()}
    assert len(measured) >= 3
    for count, seconds in foretold(record).items():
        assert seconds == pytest.approx(measured[count], rel=0.15), count


def test_a_small_batch_on_other_clusters_is_simulated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "scale.json"
    monkeypatch.setattr(sys, "argv", ["scale", "--clips", "20", "--gpus", "3", "--record", str(record)])
    main()
    found = json.loads(record.read_text())
    assert list(found["simulated"])[:2] == ["3 GPUs", "1000 GPUs"]
    assert found["ratios"]["servers_busy_1000"]["value"] == found["simulated"]["1000 GPUs"]["servers_busy"]
