"""`skate demo` holds every bound that it prints, on five seeds."""

import json
from pathlib import Path

import pytest
from _runs import invoke


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_every_bound_holds(seed: int, tmp_path: Path) -> None:
    ended = invoke(["demo", "--clip-seed", str(seed), "--out", str(tmp_path / "run"), "--json"])
    found = json.loads(ended.out.splitlines()[-1])
    assert ended.code == 0, (found["truth"], found["iou_mean"], found["iou_p5"])
