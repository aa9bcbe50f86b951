"""`skate redo` of a scene in which each subject has a generation of its own, on a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _runs import invoke, small_clip, small_models
from fake_comfy import FakeComfy

SCENE = """
[[subject]]
name = "board"
kind = "object"
box = [60, 70, 100, 82]
held_by = "skater"
prompt = "a log"

[[subject]]
name = "skater"
kind = "person"
box = [60, 20, 100, 75]
prompt = "a monk"
"""
WORDS = ["--window", "9", "--overlap", "3", "--size", "96x64", "--steps", "2", "--passes", "each"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with FakeComfy() as server:
        yield server.address


@pytest.fixture(scope="module")
def runs(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that kept everything, and one that kept nothing."""
    folder = tmp_path_factory.mktemp("each")
    (folder / "scene.toml").write_text(SCENE)
    words = ["run", str(small_clip(folder)), *small_models(folder), *WORDS, "--scene", str(folder / "scene.toml")]
    for keep in ("all", "none"):
        ended = invoke([*words, "--server", server, "--keep", keep, "--out", str(folder / keep)])
        assert ended.code in (0, 1), ended.err
    return {keep: folder / keep for keep in ("all", "none")}


def test_a_run_that_kept_nothing_comes_out_as_one_that_kept_all(runs: dict[str, Path], tmp_path: Path) -> None:
    """What the first generation made is blended for itself too, and so is read once more behind the redo."""
    for keep, made in runs.items():
        shutil.copytree(made, tmp_path / keep)
    for windows in ("2", "0,1"):
        for keep in runs:
            run = str(tmp_path / keep)
            ended = invoke(["redo", run, "--windows", windows, "--seed", "9"])
            assert ended.code in (0, 1), ended.err
            assert invoke(["status", run, "--verify"]).code == 0 and invoke(["resume", run]).code in (0, 1)
        one, other = ((tmp_path / keep / "output.mp4").read_bytes() for keep in runs)
        assert one == other
    assert one != (runs["none"] / "output.mp4").read_bytes()


def test_what_went_on_from_a_window_that_was_replaced_is_not_made_again(runs: dict[str, Path], tmp_path: Path) -> None:
    """It would be another: said as that, and the run stays."""
    run = str(shutil.copytree(runs["none"], tmp_path / "run"))
    assert invoke(["redo", run, "--windows", "1", "--seed", "9"]).code in (0, 1)
    before = (tmp_path / "run" / "output.mp4").read_bytes()
    ended = invoke(["redo", run, "--windows", "0", "--seed", "9"])
    assert ended.code == 5 and "a window 1 that `skate redo` has replaced since" in ended.err, ended.err
    assert (tmp_path / "run" / "output.mp4").read_bytes() == before and invoke(["status", run, "--verify"]).code == 0


@pytest.mark.parametrize(("text", "told"), [
    ("a {tree}", "nothing says what {tree} becomes"), ("a bird", "every subject is made by words of its own"),
])  # fmt: skip
def test_words_that_make_nothing_are_refused(runs: dict[str, Path], text: str, told: str) -> None:
    before = (runs["all"] / "journal.jsonl").read_bytes()
    ended = invoke(["redo", str(runs["all"]), "--windows", "1", "--prompt", text])
    assert ended.code == 2 and told in ended.err, ended.err
    assert (runs["all"] / "journal.jsonl").read_bytes() == before


def test_a_window_is_not_made_without_a_word(server: str, tmp_path: Path) -> None:
    words = ["run", str(small_clip(tmp_path)), *small_models(tmp_path), *WORDS[:-2], "--box", "60,70,100,82"]
    ended = invoke([*words, "--prompt", "a log", "--server", server, "--out", str(tmp_path / "run")])
    assert ended.code in (0, 1), ended.err
    ended = invoke(["redo", str(tmp_path / "run"), "--windows", "1", "--prompt", " "])
    assert ended.code == 2 and "without a word of what to make" in ended.err, ended.err


def test_what_was_only_extracted_says_so(tmp_path: Path) -> None:
    """Not what one generation could not give."""
    wide = SCENE + 'dilate = 3\n[[subject]]\nname = "rival"\nkind = "person"\nbox = [5, 20, 50, 75]\ndilate = 9\n'
    (tmp_path / "scene.toml").write_text(wide)
    words = ["extract", str(small_clip(tmp_path)), *small_models(tmp_path), *WORDS[:4]]
    ended = invoke([*words, "--scene", str(tmp_path / "scene.toml"), "--out", str(tmp_path / "run")])
    assert ended.code == 0, ended.err
    ended = invoke(["redo", str(tmp_path / "run"), "--windows", "1", "--prompt", "a bird"])
    assert ended.code == 6 and "nothing was generated in it" in ended.err, ended.err
