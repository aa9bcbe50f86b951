"""Small runs for tests: a demo clip of 160x90, the random SAM, and `skate` called in this process."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from _sam_fixture import write_small_sam

from stages.picture import mask_box
from stream.cli import main
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.run.children import SKATE, Children, Made, made_of

CLIP = DemoConfig(frames=20, width=160, height=90, seed=1)
BOX = ["--box", ",".join(f"{value:g}" for value in mask_box(Scene(CLIP).frame(0).object_mask))]
CLIP_OPTIONS = ["--window", "9", "--overlap", "4"]


@dataclass(frozen=True)
class Result:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def invoke(arguments: list[str]) -> Result:
    """Run `skate` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as error:
            code = error.code
    assert isinstance(code, int)
    return Result(code, out.getvalue(), err.getvalue())


def small_clip(folder: Path) -> Path:
    """A demo clip of 20 frames."""
    path = folder / "clip.mp4"
    write_clip(CLIP, path)
    return path


def small_models(folder: Path) -> list[str]:
    """Options that choose a random SAM 2.1 of 128 px and the mini pose models."""
    config = write_small_sam(folder)
    sam = ["--sam", str(config.checkpoint), "--sam-config", str(config.config_yaml)]
    return [*sam, "--pose", "mini", "--detector", "mini"]


def follow_here(children: Children, name: str, words: Sequence[str]) -> Made:
    """In place of `Children.follow`: the command runs in this process, which has loaded everything."""
    assert tuple(words[: len(SKATE)]) == SKATE
    ended = invoke([*words[len(SKATE) :], "--json"])
    lines = ended.out.splitlines()
    for line in lines:
        children.tell(name, line)
    return made_of(name, ended.code, json.loads(lines[-1]))
