"""The command that `skate pick RUN` ends with: it makes the run's own config again, with what is pointed at now."""

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from _small_run import small_clip, small_config, small_mask, small_run
from test_scene_runs import scene_config

from stages.gate import Gated
from stages.prompts import Correction
from stream.cli.again import command_again
from stream.cli.run import run_command
from stream.options.config import RunConfig
from stream.options.scene import Cast, write_scene
from stream.options.settings import config_from_options
from stream.pick.desk import Desk
from stream.pick.sam import still_sam
from stream.pick.tracked import Tracked

WORDS = ["--box", "60,70,100,82"]


def of(**changes: object) -> Callable[[], RunConfig]:
    return lambda: dataclasses.replace(small_config(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (of(), ""),
        (of(chain="extract"), ""),
        (of(seed=5, text="a neon board", size=(96, 64)), "--prompt 'a neon board' --seed 5 --size 96x64"),
        (of(view=(1.0, 2.5, 90.0, 80.0), stabilise=0, dilate=(3, 4), fps=12.5), "--view 1,2.5,90,80 --stabilise off"),
        (of(gate=(Gated("iou", 0.8), Gated("contact", None)), match_grain=True, vram=2_000_000_000), "--gate"),
        (of(generator="comfyui", server=("127.0.0.1:1",), text="x", workflow="vace", profile="fast"), "--profile fast"),
    ],
)  # fmt: skip
def test_the_command_is_whole_and_as_short_as_it_can_be(made: Callable[[], RunConfig], words: str) -> None:
    config = made()
    command = command_again(config, Path("made"), WORDS)
    assert command is not None and words in command and command.endswith(" --out made --overwrite")
    given = shlex.split(command)
    assert given[:5] == ["skate", config.chain, config.video, *WORDS] and "--device" not in given
    assert "--iou-threshold" not in given and "--smooth" not in given
    assert given.count("--sam") == 1 and given[given.index("--window") + 1] == "9"


def test_what_no_option_says_has_no_command(tmp_path: Path) -> None:
    for config in (of(chain="given")(), of(cuts=(9,))(), of(video=str(tmp_path / "gone.mp4"))()):
        assert command_again(config, Path("made"), WORDS) is None


def test_pick_ends_with_the_runs_own_command_and_what_was_changed(tmp_path: Path) -> None:
    run = Tracked(small_run(with_mask=True))
    desk = Desk(run.video, tmp_path / "run.toml", still_sam("mini", None, "cpu"), run, command_again)
    (entry,) = desk.subjects
    desk.subjects = [{**entry, "corrections": [*entry["corrections"], {"frame": 15, "points": [[80.25, 76, 1]]}]}]
    (command,) = desk.commands()
    context = run_command.make_context("run", shlex.split(command)[2:])
    given = {name: value for name, value in context.params.items() if name not in ("as_json", "write_scene")}
    assert given.pop("overwrite") and given.pop("out") == str(run.path)
    found = config_from_options(given.pop("video"), "run", given, run.path)
    assert found.prompt is not None and found.prompt.mask_png == str(small_mask())
    assert [(item.frame, item.mask_png) for item in found.correct] == [(12, str(small_mask())), (15, None)]
    assert found.correct[1] == Correction(15, points=((80.25, 76.0, 1),))
    same = dataclasses.replace(found, prompt=run.config.prompt, correct=run.config.correct)
    assert same == run.config
    desk.subjects = [{"name": "object", "kind": "object", "box": [1, 2, 30, 40], "frame": 3}]
    assert " --box 1,2,30,40 --prompt-frame 3 --" in desk.commands()[0]
    desk.subjects[0]["prompt"] = "a log"  # of a scene alone
    assert desk.commands()[0].startswith("# to the command that made")
    desk.close()


def test_the_run_of_a_scene_has_its_other_options(tmp_path: Path) -> None:
    config = dataclasses.replace(scene_config(), seed=7)
    scene = tmp_path / "scene.toml"
    write_scene(scene, Cast(config.subjects, config.reskins, config.gated, config.cuts))
    command = command_again(config, Path("made"), ["--scene", str(scene)])
    assert command is not None and f"--scene {scene}" in command and "--seed 7" in command
    assert shlex.split(command)[2] == str(small_clip())
