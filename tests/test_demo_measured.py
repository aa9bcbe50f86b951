"""What a demo's run measures in its clip, against the renderer's truth: with made-up runs, right and wrong."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.base import Array
from stages.fidelity.sight import COLUMNS, FEET
from stream.demo import DemoConfig, Scene, hidden
from stream.demo.hidden import HALF, Hiding, hiding_of
from stream.demo.measured import contact_f1, motion_error

SCENE = Scene(DemoConfig(6, 320, 180, camera="handheld", seed=1))


def run_of(**arrays: Array) -> Any:
    """What is asked of a `RunReader`; `__` stands for a slash."""
    known = {name.replace("__", "/"): array for name, array in arrays.items()}
    read = SimpleNamespace(layout=SimpleNamespace(arrays=known), read=lambda name, start, stop: known[name][start:stop])
    return SimpleNamespace(arrays=read)


def test_how_far_the_motion_that_was_found_is_off() -> None:
    motion = np.stack([SCENE.truth(t).motion for t in range(len(SCENE))])
    inliers = np.array([np.nan, 0.9, 0.9, np.nan, 0.0, 0.9], np.float32)
    found = motion_error(SCENE, run_of(motion=motion, motion_inliers=inliers))
    assert found is not None and found < 1e-9
    motion[2, :, 2] += (3.0, 4.0)
    motion[3, :, 2] += 100.0  # there nothing was looked for
    assert motion_error(SCENE, run_of(motion=motion, motion_inliers=inliers)) == pytest.approx(5 / 4)


def test_no_motion_was_looked_for() -> None:
    still = run_of(motion=np.zeros((6, 2, 3)), motion_inliers=np.full(6, np.nan))
    assert motion_error(SCENE, still) is None and motion_error(SCENE, run_of()) is None


def test_contact_against_the_feet_that_stand_on_the_board() -> None:
    scene = Scene(DemoConfig(48, 320, 180, seed=1))
    truth = np.array([scene.truth(t).skaters[0].on_board for t in range(len(scene))], float)
    assert 0 < truth.mean() < 1

    def sights(contacts: Array) -> Any:
        found = np.full((len(scene), len(COLUMNS)), np.nan)
        found[:, [COLUMNS.index(f"{foot}_contact") for foot in FEET]] = contacts
        return run_of(sights__source=found)

    assert contact_f1(scene, sights(truth)) == 1.0
    assert contact_f1(scene, sights(1 - truth)) == 0.0
    half = truth.copy()
    half[:, 1] = np.nan  # that foot is not seen
    half[0, 0] = 1 - half[0, 0]
    left = truth[:, 0].sum()
    assert contact_f1(scene, sights(half)) == pytest.approx(2 * (left - 1) / (2 * left - 1))
    assert contact_f1(scene, run_of()) is None


def test_of_whom_more_than_half_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of each is told as it is, but of the first board, of which nothing is told."""
    scene = Scene(DemoConfig(402, 320, 180, seed=1, skaters=3, boards=3))
    frames = range(299, 316)

    class Told:
        def __init__(self, *_: object) -> None: ...

        def each(self) -> Iterator[dict[str, Array]]:
            for t in frames:
                found = {each.name: each.amodal for each in scene.truth(t).subjects}
                yield found | {"board": np.zeros((180, 320), bool)}

    monkeypatch.setattr(hidden, "AmodalMasks", Told)
    part: Any = SimpleNamespace(
        skaters=scene.skaters, truth=lambda t: scene.truth(frames[t]), config=scene.config, boards=scene.boards
    )
    masks = {
        f"masks__{name}": np.stack([scene.masks(t)[name] for t in frames]) for name in (*scene.boards, *scene.skaters)
    }
    config: Any = None
    found = hiding_of(part, run_of(**masks), config, 30)
    boards, persons = found["boards"], found["persons"]
    assert {iou for _, iou, _, _ in persons.rows} == {1.0} and {iou for _, iou, _, _ in boards.rows} == {0.0, 1.0}
    assert any(shows <= HALF for shows, *_ in boards.rows)
    assert not hiding_of(part, run_of(**masks), config, 10**9)["boards"].rows
    assert Hiding().scores().frames == 0
