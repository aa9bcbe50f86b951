"""Files of options: what `--write-config` leaves as comments, and paths that no shell has read."""

import tomllib
from pathlib import Path

import pytest
from _runs import invoke
from _small_run import small_clip

from storage.errors import UsageError
from stream.options.values import at_home


def test_a_default_is_given_by_taking_its_sign_away(tmp_path: Path) -> None:
    words = ["run", str(small_clip()), "--out", "x", "--box", "1,2,30,40", "--write-config", "-"]
    lines = [line.removeprefix("# ") for line in invoke(words).out.splitlines() if line.startswith("# ")]
    known = [line for line in lines if " = " in line and " = ...  #" not in line]
    given = tomllib.loads("\n".join(known))
    assert len(given) > 20 and "box" not in given and "window" not in given, "window's is the recipe's"
    assert (given["keep"], given["gate"], given["sam"], given["prompt"]) == ("none", "iou", "small", "")
    assert (given["retries"], given["iou-threshold"], given["dilate"], given["comparison"]) == (0, 0.9, [8, 8], False)
    file = tmp_path / "defaults.toml"
    file.write_text("\n".join(known))
    again = invoke([*words, "--config", str(file)])
    written = tomllib.loads(again.out)
    assert {key: value for table in written.values() for key, value in table.items() if key in given} == given
    assert '# sam = "mini"  #' in invoke(["demo", "--write-config", "-"]).out, "each command's own"


def test_the_home_folder_is_meant_where_no_shell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    clip = str(small_clip())
    (tmp_path / "a.toml").write_text('out = "~/x"\nreference = "~/no.png"\n')
    run = ["run", clip, "--box", "1,2,30,40"]
    for words in (["--config", "a.toml"], ["--out=~/x", "--reference=~/no.png"]):
        written = tomllib.loads(invoke([*run, *words, "--write-config", "-"]).out)
        assert (written["output"]["out"], written["look"]["reference"]) == (f"{home}/x", f"{home}/no.png")
    assert invoke(["frame", clip, "--to=~/frame.png"]).code == 0 and (home / "frame.png").is_file()
    (tmp_path / "jobs.toml").write_text('[[job]]\nname = "a"\nvideo = "~/no.mp4"\nbox = [1, 2, 30, 40]\n')
    planned = invoke(["batch", "plan", "jobs.toml", "--out=~/all"])
    assert f"{home}/no.mp4: no such video file" in planned.out
    assert not (tmp_path / "~").exists()


def test_a_user_without_a_home_folder_is_told_to_give_the_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", none)
    assert at_home("./~/x") == "./~/x"
    with pytest.raises(UsageError, match=r"^~/x: this user has no home folder: give the whole path$"):
        at_home("~/x")
