"""`skate pick` without a browser: who may talk to its server, what it refuses, the scene that it writes, a run."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from _runs import CLIP, invoke, small_clip
from _small_run import small_run, small_sam
from PIL import Image
from test_remove import vanishing
from test_scene_runs import scene_config

from stages.picture import mask_box
from stages.subjects import Sought
from stages.video.at import Frames, frame_at
from storage.errors import InputError
from stream.demo import Scene
from stream.options.scene import read_scene
from stream.pick.desk import Desk
from stream.pick.guard import MOST_BODY_BYTES
from stream.pick.sam import still_sam
from stream.pick.serve import Served, serve
from stream.pick.tracked import Tracked
from stream.run.lifecycle import start


class Page:
    """Asks a server as its page does."""

    def __init__(self, served: Served) -> None:
        self.base, _, self.token = served.address.partition("/?token=")
        self.port = int(self.base.rpartition(":")[2])

    def ask(self, path: str, body: Any = None, **headers: str) -> requests.Response:
        own = {"X-Skate-Token": self.token} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return requests.get(self.base + path, headers=own, timeout=60)
        return requests.post(self.base + path, json=body, headers=own, timeout=60)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("pick"))


@pytest.fixture(scope="module")
def desk(clip: Path) -> Iterator[Desk]:
    found = Desk(clip, clip.parent / "made.toml", still_sam("mini", None, "cpu"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(desk: Desk) -> Iterator[Page]:
    served = serve(desk)
    yield Page(served)
    served.close()


def test_the_page_comes_with_the_token_alone(page: Page) -> None:
    found = requests.get(f"{page.base}/?token={page.token}", timeout=30)
    assert found.status_code == 200 and found.headers["Content-Type"].startswith("text/html")
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert found.headers["Referrer-Policy"] == "no-referrer" and found.headers["Cache-Control"] == "no-store"
    assert "http://" not in found.text and "https://" not in found.text  # nothing is loaded from other hosts
    assert "access-control-allow-origin" not in found.headers
    for wrong in ("", "?token=", f"?token={page.token}x", f"?token={page.token}&token={page.token}", "?token=%00%ff"):
        assert requests.get(f"{page.base}/{wrong}", timeout=30).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Skate_Token": "wrong"}, 403),
        ({"X_Skate_Token": ""}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1.nip.io:PORT"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1:PORT"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:PORT", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}, 200),
    ],
)
def test_others_are_refused(page: Page, headers: dict[str, str], status: int) -> None:
    filled = {name: value.replace("PORT", str(page.port)) for name, value in headers.items()}
    assert page.ask("/api/clip", **filled).status_code == status
    assert page.ask("/api/mask", {"frame": 0, "box": [60, 20, 100, 75]}, **filled).status_code == status


def test_methods_sizes_and_kinds_are_bounded(page: Page) -> None:
    own = {"X-Skate-Token": page.token}

    def ask(method: str, path: str, **more: Any) -> int:
        headers = own | more.pop("headers", {})
        return requests.request(method, page.base + path, headers=headers, timeout=30, **more).status_code

    assert [ask(method, "/api/clip") for method in ("PUT", "DELETE", "PATCH", "OPTIONS")] == [405] * 4
    assert (
        ask("POST", "/api/clip", json={}) == 405 and ask("GET", "/api/save") == 405 and ask("GET", "/api/mask") == 405
    )
    assert ask("POST", "/api/save", data="{}", headers={"Content-Type": "text/plain"}) == 415
    assert (
        ask("POST", "/api/save", data="x" * (MOST_BODY_BYTES + 1), headers={"Content-Type": "application/json"}) == 413
    )
    chunks = iter([b"{", b"}"])
    assert ask("POST", "/api/save", data=chunks, headers={"Content-Type": "application/json"}) == 411
    assert ask("POST", "/api/save", data="{", headers={"Content-Type": "application/json"}) == 400
    assert [ask("GET", path) for path in ("/docs", "/openapi.json", "/page.html", "/api")] == [404] * 4


@pytest.mark.parametrize(
    "path",
    ["/api/frame/20", "/api/frame/-1", "/api/frame/1e3", "/api/frame/..%2f..%2fetc%2fpasswd", "/api/frame/99999999999",
     "/../../etc/passwd", "/api/tracked/..%2Frun.json/0", "/api/tracked/object/0", "/api/redone/0"],
)  # fmt: skip
def test_what_is_outside_the_clip_is_refused(page: Page, path: str) -> None:
    found = page.ask(path)
    assert found.status_code in (400, 404) and "Traceback" not in found.text


@pytest.mark.parametrize(
    "asked",
    [
        {"frame": 99, "box": [1, 1, 9, 9]}, {"frame": 0}, {"frame": 0, "box": [1, 1, 9, 9], "points": [[1, 1, 1]]},
        {"frame": 0, "box": [9, 9, 1, 1]}, {"frame": 0, "box": [1, 1, 999, 9]}, {"frame": 0, "points": [[-1, 1, 1]]},
        {"frame": 0, "points": [[1, 1, 0]]}, {"frame": 0, "points": [[1, 1, 2]]}, {"frame": 0, "box": [1, 1, 9]},
        {"frame": 0, "points": [[1, 1, 1]] * 65}, {"frame": "0; rm", "box": [1, 1, 9, 9]}, {"frame": 0, "path": "/etc"},
    ],
)  # fmt: skip
def test_hostile_questions_are_refused_in_a_line(page: Page, asked: dict[str, Any]) -> None:
    found = page.ask("/api/mask", asked)
    assert found.status_code == 400 and "\n" not in found.json()["error"] and len(found.json()["error"]) < 300


def test_a_frame_is_the_clips(page: Page, clip: Path) -> None:
    picture = np.asarray(Image.open(io.BytesIO(page.ask("/api/frame/7").content))).astype(int)
    assert np.abs(picture - frame_at(clip, 7)[2]).mean() < 4


def test_frames_in_any_order_are_those_that_a_run_decodes(clip: Path) -> None:
    frames = Frames(clip)
    assert frames.count == CLIP.frames
    for number in (0, 19, 3, 12, 11, 13, 0, 19):
        assert np.array_equal(frames.picture(number), frame_at(clip, number)[2])
    with pytest.raises(InputError, match="has 20 frames"):
        frames.picture(20)


def test_a_mask_comes_from_a_box_and_from_points(page: Page) -> None:
    truth = Scene(CLIP).frame(0).person_mask
    box = [float(value) for value in mask_box(truth)]
    found = page.ask("/api/mask", {"frame": 0, "box": box}).json()
    with Image.open(io.BytesIO(base64.b64decode(found["mask"]))) as picture:
        mask = np.asarray(picture) > 127
    assert mask.shape == (90, 160) and int(mask.sum()) == found["pixels"]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.6
    again = page.ask("/api/mask", {"frame": 0, "box": box}).json()
    assert again["mask"] == found["mask"]
    x, y = np.argwhere(truth).mean(0)[::-1]
    assert page.ask("/api/mask", {"frame": 0, "points": [[x, y, 1], [2, 2, 0]]}).json()["pixels"] > 0


BOARD = {"name": "board", "kind": "object", "box": [60, 70, 100, 82], "held_by": "skater", "prompt": 'a "neon" board'}
SKATER = {"name": "skater", "kind": "person", "points": [[80, 40, 1], [10, 10, 0]], "frame": 2,
          "corrections": [{"frame": 9, "box": [60, 20, 100, 75]}]}  # fmt: skip


def test_what_is_saved_is_the_scene(page: Page, desk: Desk, clip: Path) -> None:
    found = page.ask("/api/save", {"subjects": [BOARD, SKATER]})
    assert found.status_code == 200, found.text
    cast = read_scene(desk.target)
    assert [(subject.name, subject.kind, subject.held_by) for subject in cast.subjects] == [
        ("board", "object", "skater"), ("skater", "person", None),
    ]  # fmt: skip
    prompt = cast.subjects[1].prompt
    assert prompt is not None and list(prompt.points) == [(80, 40, 1), (10, 10, 0)] and prompt.frame == 2
    assert [item.frame for item in cast.subjects[1].corrections] == [9] and cast.reskins[0].prompt == 'a "neon" board'
    assert found.json()["commands"] == [f"skate run {clip} --scene {desk.target} --out runs/clip"]
    assert page.ask("/api/clip").json()["subjects"][0]["name"] == "board"


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        ([], "subject"),
        ([{**BOARD, "mask": "/etc/passwd", "box": None}], "only files that the scene named"),
        ([{**BOARD, "reference": "../../secret.png"}], "only files that the scene named"),
        ([{**BOARD, "held_by": "nobody"}], "is no other person"),
        ([{**BOARD, "name": "../x"}], "name"),
        ([BOARD, BOARD], "is the name of another"),
        ([{**BOARD, "held_by": None, "frame": 20}], "not in the clip of 20 frames"),
        ([{**BOARD, "surprise": 1}], "surprise"),
        ([SKATER] * 64, "subject"),
    ],
)
def test_what_is_no_scene_is_not_saved(page: Page, desk: Desk, subjects: list[dict[str, Any]], words: str) -> None:
    before = desk.target.read_bytes() if desk.target.exists() else b""
    found = page.ask("/api/save", {"subjects": subjects})
    assert found.status_code == 400 and words in found.json()["error"]
    assert (desk.target.read_bytes() if desk.target.exists() else b"") == before


def test_a_proposed_scene_is_gone_on_with(tmp_path: Path, clip: Path) -> None:
    target = tmp_path / "proposed.toml"
    assert invoke(["analyse", str(clip), "--to", str(target), "--detector", "mini"]).code == 0
    desk = Desk(clip, target, still_sam("mini", None, "cpu"))
    assert [entry["name"] for entry in desk.subjects] == ["person-1"]
    desk.save([*desk.subjects, {**BOARD, "held_by": "person-1"}])
    assert [subject.name for subject in read_scene(target).subjects] == ["person-1", "board"]
    assert target.read_text().startswith("# clip.mp4, as `skate analyse` found it")
    (tmp_path / "nobody.toml").write_text("# nobody was found\n")
    empty = Desk(clip, tmp_path / "nobody.toml", still_sam("mini", None, "cpu"))
    assert not empty.subjects
    (tmp_path / "broken.toml").write_text("[[subject]\n")
    with pytest.raises(InputError, match="line 1"):
        Desk(clip, tmp_path / "broken.toml", still_sam("mini", None, "cpu"))


def test_masks_and_texts_of_a_scene_are_shown_and_kept(tmp_path: Path, clip: Path) -> None:
    mask = np.zeros((90, 160), np.uint8)
    mask[70:82, 60:100] = 255
    Image.fromarray(mask).save(tmp_path / "board.png")
    target, text = tmp_path / "found.toml", '[[subject]]\nname = "board"\nkind = "object"\nfind = "a skateboard"\n'
    target.write_text(f'{text}corrections = [{{ frame = 9, mask = "board.png" }}]\n')
    desk = Desk(clip, target, still_sam("mini", None, "cpu"))
    served = serve(desk)
    try:
        page = Page(served)
        (board,) = page.ask("/api/clip").json()["subjects"]
        file = board["corrections"][0]["mask"]
        shown = np.asarray(Image.open(io.BytesIO(page.ask("/api/given", {"file": file}).content)))
        assert board["find"] == "a skateboard" and np.array_equal(shown, mask)
        for other in ("/etc/passwd", "board.png", str(target)):
            assert page.ask("/api/given", {"file": other}).status_code == 400
        saved = page.ask("/api/save", {"subjects": [{**board, "prompt": "a log"}]}).json()
        assert saved["commands"][0].endswith("--out runs/clip --server HOST:PORT")
        strange = {**board, "corrections": [{"frame": 9, "mask": "/etc/passwd"}]}
        assert "only files that" in page.ask("/api/save", {"subjects": [strange]}).json()["error"]
    finally:
        served.close()
        desk.close()
    (subject,) = read_scene(target).subjects
    assert subject.find == Sought("a skateboard") and subject.corrections[0].mask_png == file


def test_shots_are_found_meanwhile(desk: Desk, page: Page) -> None:
    deadline = time.monotonic() + 60
    while not page.ask("/api/shots").json()["done"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert page.ask("/api/shots").json() == {"starts": [0], "looked": 20, "done": True, "failure": ""}
    assert page.ask("/api/clip").json()["frames"] == 20


def test_a_run_shows_its_worst_frames_and_what_a_correction_does(tmp_path: Path) -> None:
    run = Tracked(small_run())
    assert run.frames == 21 and run.names == ["object", "person"] and run.cuts == ()
    worst = run.worst()
    ranks = [(each.iou is not None, each.iou or 0.0) for each in worst]
    assert worst and ranks == sorted(ranks)
    assert run.redone(0) == (0, 3, 0, 21) and run.redone(8)[0] == 0 and run.redone(9) == (1, 3, 9, 21)
    assert run.redone(20)[:2] == (2, 3) and run.redone(21) == (3, 3, 21, 21)
    desk = Desk(run.video, tmp_path / "run.toml", still_sam(*small_sam(), "cpu"), run)
    served = serve(desk)
    try:
        page = Page(served)
        facts = page.ask("/api/clip").json()
        assert facts["run"]["worst"][0]["frame"] == worst[0].frame and facts["subjects"][0]["name"] == "object"
        mask = np.asarray(Image.open(io.BytesIO(page.ask("/api/tracked/object/3").content))) > 127
        assert np.array_equal(mask, run.mask("object", 3))
        assert page.ask("/api/redone/9").json() == {"window": 1, "windows": 3, "start": 9, "stop": 21}
        assert page.ask("/api/tracked/object/21").status_code == page.ask("/api/tracked/nobody/0").status_code == 400
        fixed = {**facts["subjects"][0], "corrections": [{"frame": 12, "box": [62, 70, 102, 82]}]}
        saved = page.ask("/api/save", {"subjects": [fixed]}).json()
        assert saved["commands"][1] == "--overwrite --correct object@12:62,70,102,82"
    finally:
        served.close()
        desk.close()


def test_a_run_in_which_one_vanishes_shows_the_worst_frames_of_all_others(tmp_path: Path) -> None:
    start(vanishing(), tmp_path / "run")
    run = Tracked(tmp_path / "run")
    desk = Desk(run.video, tmp_path / "run.toml", still_sam(*small_sam(), "cpu"), run)
    try:
        worst = desk.facts()["run"]["worst"]
    finally:
        desk.close()
    told = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())["subjects"]
    low = {name for name, found in told.items() if found["iou"] is not None and found["iou"]["min"] < 1}
    assert low and {each["name"] for each in worst if each["iou"] is not None} <= low
    assert "skater" not in low and low <= {each["name"] for each in worst}


def test_the_run_of_a_scene_is_corrected_by_its_scene(tmp_path: Path) -> None:
    run = Tracked(small_run())
    run.config = scene_config()
    desk = Desk(run.video, tmp_path / "again.toml", still_sam(*small_sam(), "cpu"), run)
    assert [entry["name"] for entry in desk.subjects] == ["board", "skater", "cone", "rival"]
    desk.subjects[1]["corrections"] = [{"frame": 12, "points": [[80, 40, 1]]}]
    command = desk.save(desk.subjects)[0]
    assert command.startswith(f"skate run {run.video} --scene {desk.target} --out {run.path} --overwrite")
    assert read_scene(desk.target).subjects[1].corrections[0].points == ((80, 40, 1),)


def test_what_cannot_be_opened_is_told_in_a_line(tmp_path: Path, clip: Path) -> None:
    for arguments, code in (
        ([str(tmp_path / "none.mp4")], 3), ([str(clip), "--scene", "x.txt"], 2), ([str(clip), "--port", "70000"], 2),
        ([str(clip), "--sam", "nothing"], 2),
    ):  # fmt: skip
        (tmp_path / "x.txt").write_text("x")
        found = invoke(["pick", *arguments, *([] if "--sam" in arguments else ["--sam", "mini"])])
        assert found.code in (code, 3) and len(found.err.splitlines()) == 1, found.err


def test_ctrl_c_ends_it_with_the_command_to_run(tmp_path: Path, clip: Path) -> None:
    """A process of its own: it says the address, serves it, and on SIGINT what to run."""
    command = [sys.executable, "-m", "stream.cli", "pick", str(clip), "--scene", "mine.toml", "--sam", "mini"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        page = Page(Served(process.stdout.readline().split()[1], None, None))  # type: ignore[arg-type]
        assert page.ask("/api/save", {"subjects": [{**BOARD, "held_by": None}]}).status_code == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert rest.splitlines() == [f"skate run {clip} --scene mine.toml --out runs/clip"]
