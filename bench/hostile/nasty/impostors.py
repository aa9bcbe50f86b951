"""ComfyUI servers that speak well and answer wrong: other pictures, other numbers of them, other jobs' news."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fake_comfy import FakeComfy, Paint

from bench.hostile.nasty.looked import WELL, call, nothing_left, nth
from bench.hostile.nasty.pictures import OTHER, SAME, SETS, Pictures
from bench.hostile.trial import Trial
from storage.rundir import RunReader

SERVER_FAILED, PATIENCE = 5, 120.0
Json = Any


def generated(trial: Trial, room: Path, address: str, timeout: float = 20.0) -> int:
    """Generate from masks that are there, by this server; the exit code.

    A server that does not answer is asked again for 120 s (docs/comfyui.md), then there is `timeout` for the window.
    """
    words = [
        "generate",
        str(trial.world.extracted),
        "--out",
        str(room / "made"),
        "--server",
        address,
        "--size",
        "96x64",
    ]
    words += ["--prompt", "x", "--timeout", str(timeout), "--keep", "all"]
    ended = call(trial, words, models=True, limit=PATIENCE + timeout + 40)
    trial.expect(ended.code in (*WELL, 3, 4, SERVER_FAILED), f"ends with {ended.code}")
    nothing_left(trial, room)
    return ended.code


def made_by(trial: Trial, run: Path) -> Any:
    """The pictures that became of it."""
    reader = RunReader(run)
    return reader.arrays.read("generated", 0, reader.arrays.frames("generated"))


def honest(trial: Trial) -> Any:
    """What an honest server makes."""

    def make() -> Any:
        folder = trial.world.folder / "honest"
        folder.mkdir(exist_ok=True)
        with FakeComfy() as server:
            assert generated(trial, folder, server.address) in WELL
        trial.calls.clear()
        trial.notes.clear()
        return made_by(trial, folder / "made")

    if "honest" not in trial.world.done:
        trial.world.done.add("honest")
        HONEST[id(trial.world)] = make()
    return HONEST[id(trial.world)]


HONEST: dict[int, Any] = {}


LENGTHS = (
    "frames fewer",
    "a frame more",
    "half the size",
    "twice the size",
    "not a number",
    "all infinite",
    "below zero",
)


class Bent:
    """A sampler whose window is another one than was asked for."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, positive: Any, seed: int, graph: Json) -> Any:
        made = Paint()(positive, seed, graph)
        ways: dict[str, Callable[[], Any]] = {
            "frames fewer": lambda: made[:-3],
            "a frame more": lambda: np.concatenate([made, made[-1:]]),
            "half the size": lambda: made[:, ::2, ::2],
            "twice the size": lambda: made.repeat(2, 1).repeat(2, 2),
            "not a number": lambda: made * np.float32("nan"),
            "all infinite": lambda: made * np.float32("inf"),
            "below zero": lambda: made - 9,
        }
        return ways[self.how]()


def message(kind: str, **data: Json) -> str:
    """A websocket message."""
    return json.dumps({"type": kind, "data": data})


NEWS: dict[str, list[str]] = {
    "another's error": [message("execution_error", prompt_id="another", exception_message="boom")],
    "an error of nobody": [message("execution_error", exception_message="boom")],
    "an error without details": [message("execution_error")],
    "an error of no map": ['{"type": "execution_error", "data": []}'],
    "another's end": [
        message("execution_success", prompt_id="another"),
        message("executing", node=None, prompt_id="x"),
    ],
    "an end of nobody": [message("executing", node=None), message("execution_success")],
    "another is interrupted": [message("execution_interrupted", prompt_id="another")],
    "progress beyond": [message("progress", value=99, max=3, prompt_id="another", node="1")],
    "progress of nothing": [message("progress", value=1, max=0, node="1")],
    "progress below": [message("progress", value=-4, max=-9, node=None)],
    "progress of text": [message("progress", value="half", max="all")],
    "progress of huge numbers": ['{"type": "progress", "data": {"value": ' + "9" * 4000 + ', "max": 1e400}}'],
    "2,000 messages": [message("progress", value=1, max=2, prompt_id="another")] * 2_000,
    "2,000 states": [message("status", status={"exec_info": {"queue_remaining": 3}})] * 2_000,
    "an unknown kind": [message("crystools.monitor", cpu=3)],
    "no kind": ["{}", "[]", "null", "3", '""', "{", ""],
    "deep": ["[" * 5000 + "]" * 5000],
    "a megabyte": [message("status", text="x" * (1 << 20))],
    "a half letter": ['{"type": "\\ud800", "data": {}}'],
    "escapes": [message("notice", text="\x1b[2J\x1b]0;x\x07")],
}
ENTRIES: dict[str, Json] = {
    "no status": {"outputs": {}},
    "success, not completed": {"outputs": {}, "status": {"status_str": "success", "completed": False, "messages": []}},
    "error, completed": {"outputs": {}, "status": {"status_str": "error", "completed": True, "messages": []}},
    "an error without details": {
        "outputs": {},
        "status": {"status_str": "error", "completed": False, "messages": [["execution_error", {}]]},
    },
    "outputs of other nodes": {
        "outputs": {"999": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}},
        "status": {"status_str": "success", "completed": True, "messages": []},
    },
    "a file of elsewhere": {
        "outputs": {"9": {"images": [{"filename": "../../../etc/passwd", "subfolder": "/", "type": "output"}]}},
        "status": {"status_str": "success", "completed": True, "messages": []},
    },
    "a status of text": {"outputs": {}, "status": "success"},
    "outputs of null": {"outputs": None, "status": {"status_str": "success", "completed": True, "messages": []}},
    "a status unknown": {"outputs": {}, "status": {"status_str": "paused", "completed": False, "messages": []}},
    "100,000 messages": {
        "outputs": {},
        "status": {"status_str": "success", "completed": True, "messages": [["a", {}]] * 100_000},
    },
}
WORDS: dict[str, Json] = {
    "/prompt": [{"prompt_id": 3}, {"prompt_id": ""}, {"prompt_id": "x" * 100_000}, {"prompt_id": "../.."},
                {"prompt_id": None}, {"prompt_id": "other", "number": -1, "node_errors": {}}, {"error": "full"},
                {"error": {}}],
    "/queue": [{"queue_running": [], "queue_pending": []},
               {"queue_running": [[0, "another", {}, {}, []]], "queue_pending": [[1, "more", {}, {}, []]] * 5000}],
    "/upload/image": [{"name": "other.png"}, {"name": "", "subfolder": "", "type": "input"},
                      {"name": "a/b/../../c.png"}, {"name": "x.png", "subfolder": "../..", "type": "temp"}],
    "/features": [{"max_upload_size": 0}, {"max_upload_size": -1}, {"max_upload_size": 10},
                  {"max_upload_size": 1e300}, {}],
    "/system_stats": [{"system": {}, "devices": []}, {"system": {"comfyui_version": "\x1b[2J9"}, "devices": [{}]},
                      {"system": {"comfyui_version": "v99.0-rc1+x"}, "devices": [{"vram_free": -1, "vram_total": 0}]}],
    "/object_info": [{}, {"LoadImage": {}}, {"LoadImage": {"input": {"required": {"image": [[]]}}}}],
}  # fmt: skip
ALL: tuple[tuple[str, Any], ...] = (
    *((way, name) for name in (*SAME, *OTHER) for way in ("sent", "stored")),
    *((way, name) for name in SETS for way in ("sent set", "stored set")),
    *(("length", name) for name in LENGTHS),
    *(("news", name) for name in NEWS),
    *(("entry", name) for name in ENTRIES),
    *(("words", (path, body)) for path, bodies in WORDS.items() for body in bodies),
)

REFUSED = ("one too few", "one of another size", "one damaged", "half", "nothing", "HTML", "larger by two")


def attempt(trial: Trial, room: Path) -> None:
    """One such server; where what it says means the same, the same pictures come of it."""
    wanted = honest(trial)
    (kind, what), _ = nth(trial, ALL)
    stored = kind.startswith("stored") or kind == "entry"
    generator = Bent(what) if kind == "length" else None
    server = FakeComfy(generator=generator, without=frozenset({"SaveImageWebsocket"} if stored else ()))
    _bend(trial, server, kind, what)
    with server:
        timeout = 8.0 if kind in ("words", "entry") else 120.0 if kind == "news" else 20.0
        code = generated(trial, room, server.address, timeout=timeout)
    if (kind in ("sent", "stored") and what in SAME) or (kind == "news" and "error" not in what):
        trial.expect(code in WELL, f"what means the same ends with {code}")
        if code in WELL:
            trial.expect(np.array_equal(made_by(trial, room / "made"), wanted), "other pictures came of it")
    if what in REFUSED:
        trial.expect(code == SERVER_FAILED, f"{what} ends with {code}")


def _bend(trial: Trial, server: FakeComfy, kind: str, what: Any) -> None:
    change = {**SAME, **OTHER}[what] if kind in ("sent", "stored") else None
    if kind in ("sent", "sent set"):
        executor = server.executor
        original = executor._send_pictures

        def send(found: Pictures) -> Pictures:
            return tuple(map(change, found)) if change else SETS[what](found, trial.rng)

        def sends(item: Any, node_id: str, pictures: Pictures, fault: str | None) -> None:
            original(item, node_id, send(pictures), fault)

        executor._send_pictures = sends  # type: ignore[method-assign]
    elif kind == "stored":
        server.bend = _views(change)  # type: ignore[arg-type]
    elif kind == "stored set":
        _listed(trial, server, what)
    elif kind == "news":
        server.says = NEWS[what]
    elif kind == "entry":
        server.entry = ENTRIES[what]
    elif kind == "words":
        server.instead[what[0]] = json.dumps(what[1])


def _views(change: Callable[[bytes], bytes]) -> Any:
    from aiohttp import web

    async def bend(request: Any, answer: Any) -> Any:
        if request.path == "/view" and answer.body:
            return web.Response(body=change(bytes(answer.body)), content_type="image/png")
        return answer

    return bend


def _listed(trial: Trial, server: FakeComfy, what: str) -> None:
    """The history lists other files, or in another order; "one damaged" and sizes are of the file."""
    files = server.executor.files
    original = server.executor._execute

    def execute(item: Any, fault: str | None) -> Json:
        made = original(item, fault)
        for output in made.values():
            if "images" in output:
                names = [f"{image['subfolder']}/{image['filename']}" for image in output["images"]]
                pictures = SETS[what](tuple(files.output[name] for name in names), trial.rng)
                output["images"] = [
                    {**output["images"][0], "filename": f"z{index}.png"} for index in range(len(pictures))
                ]
                folder = names[0].rpartition("/")[0]
                files.output.update({f"{folder}/z{index}.png": body for index, body in enumerate(pictures)})
        return made

    server.executor._execute = execute  # type: ignore[method-assign]
