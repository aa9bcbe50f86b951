"""Foot lock and deflicker: on planted faults, and in runs: off by default, killed and resumed with all of it on."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from _crash import differing, results, shared_case
from _small_run import FRAMES, small_config
from _zygote import shared_zygote
from fake_comfy import FakeComfy

from stages.base import Array, Inputs, Window
from stages.deflicker import DeflickerConfig, DeflickerStage, flow_back, remapped
from stages.finishing import AFTER, BEFORE
from stages.foot import FootStage
from stages.models.registry import resolve
from stages.poses.lock import RAMP, Hold, bent
from stages.poses.models import PoseModels
from stages.region import bounding_box
from storage.errors import UsageError
from storage.rundir import RunReader
from storage.spans import Span
from stream.demo import DemoConfig, Scene
from stream.demo.faults import Fault, Result, plant
from stream.run.lifecycle import start

CLIP = DemoConfig(frames=17, width=640, height=360)  # its whole stands on both feet but the first frame
CONTACT = slice(1, 17)


@cache
def clip() -> Result:
    """The demo's frames, true masks, joints and background."""
    scene = Scene(CLIP)
    frames = [scene.frame(t) for t in range(CLIP.frames)]
    masks = {"person": np.stack([frame.person_mask for frame in frames])}
    masks["board"] = np.stack([frame.object_mask for frame in frames])
    plates = np.stack([scene.truth(t).plate for t in range(CLIP.frames)])
    joints = {"person": np.stack([frame.joints for frame in frames])}
    return Result(np.stack([frame.image for frame in frames]), masks, plates, joints)


def whole(frames: int) -> Window:
    span = Span(0, frames)
    return Window(0, span, span, span, True, frames)


def contacts() -> Array:
    found = np.zeros((CLIP.frames, 2), bool)
    found[CONTACT] = True
    return found


def held(result: Array, standing: Array) -> Array:
    """What foot lock makes of a result of the clip."""
    models = PoseModels(str(resolve("pose", "mini").path), str(resolve("detector", "mini").path), threads=1)
    joints = clip().joints["person"]
    keypoints = np.concatenate([joints, np.ones((len(joints), 133, 1))], -1).astype(np.float32)
    shown = {"frames": clip().frames, BEFORE: result, "keypoints/person": keypoints, "contacts/person": standing}
    with FootStage(models) as stage:
        stage.open()
        return stage.process(whole(len(result)), Inputs(shown)).arrays[AFTER]


def slip(result: Array, t: int) -> float:
    """How far the left foot's picture lies from where it is in the source, pixels to the right."""
    source, joints = clip().frames, clip().joints["person"][t]
    x, y = np.round((joints[15] + joints[17]) / 2).astype(int)
    patch = source[t][y - 9 : y + 10, x - 14 : x + 15]
    area = cv2.resize(result[t][y - 9 : y + 10, x - 26 : x + 27], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    patch = cv2.resize(patch, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    place = cv2.minMaxLoc(cv2.matchTemplate(area, patch, cv2.TM_SQDIFF))[2]
    return place[0] / 4 - 12


def test_a_foot_that_slides_is_held_where_it_stood() -> None:
    """But for the last frames of the contact, in which the hold is let go."""
    faulty = plant(clip(), Fault("slide", 6, CONTACT.start, CONTACT.stop, "person")).frames
    standing = contacts()
    standing[-1] = False  # the end is in sight
    found = held(faulty, standing)
    full = range(CONTACT.start + RAMP, CONTACT.stop - 1 - RAMP)
    assert max(slip(faulty, t) for t in full) > 3.5
    assert max(abs(slip(found, t)) for t in full) <= 1.5
    assert np.array_equal(found[0], faulty[0]) and np.array_equal(found[-1], faulty[-1])


def test_nothing_changes_without_a_contact_and_where_nothing_was_made() -> None:
    faulty = plant(clip(), Fault("slide", 6, CONTACT.start, CONTACT.stop, "person")).frames
    assert np.array_equal(held(faulty, contacts() & False), faulty)
    assert np.array_equal(held(clip().frames, contacts()), clip().frames)


def test_a_hold_begins_and_ends_inside_the_contact() -> None:
    hold, moves = Hold(), []
    for age in range(10):
        hold = hold.further(np.array([float(age), 0.0]))
        moves.append(hold.correction(10 - age, 1000.0)[0])
    assert moves[0] == 0 and min(moves) < -3 and abs(moves[-1]) < abs(moves[-2]) < abs(moves[-3])
    assert np.hypot(*hold.correction(None, 10.0)) == pytest.approx(1.0), "at most a tenth of the height"
    assert hold.further(None).offset == hold.offset


def test_the_leg_is_bent_and_the_rest_stays() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    keypoints = np.zeros((133, 3), np.float32)
    for joint, place in ((13, (100, 60)), (15, (100, 120)), (17, (120, 130)), (18, (118, 130)), (19, (96, 130))):
        keypoints[joint] = (*place, 1.0)
    part, box = bent(picture, keypoints, 0, np.array([4.0, 0.0]), 160.0)
    found = picture.copy()
    found[box] = part
    assert np.array_equal(found[124:130, 110:124], picture[124:130, 106:120]), "the foot goes along as a whole"
    assert np.array_equal(found[:50], picture[:50]) and np.array_equal(found[:, :50], picture[:, :50])


def flow_error(result: Array) -> float:
    """Mean difference of each frame from the one before moved by the source's flow, on the person, levels."""
    source, masks, errors = clip().frames, clip().masks["person"], []
    for t in range(1, len(result)):
        box = bounding_box(masks[t], 24)
        assert box is not None
        back, agree = flow_back(source[t - 1][box], source[t][box])
        inside = (cv2.erode(masks[t][box].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & agree
        errors.append(np.abs(remapped(result[t - 1][box], back).astype(float) - result[t][box])[inside].mean())
    return float(np.mean(errors))


def gradient_energy(result: Array) -> float:
    total = 0.0
    for picture, mask in zip(result, clip().masks["person"], strict=True):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        total += float((cv2.Sobel(grey, -1, 1, 0) ** 2 + cv2.Sobel(grey, -1, 0, 1) ** 2)[mask].sum())
    return total


def test_flicker_goes_and_sharpness_stays() -> None:
    faulty = plant(clip(), Fault("flicker", 10, 0, CLIP.frames, "person")).frames
    shown = {"frames": clip().frames, BEFORE: faulty}
    found = DeflickerStage(DeflickerConfig(0.5)).process(whole(CLIP.frames), Inputs(shown)).arrays[AFTER]
    assert flow_error(found) <= 0.5 * flow_error(faulty)
    assert gradient_energy(found) >= 0.97 * gradient_energy(faulty)
    same = (faulty == clip().frames).all(-1)
    assert np.array_equal(found[same], faulty[same]), "nothing changes where nothing was made"
    assert np.array_equal(found[0], faulty[0])


def test_nothing_of_the_shot_before_is_mixed_in() -> None:
    faulty = plant(clip(), Fault("flicker", 10, 0, CLIP.frames, "person")).frames
    stage = DeflickerStage(DeflickerConfig(1.0))
    stage.process(whole(CLIP.frames), Inputs({"frames": clip().frames, BEFORE: faulty}))
    span = Span(17, 18)
    window = Window(1, span, span, span, True, 5, 1, 17)
    found = stage.process(window, Inputs({"frames": clip().frames[:1], BEFORE: faulty[:1]})).arrays[AFTER]
    assert np.array_equal(found, faulty[:1])


def test_a_small_region_changes_nothing_of_later_frames() -> None:
    """A run that is gone on with behind it has never seen it."""
    frames = clip().frames[:8]
    made = frames.copy()
    made[:4, 100:120, 100:120] += 9  # with what is around it less than 91 pixels
    made[4:, 100:280, 100:280] += 9
    config, first, then = DeflickerConfig(0.5), Span(0, 4), Span(4, 8)
    windows = [Window(index, span, span, span, span is then, 4) for index, span in enumerate((first, then))]
    whole, resumed = DeflickerStage(config), DeflickerStage(config)
    shown = [Inputs({"frames": frames[span.start : span.stop], BEFORE: made[span.start : span.stop]})
             for span in (first, then)]  # fmt: skip
    whole.process(windows[0], shown[0])
    resumed.set_state(*whole.get_state().to_parts())
    found = whole.process(windows[1], shown[1])
    again = resumed.process(windows[1], shown[1])
    assert np.array_equal(found.arrays[AFTER], again.arrays[AFTER]) and found.info == again.info


def test_off_by_default_and_then_not_in_the_chain(tmp_path: Path) -> None:
    config = replace(small_config(), keep="all")
    start(config, tmp_path / "off")
    start(replace(config, foot_lock=False, deflicker=0.6, overlap=4), tmp_path / "on")
    off, on = (RunReader(tmp_path / name) for name in ("off", "on"))
    assert not {"foot-lock", "deflicker", "plate"} & set(off.manifest["nodes"])
    assert "deflicker" in on.manifest["nodes"] and "blended" in on.arrays.layout.arrays
    frames, blended, made = (on.arrays.read(name, 0, FRAMES) for name in ("frames", "blended", "generated"))
    same = (blended == frames).all(-1)
    assert (made != blended).any() and np.array_equal(made[same], frames[same])


@pytest.mark.slow
def test_killed_with_all_of_it_on_it_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    more = ["--window", "9", "--overlap", "4", "--foot-lock", "--deflicker", "0.5", "--fill", "plate", "--keep", "all"]
    with FakeComfy() as server:
        more += ["--server", server.address, "--size", "96x64", "--prompt", "a robot", "--timeout", "60"]
        whole = shared_zygote().run(case.run(tmp_path / "whole", *more))
        assert whole.code in (0, 1), whole.output
        nodes = RunReader(tmp_path / "whole").manifest["nodes"]
        assert {"motion", "plate", "generate", "foot-lock", "deflicker"} <= set(nodes)
        points = ("plate.state#2", "generate.begin#3", "foot-lock.state#2", "deflicker.begin#2", "deflicker.state#3")
        for point in points:
            run = tmp_path / point
            assert shared_zygote().run(case.run(run, *more), fault=point).code == -9, point
            again = shared_zygote().run(["resume", str(run)])
            assert again.code in (0, 1), again.output
            assert differing(results(run), results(tmp_path / "whole")) == [], point


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"foot_lock": True, "overlap": 3}, "--overlap 4"),
        ({"foot_lock": True, "overlap": 4, "reskin": "object"}, "one regenerated person"),
        ({"deflicker": 1.5}, "--deflicker 1.5 is outside 0..1"),
        ({"deflicker": float("nan")}, "--deflicker"),
    ],
)
def test_what_cannot_be_finished_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(small_config(), **changes)  # type: ignore[arg-type]
