"""The registry of generators: each is what it says, and a run's windows are those that its generator takes."""

import ast
from pathlib import Path

import pytest

from stages.generator import GeneratorStage
from stages.generators import GENERATORS
from stages.prompts import ObjectPrompt
from storage.errors import UsageError
from stream.engine.windows import WindowPlan
from stream.options.config import RunConfig


@pytest.mark.parametrize("name", GENERATORS)
def test_every_entry_is_a_generator(name: str) -> None:
    assert issubclass(GENERATORS[name].load(), GeneratorStage)
    reskin = "remove" if name == "plate" else "both"
    config = RunConfig(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0)), generator=name, reskin=reskin)
    assert config.plan.step == GENERATORS[name].geometry.frame_step


def test_windows_of_another_step() -> None:
    assert [window.padded_frames for window in WindowPlan(17, 5, step=8).windows(29)] == [17, 17]
    assert [window.padded_frames for window in WindowPlan(33, 5, step=8).windows(11)] == [17]
    assert [window.padded_frames for window in WindowPlan(33, 5, step=1).windows(11)] == [11]
    with pytest.raises(UsageError, match=r"--window 13 is not 8n\+1 \(9, 17, \.\.\. 161\): the nearest below is 9"):
        WindowPlan(13, 2, step=8)
    WindowPlan(14, 2, step=1)


def test_another_one_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="--generator dream is none of comfyui, preview"):
        RunConfig(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0)), generator="dream")


def test_nobody_but_the_registry_asks_for_a_generator_by_name() -> None:
    root = Path(__file__).resolve().parents[1]
    for source in [*(root / "stream").rglob("*.py"), *(root / "stages").rglob("*.py")]:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [each for each in (node.left, *node.comparators) if isinstance(each, ast.Constant)]
                named = [each.value for each in constants if each.value in GENERATORS]
                assert not named, f"{source.relative_to(root)}:{node.lineno}: {named[0]}"
