"""Several looks of one tracking: shared tracking, a run each, one page; killed in the midst, nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from _runs import BOX, CLIP_OPTIONS, follow_here, invoke, small_clip, small_models
from fake_comfy.process import ServerProcess
from test_scene_runs import scene_config

from storage.rundir import read_log
from stream.report.gallery import made_with
from stream.run.children import Children, whole_code
from stream.run.variations import Variation, Workers

LOOKS = """
[[variation]]
name = "robot"
prompt = "a robot"
seed = 3

[[variation]]
name = "knight"
prompt = "a knight"
dilate = [2, 3]
comparison = true

[[variation]]
name = "ghost"
prompt = "a ghost"
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extracted run."""
    folder = tmp_path_factory.mktemp("tracked")
    out = folder / "run"
    arguments = ["extract", str(small_clip(folder)), "--out", str(out), *BOX, *small_models(folder), *CLIP_OPTIONS]
    assert invoke(arguments).code == 0
    return out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give tables [[variation]]"),
        ("seed = 1", ", holds 'seed': give tables [[variation]]"),
        ("[variation]\nname = 'a'", "give tables [[variation]]"),
        ("[[variation]]\nseed = 1", "variation 1: it has no name, but 'seed': give letters, digits"),
        ("[[variation]]\nname = 3", "variation 1: name = '3': give letters, digits"),
        ("[[variation]]\nname = '../up'", "give letters, digits, - and _"),
        ("[[variation]]\nname = 'a'\n[[variation]]\nname = 'a'", "the name 'a' is given twice"),
        ("[[variation]]\nname = 'a'\nwindow-size = 1", "'window-size' is nothing that variations can have"),
        ("[[variation]]\nname = 'a'\nout = 'b'", "'out' is nothing that variations can have"),
        ("[[variation]]\nname = 'a'\nserver = 'b:1'", "'server' is nothing that variations can have"),
        ("[[variation]]\nname = 'a'\nseed = [true]", "--variations"),
        ("[[variation", "is no TOML"),
    ],
)
def test_what_is_no_list_of_variations_is_refused(tracked: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "looks.toml"
    file.write_text(text)
    ended = invoke(["generate", str(tracked), "--variations", str(file), "--out", str(tmp_path / "out")])
    assert ended.code in (2, 3) and said in ended.err and ended.err.count("\n") == 1, ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only there does a file system hold any name")
def test_a_folder_whose_name_is_no_text(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Children, "follow", follow_here)
    file, out = tmp_path / "looks.toml", tmp_path / os.fsdecode(b"out\xff")
    file.write_text('[[variation]]\nname = "knight"\nseed = 3\n')
    command = ["generate", str(tracked), "--variations", str(file), "--out", str(out)]
    ended = invoke(command)
    assert ended.code in (0, 1), ended.err
    assert (out / "knight" / "output.mp4").is_file() and (out / "index.html").is_file()
    ended = invoke([*command, "--reference", os.fsdecode(b"look\xff.png")])
    assert ended.code == 3 and ended.err.count("\n") == 1, ended.err


def fake(tmp_path: Path, code: str) -> list[str]:
    """A command in place of `skate generate`."""
    script = tmp_path / "fake.py"
    script.write_text(f"import json, sys, time, pathlib\nwords = sys.argv[1:]\n{code}\n")
    return [sys.executable, str(script)]


def test_as_many_work_at_a_time_as_there_are_servers_each_with_another_one_first(tmp_path: Path) -> None:
    """Every process waits until as many have begun as there are servers: with one at a time none would end."""
    code = """
out = pathlib.Path(words[words.index("--out") + 1])
servers = [b for a, b in zip(words, words[1:]) if a == "--server"]
out.mkdir(parents=True)
(out / servers[0].replace(":", "_")).touch()
while len(list(out.parent.iterdir())) < 2: time.sleep(0.01)
print(json.dumps({"event": "done", "gate": "passed", "servers": servers}))
"""
    workers = Workers(fake(tmp_path, code), ["a:1", "b:2"], lambda name, line: None)
    made = workers.make([Variation(name, ()) for name in "pqrs"], tmp_path / "out")
    assert [each.name for each in made] == list("pqrs") and all(each.code == 0 for each in made)
    orders = {tuple(each.done["servers"]) for each in made if each.done}
    assert orders == {("a:1", "b:2"), ("b:2", "a:1")}


def test_what_fails_stops_no_other(tmp_path: Path) -> None:
    code = """
if "bad" in words:
    print(json.dumps({"event": "error", "code": 5, "message": "the server refuses it"})); sys.exit(5)
if "mute" in words:
    sys.exit(70)
print(json.dumps({"event": "done", "gate": "passed"}))
"""
    workers = Workers(fake(tmp_path, code), [], lambda name, line: None)
    made = workers.make([Variation("x", ("bad",)), Variation("y", ("mute",)), Variation("z", ())], tmp_path)
    assert [(each.code, each.message) for each in made] == [
        (5, "the server refuses it"),
        (70, "ended with code 70 and said nothing"),
        (0, ""),
    ]


def test_interrupted_it_tells_all_that_work_to_stop_and_begins_no_other(tmp_path: Path) -> None:
    """Two work when Ctrl-C comes to this process alone; what they commit on SIGTERM is waited for."""
    code = """
import signal
out = pathlib.Path(words[words.index("--out") + 1])
def stop(*_): time.sleep(0.5); (out / "committed").touch(); sys.exit(130)
signal.signal(signal.SIGTERM, stop)
out.mkdir(parents=True)
print("begun")
sys.stdout.flush()
time.sleep(100)
"""
    begun: list[str] = []

    def tell(name: str, line: str) -> None:
        begun.append(name)
        if len(begun) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    workers = Workers(fake(tmp_path, code), ["a:1", "b:2"], tell)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background process ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.make([Variation(name, ()) for name in "pqrs"], tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(begun) == ["p", "q"] and {path.name for path in (tmp_path / "out").iterdir()} == {"p", "q"}
    assert all((tmp_path / "out" / name / "committed").exists() for name in "pq")


def test_how_a_process_ended_is_told_from_its_code_and_its_last_line(tmp_path: Path) -> None:
    code = """
if "killed" in words: os.kill(os.getpid(), 9)
print(json.dumps({"event": "done", "gate": "failed"} if "gate" in words else [1]))
sys.stdout.buffer.write(b"no text \\xff\\n")
sys.exit(1 if "gate" in words else 4)
"""
    told: list[str] = []
    workers = Workers(fake(tmp_path, f"import os{code}"), [], lambda name, line: told.append(line))
    made = workers.make([Variation(name, (name,)) for name in ("gate", "killed", "odd")], tmp_path)
    assert [(each.code, each.message) for each in made] == [
        (1, ""),
        (4, "was killed by signal 9: the same command continues"),
        (4, "ended with code 4 and said nothing"),
    ]
    assert made[0].done == {"event": "done", "gate": "failed"} and "no text \ufffd" in told


@pytest.mark.parametrize(
    ("codes", "wanted"), [([], 0), ([0, 0], 0), ([0, 1, 0], 1), ([1, 5, 4, 0], 5), ([0, 130], 130), ([70, 1], 70)]
)
def test_the_first_that_failed_says_how_all_ended(codes: list[int], wanted: int) -> None:
    assert whole_code(codes) == wanted


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_on_two_servers_killed_in_the_midst_nothing_is_done_twice(tracked: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "looks.toml", tmp_path / "out"
    file.write_text(LOOKS)
    with ServerProcess(step_seconds=0.05) as first, ServerProcess(step_seconds=0.05) as second:
        command = ["generate", str(tracked), "--variations", str(file), "--out", str(out), "--json", "--size", "96x64"]
        command += ["--steps", "2", "--server", first.address, "--server", second.address]
        skate = [sys.executable, "-m", "stream.cli", *command]
        with subprocess.Popen(skate, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            begun: list[str] = []
            for line in process.stdout:
                begun.append(line)
                if sum('"stage": "generate"' in each for each in begun) == 2:
                    os.kill(process.pid, signal.SIGKILL)
                    break
        done = {(e["variation"], e["stage"], e["index"]) for e in lines("".join(begun)) if e["event"] == "window"}
        time.sleep(1)
        for _ in range(60):  # the others end at their next line
            ended = subprocess.run(skate, capture_output=True, text=True, check=False)
            if "is in use by another" not in ended.stdout:
                break
            time.sleep(0.5)
        assert ended.returncode in (0, 1), ended.stderr
        events = lines(ended.stdout)
    again = {(e["variation"], e["stage"], e["index"]) for e in events if e["event"] == "window"}
    assert done and not done & again, "a committed window was made again"
    assert not {stage for _, stage, _ in done | again} & {"decode", "pose", "track"}, "tracking is shared"
    last = events[-1]
    assert last["event"] == "done" and list(last["variations"]) == ["robot", "knight", "ghost"] and not last["failed"]  # type: ignore[call-overload]
    masks = [
        path for path in (out / "knight" / "run.zarr" / "masks" / "object").iterdir() if path.name.startswith("c.")
    ]
    assert masks and all(path.stat().st_nlink == 4 for path in masks), "on one disk tracking is stored once"
    assert (out / "knight" / "comparison.mp4").is_file() and not (out / "robot" / "comparison.mp4").exists()
    for name, text in (("robot", "a robot"), ("ghost", "a ghost")):
        assert read_log(out / name).finished is not None
        assert text in (out / "index.html").read_text()
    alone = tmp_path / "alone"
    with ServerProcess() as server:
        words = ["--prompt", "a robot", "--seed", "3", "--server", server.address, "--size", "96x64", "--steps", "2"]
        assert invoke(["generate", str(tracked), "--out", str(alone), *words]).code in (0, 1)
    assert (alone / "output.mp4").read_bytes() == (out / "robot" / "output.mp4").read_bytes()


def test_the_page_tells_the_words_of_each_generation_of_a_scene() -> None:
    assert made_with(scene_config("each", swap=(("board", "a log"),))).endswith("; a log, seed 0, reskin both")
    together = scene_config(text="{skater} on {board}", swap=(("board", "a log"),))
    assert made_with(together) == "a samurai on a log, seed 0, reskin both"
