"""Planted faults: each does what its name says, by its strength, where it is told, and its truth says so."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from storage.errors import UsageError
from stream.demo import DemoConfig, Scene
from stream.demo.faults import UNITS, Fault, Result, plant, true_iou
from stream.demo.puppet import Array

FRAMES = 8
STRENGTHS = {
    "shift": 6.0, "scale": 1.3, "rotation": 12.0, "dilation": 4.0, "late": 3.0, "swap": 1.0, "vanish": 1.0,
    "double": 1.0, "mirrored": 1.0, "slide": 9.0, "flicker": 20.0, "colour-drift": 40.0, "blur": 2.0,
}  # fmt: skip
LOOKS_ALONE = ("flicker", "colour-drift", "blur")  # the shape stays


@pytest.fixture(scope="module")
def result() -> Result:
    scene = Scene(DemoConfig(FRAMES + 14, 320, 180, seed=4, skaters=2, boards=2))
    truths = [scene.truth(t) for t in range(14, 14 + FRAMES)]
    names = [subject.name for subject in truths[0].subjects]
    return Result(
        np.stack([scene.frame(t).image for t in range(14, 14 + FRAMES)]),
        {name: np.stack([truth.subjects[k].visible for truth in truths]) for k, name in enumerate(names)},
        np.stack([truth.plate for truth in truths]),
        {name: np.stack([truth.skaters[k].joints for truth in truths]) for k, name in enumerate(scene.skaters)},
    )


def _fault(kind: str, **changes: object) -> Fault:
    subject = "skater" if kind in ("slide", "mirrored") else "board"
    fault = Fault(kind, STRENGTHS[kind], 2, 6, subject, "board-2" if kind == "swap" else None)
    return replace(fault, **changes)  # type: ignore[arg-type]


def _middle(mask: Array) -> Array:
    return np.asarray(np.argwhere(mask).mean(0)[::-1])


@pytest.mark.parametrize("kind", UNITS)
def test_a_fault_changes_its_frames_and_its_subject_alone(kind: str, result: Result) -> None:
    fault = _fault(kind)
    before = result.frames.copy()
    faulty = plant(result, fault)
    assert np.array_equal(result.frames, before)  # what was given stays
    changed = (faulty.frames != result.frames).any((1, 2, 3))
    assert not changed[[0, 1, 6, 7]].any()
    assert changed[3:6].all()
    touched = {fault.subject, fault.other}
    for name, mask in faulty.masks.items():
        if name not in touched:
            assert not (mask & ~result.masks[name]).any()  # only covered by what came over it
    near = result.masks[fault.subject] | faulty.masks[fault.subject]
    if fault.other:
        near |= result.masks[fault.other] | faulty.masks[fault.other]
    for t in range(2, 6):
        close = cv2.dilate(near[t].astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
        if kind != "double":
            assert not ((faulty.frames[t] != result.frames[t]).any(-1) & ~close).any()
    iou = true_iou(result, faulty, fault.subject)
    assert (iou[[0, 1, 6, 7]] == 1).all()
    assert (iou[3:6] == 1).all() if kind in LOOKS_ALONE else (iou[3:6] < 1).all()


@pytest.mark.parametrize("kind", [kind for kind in UNITS if kind not in ("swap", "vanish", "double", "mirrored")])
def test_a_stronger_fault_does_more(kind: str, result: Result) -> None:
    weak = {"scale": 1.1, "late": 1.0}.get(kind, STRENGTHS[kind] / 4)
    ways = [plant(result, _fault(kind, strength=value)) for value in (weak, STRENGTHS[kind])]
    off = [np.abs(way.frames.astype(int) - result.frames)[2:6].sum() for way in ways]
    assert 0 < off[0] < off[1]


def test_shift_scale_rotation_and_dilation_by_their_units(result: Result) -> None:
    before = result.masks["board"][3]
    moved = plant(result, _fault("shift")).masks["board"][3]
    assert np.abs(_middle(moved) - _middle(before) - (6, 0)).max() < 0.2
    grown = plant(result, _fault("scale")).masks["board"][3]
    assert grown.sum() / before.sum() == pytest.approx(1.3**2, rel=0.1)
    turned = plant(result, _fault("rotation")).masks["board"][3]

    def angle(mask: Array) -> float:
        points = np.argwhere(mask)[:, ::-1].astype(float)
        axis = np.linalg.eigh(np.cov((points - points.mean(0)).T))[1][:, 1]
        return float(np.degrees(np.arctan2(axis[1], axis[0])) % 180)

    assert (angle(turned) - angle(before)) % 180 == pytest.approx(12.0, abs=2.5)
    wide = plant(result, _fault("dilation")).masks["board"][3]
    assert (wide & ~before).any() and not (before & ~wide).any()
    reach = cv2.distanceTransform((~before).astype(np.uint8), cv2.DIST_L2, 5)[wide].max()
    assert 3.5 <= reach <= 4.5


def test_late_shows_the_subject_of_before(result: Result) -> None:
    faulty = plant(result, _fault("late", strength=2.0))
    assert np.array_equal(faulty.masks["board"][4], result.masks["board"][2])
    inside = result.masks["board"][2]
    assert np.array_equal(faulty.frames[4][inside], result.frames[2][inside])


def test_swap_exchanges_two_subjects(result: Result) -> None:
    faulty = plant(result, _fault("swap"))
    for one, two in (("board", "board-2"), ("board-2", "board")):
        gap = _middle(faulty.masks[one][3]) - _middle(result.masks[two][3])
        assert np.abs(gap).max() < 3.0


def test_early_shows_the_subject_of_later(result: Result) -> None:
    early = plant(result, _fault("late", strength=-2.0))
    assert np.array_equal(early.masks["board"][2], result.masks["board"][4])
    last = plant(result, _fault("late", strength=-5.0, stop=8)).masks["board"][7]
    assert np.array_equal(last, result.masks["board"][7]), "no later than the clip"


def test_vanish_shows_the_plate_and_half_of_it_stays_a_subject(result: Result) -> None:
    gone = plant(result, _fault("vanish"))
    inside = result.masks["board"][3]
    assert not gone.masks["board"][3].any()
    assert np.array_equal(gone.frames[3][inside], result.plates[3][inside])  # type: ignore[index]
    faint = plant(result, _fault("vanish", strength=0.4))
    assert faint.masks["board"][3].any()
    assert not np.array_equal(faint.frames[3][inside], result.frames[3][inside])


def test_without_a_plate_the_surroundings_fill_the_hole(result: Result) -> None:
    bare = replace(result, plates=None)
    gone = plant(bare, _fault("vanish", subject="skater"))
    inside = cv2.erode(result.masks["skater"][3].astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert result.plates is not None
    left = np.abs(gone.frames[3].astype(int) - result.plates[3])[inside].mean()
    assert left < 0.5 * np.abs(result.frames[3].astype(int) - result.plates[3])[inside].mean()


def test_double_and_mirrored(result: Result) -> None:
    double = plant(result, _fault("double"))
    assert double.masks["board"][3].sum() > 1.6 * result.masks["board"][3].sum()
    mirrored = plant(result, _fault("mirrored"))
    before, after = result.joints["skater"][3], mirrored.joints["skater"][3]
    assert (before[5, 0] - before[6, 0]) * (after[5, 0] - after[6, 0]) < 0  # the shoulders change sides


def test_a_sliding_foot_glides_away_from_the_rest(result: Result) -> None:
    faulty = plant(result, _fault("slide", foot=1))
    way = faulty.joints["skater"] - result.joints["skater"]
    assert np.allclose(way[2:6, 16, 0], 9.0 * np.array([0.25, 0.5, 0.75, 1.0]), atol=1e-4)
    assert not way[:, [15, 14, 13]].any()


def test_flicker_goes_up_and_down_and_colour_drift_grows(result: Result) -> None:
    inside = result.masks["board"]

    def change(kind: str, t: int) -> Array:
        faulty = plant(result, _fault(kind))
        return np.asarray((faulty.frames[t].astype(int) - result.frames[t])[inside[t]].mean(0))

    assert (change("flicker", 2) > 15).all() and (change("flicker", 3) < -15).all()
    assert change("colour-drift", 2)[0] < change("colour-drift", 5)[0] and change("colour-drift", 5)[2] < -25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "melt"}, "there is none of this name"),
        ({"start": 5, "stop": 5}, "hold none"),
        ({"kind": "vanish", "strength": 1.5}, "give 0 to 1"),
        ({"kind": "swap", "strength": 1.0}, "the other subject"),
        ({"kind": "blur", "strength": -1.0}, "at least 0"),
        ({"kind": "scale", "strength": 0.0}, "more than 0"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(Fault("shift", 2.0, 0, 5, "board"), **changes)  # type: ignore[arg-type]


def test_a_subject_frame_or_joint_that_is_not_there_is_refused(result: Result) -> None:
    for fault, message in (
        (Fault("shift", 2.0, 0, 5, "cat"), "no subject 'cat'"),
        (Fault("shift", 2.0, 50, 55, "board"), "frame 50"),
        (Fault("slide", 2.0, 0, 5, "board"), "joints"),
    ):
        with pytest.raises(UsageError, match=message):
            plant(result, fault)
