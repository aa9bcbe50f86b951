"""`--find NAME=TEXT`: a server's SAM 3 finds subjects on the prompt frame and behind cuts; the tracker follows them."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from _clips import Clip, make
from _runs import invoke, small_clip, small_models
from fake_comfy import FakeComfy
from fake_comfy.schema import OTHERS

from stages.base import Array
from stages.decode import DecodeConfig
from stages.picture import mask_box, read_mask
from stages.prompts import Correction, ObjectPrompt, Pointing
from stages.sam.prompts import SamPrompt
from stages.sam.session import ObjectSession
from stages.subjects import Sought
from storage.errors import InputError, UsageError
from storage.rundir import RunReader
from stream.options.find import Wanted, found_scene
from stream.options.scene import Cast, read_scene

FOUND = (60.0, 70.0, 100.0, 82.0)  # by the test's server, on 160x90
FOUND_MASK = np.zeros((90, 160), bool)
FOUND_MASK[70:82, 60:100] = True


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


def wanted(clip: Path, texts: dict[str, str], frame: int = 0, behind: bool = True) -> Wanted:
    return Wanted({name: Sought(text, frame) for name, text in texts.items()}, behind, DecodeConfig(clip, split=True))


def mask_of(pointing: Pointing | None) -> Array:
    assert pointing is not None and pointing.mask_png is not None
    content = Path(pointing.mask_png).read_bytes()
    assert pointing.mask_digest == sha256(content).hexdigest()
    return read_mask(content, "mask", 160 * 90)


class Given:
    """What the sessions of SAM were prompted with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prompts: list[tuple[int, SamPrompt]] = []
        add = ObjectSession._add_prompt

        def noted(session: ObjectSession, frame: int, prompt: SamPrompt) -> None:
            self.prompts.append((frame, prompt))
            add(session, frame, prompt)

        monkeypatch.setattr(ObjectSession, "_add_prompt", noted)


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
    assert np.array_equal(mask_of(cast.subjects[0].prompt), FOUND_MASK)
    tracked = RunReader(out).arrays.read("masks/board", 0, 20)
    assert tracked.shape == (20, 90, 160)


def test_one_called_person_is_one(clip: Path, tmp_path: Path) -> None:
    with FakeComfy() as server:
        sought = wanted(clip, {"object": "a board", "person": "a man"})
        file = found_scene(sought, Cast(()), [server.address], tmp_path / "run")
        asked = len(server.executor.files.input)
        assert found_scene(sought, Cast(()), [server.address], tmp_path / "run") == file
        assert len(server.executor.files.input) == asked, "what was answered stands"
    assert [(one.name, one.kind) for one in read_scene(file).subjects] == [("object", "object"), ("person", "person")]
    with pytest.raises(UsageError, match="--find generate: the generator's own views are kept under that name"):
        wanted(clip, {"generate": "a board"})


def test_every_subject_is_looked_for_again_behind_cuts(
    cut_clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a scene: who has that name is found in place of their box; what it says of a later frame comes first."""
    scene = tmp_path / "scene.toml"
    scene.write_text(
        '[[subject]]\nname = "skater"\nkind = "person"\nbox = [10, 10, 50, 80]\nprompt = "a knight"\n'
        '[[subject]]\nname = "board"\nkind = "object"\nbox = [1, 1, 9, 9]\nheld_by = "skater"\n'
        '[[subject]]\nname = "post"\nkind = "object"\nfind = "a post"\nframe = 5\n'
        "corrections = [{ frame = 20, box = [1, 1, 9, 9] }, { frame = 30, box = [2, 2, 9, 9] }]\n"
    )
    texts = {"board": "a board", "cone": "red"}
    sought = {"post": Sought("a post", 5), **wanted(cut_clip, texts, 3).sought}
    with FakeComfy() as server:
        asked = replace(wanted(cut_clip, texts), sought=sought)
        cast = read_scene(found_scene(asked, read_scene(scene), [server.address], tmp_path))
    found = {subject.name: subject for subject in cast.subjects}
    assert list(found) == ["skater", "board", "post", "cone"] and found["board"].held_by == "skater"
    assert found["skater"].prompt == ObjectPrompt(box=(10, 10, 50, 80)) and cast.reskins[0].prompt == "a knight"
    assert [one.prompt.frame for one in cast.subjects if one.prompt is not None] == [0, 3, 5, 3]
    assert mask_box(mask_of(found["post"].prompt)) == FOUND and found["post"].find is None
    assert [item.frame for item in found["board"].corrections] == [20]
    assert mask_box(mask_of(found["board"].corrections[0])) == FOUND
    assert found["post"].corrections == (Correction(20, (1, 1, 9, 9)), Correction(30, (2, 2, 9, 9)))
    assert found["cone"].corrections == ()
    assert [line for line in caplog.messages if "--find cone" in line] == [
        "--find cone: nothing like 'red' behind the cut at frame 20"
    ]


@pytest.mark.parametrize("look", ["full", "follow"])
def test_the_tracker_is_given_the_masks(
    cut_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Those that were found, on their frames: in the frame's pixels, or through a view; a correction asks nothing."""
    given = Given(monkeypatch)
    out, scene = tmp_path / "made", tmp_path / "scene.toml"
    scene.write_text('[[subject]]\nname = "board"\nkind = "object"\nfind = "a skateboard"\nframe = 2\n')
    command = ["extract", str(cut_clip), "--scene", str(scene), "--out", str(out), "--track-view", look]
    command += ["--window", "9", "--overlap", "4", *small_models(tmp_path)]
    with FakeComfy() as server:
        done = invoke([*command, "--server", server.address])
    assert done.code == 0, done.err
    masks = [prompt.mask for _, prompt in given.prompts if prompt.mask is not None]
    whole = [mask for mask in masks if mask.shape == (90, 160)]
    assert len(whole) == 2 and all(np.array_equal(mask, FOUND_MASK) for mask in whole)
    if look == "follow":  # in the first pass whole, in the second one as it is seen through the view
        assert [mask.shape for mask in masks if mask.any()].count((128, 128)) == 2 == len(masks) - 2
        return
    assert [frame for frame, _ in given.prompts] == [2, 20]
    (entry,) = json.loads((out / "run.json").read_text())["config"]["scene"]
    assert entry["find"] is None and len(entry["corrections"][0]["mask_digest"]) == 64
    scene.write_text(scene.read_text() + "corrections = [{ frame = 30, box = [10, 10, 40, 40] }]\n")
    refused = invoke(command)
    assert refused.code == 6 and "scene: was" in refused.err
    again = invoke([*command, "--overwrite"])  # no server is asked, and the first shot stands
    assert again.code == 0, again.err
    frames = [frame for frame, _ in given.prompts[2:]]
    assert frames[-1] == 30 and 2 not in frames


def test_what_was_found_behind_a_cut_is_corrected_there(
    cut_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Given(monkeypatch)
    command = ["extract", str(cut_clip), "--find", "board=a skateboard", "--out", str(tmp_path / "made")]
    command += ["--window", "9", "--overlap", "4", *small_models(tmp_path)]
    with FakeComfy() as server:
        done = invoke([*command, "--server", server.address])
    assert done.code == 0 and [frame for frame, _ in given.prompts] == [0, 20], done.err
    again = invoke([*command, "--correct", "board@20:10,10,40,40", "--overwrite"])  # no server is asked
    assert again.code == 0, again.err
    assert given.prompts[2:] == [(20, SamPrompt(box=(10.0, 10.0, 40.0, 40.0)))]


def test_with_cuts_ignored_the_prompt_frame_is_enough(cut_clip: Path, tmp_path: Path) -> None:
    """And of two servers the one is asked that has the nodes."""
    with FakeComfy(without=frozenset({"SAM3_Detect"})) as other, FakeComfy() as server:
        asked = wanted(cut_clip, {"board": "a board"}, 3, behind=False)
        cast = read_scene(found_scene(asked, Cast(()), [other.address, server.address], tmp_path))
    assert cast.subjects[0].corrections == ()


def test_what_a_server_lacks_is_named(clip: Path, tmp_path: Path) -> None:
    assert set(OTHERS) >= {"SAM3_Detect", "CheckpointLoaderSimple"}
    for missing, words in (
        ("SAM3_Detect", "node SAM3_Detect is missing: install a newer ComfyUI"),
        ("sam3.1_multiplex_fp16.safetensors", "put it into ComfyUI's models/checkpoints"),
    ):
        with FakeComfy(without=frozenset({missing})) as server, pytest.raises(InputError, match=words):
            found_scene(wanted(clip, {"board": "a board"}), Cast(()), [server.address], tmp_path)
    assert not (tmp_path / "input").exists()


def test_what_cannot_be_found_is_told(clip: Path, tmp_path: Path) -> None:
    with FakeComfy() as server:
        with pytest.raises(InputError, match="nothing like 'nothing' is found on frame 0"):
            found_scene(wanted(clip, {"board": "nothing"}), Cast(()), [server.address], tmp_path)
        with pytest.raises(InputError, match="--find board: its frame 20 is past the end"):
            found_scene(wanted(clip, {"board": "a board"}, 20), Cast(()), [server.address], tmp_path)
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
