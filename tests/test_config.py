"""The run's options: validation, round trip, and what a change of each means."""

import dataclasses
import json

import pytest

from stages.prompts import Correction, ObjectPrompt
from stages.subjects import OBJECT, Subject
from storage.errors import UsageError
from stream.options.config import RunConfig
from stream.options.differences import config_digest, differences

PROMPT = ObjectPrompt(frame=3, box=(1.0, 2.0, 30.0, 40.0))
FULL = RunConfig(
    prompt=PROMPT,
    video="/clips/a.mp4",
    correct=(Correction(90, (1.0, 1.0, 5.0, 5.0)),),
    person_box=(0.0, 0.0, 9.0, 9.0),
    size=(832, 480),
    server=("127.0.0.1:8188",),
    text="a samurai",
)


@pytest.mark.parametrize("config", [FULL, RunConfig(ObjectPrompt(points=((1.0, 2.0, 1), (5.0, 5.0, 0))))])
def test_config_survives_json(config: RunConfig) -> None:
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_options_that_cannot_change_a_result_do_not_count() -> None:
    for change in ({"server": ("other:1",)}, {"timeout": 1.0}, {"keep": "all"}, {"retries": 3}, {"vram": 1}):
        other = dataclasses.replace(FULL, **change)
        assert config_digest(other.decisive()) == config_digest(FULL.decisive()), change


@pytest.mark.parametrize(
    ("change", "since"),
    [
        ({"text": "a robot"}, "generate"),
        ({"prompt": ObjectPrompt(box=(1.0, 2.0, 30.0, 41.0))}, "pose"),
        ({"sam": "large"}, "track"),
        ({"window": 45, "text": "x"}, "decode"),
        ({"iou_threshold": 0.8}, "finish"),
    ],
)
def test_a_change_is_named_with_both_values_and_where_it_begins(change: dict, since: str) -> None:  # type: ignore[type-arg]
    other = dataclasses.replace(FULL, **change)
    found = differences(FULL.decisive(), other.decisive())
    assert {difference.name for difference in found} == set(change)
    assert since in {difference.since for difference in found}
    assert all("was" in str(difference) and "now" in str(difference) for difference in found)


def test_the_order_of_corrections_is_nothing() -> None:
    early, late = Correction(5, (1.0, 2.0, 3.0, 4.0)), Correction(9, points=((1.0, 2.0, 1),))
    one, two = (dataclasses.replace(FULL, correct=order).decisive() for order in ((early, late), (late, early)))
    assert differences(one, two) == [] and differences(json.loads(json.dumps(one)), two) == []
    moved = dataclasses.replace(FULL, correct=(dataclasses.replace(late, frame=8), early)).decisive()
    assert [each.frame for each in differences(one, moved)] == [8]
    subjects = (Subject("a", OBJECT, ObjectPrompt(box=(1, 2, 3, 4)), order) for order in ((early, late), (late, early)))
    bare = dataclasses.replace(FULL, correct=(), person_box=None, prompt=None, scene=(Subject("a", OBJECT, PROMPT),))
    one, two = (dataclasses.replace(bare, scene=(each,)).decisive() for each in subjects)
    assert differences(one, two) == []


def test_every_option_says_what_it_can_change() -> None:
    for item in dataclasses.fields(RunConfig):
        known = ("decode", "pose", "track", "occlusion", "regions", "aim", "generate", "composite", "blend", "score")
        assert item.metadata["since"] in (None, *known, "finish"), item.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 80}, "--window 80"),
        ({"overlap": 50}, "--overlap 50"),
        ({"person_box": (5.0, 0.0, 5.0, 9.0)}, "--person-box 5,0,5,9 is empty or inverted"),
        ({"dilate": (8, -1)}, "--dilate -1"),
        ({"detect_every": 0}, "--detect-every 0"),
        ({"iou_threshold": 1.5}, "--iou-threshold 1.5"),
        ({"fps": 0.0}, "--fps 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(FULL, **change)


def test_the_object_needs_exactly_one_kind_of_prompt() -> None:
    with pytest.raises(UsageError, match="exactly one"):
        ObjectPrompt()
    with pytest.raises(UsageError, match="exactly one"):
        ObjectPrompt(box=(0.0, 0.0, 1.0, 1.0), points=((0.0, 0.0, 1),))
    with pytest.raises(UsageError, match="inverted"):
        ObjectPrompt(box=(5.0, 0.0, 1.0, 1.0))
