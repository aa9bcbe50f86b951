"""`--find NAME=TEXT`: a server's SAM 3 finds subjects on the prompt frame and behind cuts; the tracker follows them."""

from pathlib import Path

import numpy as np
import pytest
from _clips import Clip, make
from _runs import invoke, small_clip, small_models
from fake_comfy import FakeComfy
from fake_comfy.schema import OTHERS

from stages.base import Array
from stages.decode import DecodeConfig
from stages.picture import read_mask
from stages.prompts import ObjectPrompt
from storage.errors import InputError, UsageError
from storage.rundir import RunReader
from stream.options.find import Wanted, found_scene
from stream.options.scene import read_scene

FOUND = (60.0, 70.0, 100.0, 82.0)  # by the test's server, on 160x90


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("find"))


@pytest.fixture(scope="module")
def cut_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of 20 frames."""

    def picture(index: int, width: int, height: int) -> Array:
        shade = np.linspace(0, 120, width, dtype=np.uint8)[None, :, None]
        colour = np.array((250, 40, 10) if index < 20 else (10, 60, 250), np.uint8)
        return np.ascontiguousarray(np.broadcast_to(shade // 2 + colour // 2, (height, width, 3)))

    return make(tmp_path_factory.mktemp("cut") / "cut.mp4", Clip(frames=40, width=160, height=90), picture)


def wanted(clip: Path, texts: dict[str, str], frame: int = 0, scene: Path | None = None, behind: bool = True) -> Wanted:
    return Wanted(texts, frame, behind, DecodeConfig(clip, split=True), scene)


def test_a_run_follows_what_a_text_finds(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    with FakeComfy() as server:
        command = ["run", str(clip), "--find", "board=a skateboard", "--out", str(out), "--server", server.address,
                   "--prompt", "a robot", "--size", "96x64", "--steps", "2", "--window", "9", "--overlap", "4",
                   *small_models(tmp_path)]  # fmt: skip
        done = invoke(command)
        assert done.code in (0, 1), done.err
        asked = [job for job in server.executor.files.input if job.endswith("_find.png")]
        again = invoke(command)  # asks nothing: it is the same run
        assert again.code == done.code and again.err.count("Traceback") == 0, again.err
        assert [job for job in server.executor.files.input if job.endswith("_find.png")] == asked and len(asked) == 1
    cast = read_scene(out / "input" / "found" / "scene.toml")
    assert [(one.name, one.kind) for one in cast.subjects] == [("board", "object")] and cast.gated == ("board",)
    prompt = cast.subjects[0].prompt
    assert prompt is not None and prompt.mask_png is not None and prompt.frame == 0
    mask = read_mask(Path(prompt.mask_png).read_bytes(), "mask", 160 * 90)
    assert mask.sum() == 40 * 12 and mask[70:82, 60:100].all()
    tracked = RunReader(out).arrays.read("masks/board", 0, 20)
    assert tracked.shape == (20, 90, 160)


def test_it_is_looked_for_again_behind_cuts_and_added_to_a_scene(cut_clip: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scene.toml"
    scene.write_text(
        '[[subject]]\nname = "skater"\nkind = "person"\nbox = [10, 10, 50, 80]\nprompt = "a knight"\n'
        '[[subject]]\nname = "board"\nkind = "object"\nbox = [1, 1, 9, 9]\nheld_by = "skater"\n'
    )
    with FakeComfy() as server:
        cast = read_scene(
            found_scene(wanted(cut_clip, {"board": "a board", "cone": "a cone"}, 3, scene), [server.address], tmp_path)
        )
    assert [(one.name, one.held_by) for one in cast.subjects] == [("skater", None), ("board", "skater"), ("cone", None)]
    for subject in cast.subjects[1:]:
        assert subject.prompt is not None and subject.prompt.frame == 3 and subject.prompt.mask_png is not None
        assert [(item.frame, item.box) for item in subject.corrections] == [(20, FOUND)]
    assert cast.reskins[0].prompt == "a knight" and cast.subjects[0].prompt == ObjectPrompt(box=(10, 10, 50, 80))


def test_with_cuts_ignored_the_prompt_frame_is_enough(cut_clip: Path, tmp_path: Path) -> None:
    with FakeComfy() as server:
        asked = wanted(cut_clip, {"board": "a board"}, 3, behind=False)
        cast = read_scene(found_scene(asked, [server.address], tmp_path))
    assert cast.subjects[0].corrections == ()


def test_what_a_server_lacks_is_named(clip: Path, tmp_path: Path) -> None:
    assert set(OTHERS) >= {"SAM3_Detect", "CheckpointLoaderSimple"}
    for missing, words in (
        ("SAM3_Detect", "node SAM3_Detect is missing: install a newer ComfyUI"),
        ("sam3.1_multiplex_fp16.safetensors", "put it into ComfyUI's models/checkpoints"),
    ):
        with FakeComfy(without=frozenset({missing})) as server, pytest.raises(InputError, match=words):
            found_scene(wanted(clip, {"board": "a board"}), [server.address], tmp_path)
    assert not (tmp_path / "input").exists()


def test_what_cannot_be_found_is_told(clip: Path, tmp_path: Path) -> None:
    with FakeComfy() as server:
        with pytest.raises(InputError, match="nothing like 'nothing' is found on frame 0"):
            found_scene(wanted(clip, {"board": "nothing"}), [server.address], tmp_path)
        with pytest.raises(InputError, match="--prompt-frame 20 is past the end"):
            found_scene(wanted(clip, {"board": "a board"}, 20), [server.address], tmp_path)
    with pytest.raises(UsageError, match="is no name"):
        wanted(clip, {"../x": "a board"})
    with pytest.raises(UsageError, match="say what it is"):
        wanted(clip, {"board": " "})
    rest = ["--out", str(tmp_path / "no"), "--sam", "mini", "--pose", "mini", "--detector", "mini"]
    for words, said in (
        (["run", str(clip), "--find", "board=a board"], "give --server"),
        (["extract", str(clip), "--find", "board=a board"], "give --server"),
        (["run", str(clip), "--find", "board=x", "--box", "1,1,9,9", "--server", "127.0.0.1:1"], "leave --box out"),
        (["run", str(clip), "--find", "board=x", "--write-scene", "x.toml"], "leave --write-scene out"),
    ):
        refused = invoke([*words, *rest])
        assert refused.code == 2 and said in refused.err, refused.err
