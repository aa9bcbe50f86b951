"""One GPU by turns with ComfyUI: who is on it when, by the test server's calls and by stages that say where they are.

No GPU is needed: the server tells whether its models are loaded, and a spy stage stands for pose, tracking and scoring.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from _runs import invoke
from fake_comfy import FakeComfy, Faults
from fake_comfy.scene import config as comfy_config
from fake_comfy.scene import make_scene
from fake_comfy.server import HELD_BYTES
from test_plan import MANIFEST, MB, Weighed, models

from stages.base import Inputs, Output, Port, Stage, Window
from stages.blend import BlendConfig, BlendStage
from stages.comfyui import ComfyStage
from stages.composite import CompositeConfig, MatchingCompositeStage
from stages.generator import Request
from stages.poses.onnx import Session
from stages.prompts import ObjectPrompt
from stages.server.address import on_this_machine, parse_server
from storage.errors import EnvironmentFault, GeneratorError, UsageError
from storage.log import CommitLog
from storage.rundir import FORMAT_VERSION, RunDirectory
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.windows import WindowPlan
from stream.options.assembly import build_chain
from stream.options.config import RunConfig
from stream.pipeline import Pipeline
from stream.plan import projection
from stream.progress.events import Reporter
from stream.run.trouble import clear_lines

SCENE = make_scene(41)
PLAN = WindowPlan(17, 5)
HEIGHT, WIDTH = SCENE.frames.shape[1:3]


def run_config(**given: Any) -> RunConfig:
    options = {"server": ("127.0.0.1:8188",), "generator": "comfyui", "device": "cuda", **given}
    return RunConfig(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0)), video="clip.mp4", **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("127.0.0.1:8188",)),
        ({"vram": 8 * 10**9}, ("127.0.0.1:8188",)),
        ({"share_gpu": "no"}, ()),
        ({"device": "cpu"}, ()),
        ({"device": "cpu", "share_gpu": "yes"}, ()),
        ({"generator": "preview", "server": ()}, ()),
        ({"chain": "extract"}, ()),
        ({"server": ("192.0.2.7:8188",)}, ()),
        ({"server": ("192.0.2.7:8188",), "share_gpu": "yes"}, ("192.0.2.7:8188",)),
        ({"server": ("192.0.2.7:8188", "localhost")}, ("localhost",)),
    ],
)
def test_auto_shares_with_servers_on_this_machine(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert run_config(**options).sharing == expected
    assert run_config(**options).shares_gpu is bool(expected)


def test_what_counts_as_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    own = {"eth0": [SimpleNamespace(address="192.0.2.7"), SimpleNamespace(address="fe80::1%eth0")]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: own)
    names = {"me.example": "192.0.2.7", "other.example": "198.51.100.3"}

    def resolve(name: str, port: Any) -> list[Any]:
        if name.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (names.get(name, name), 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    here = ["127.0.0.1", "127.8.8.8:81", "[::1]:8188", "0.0.0.0", "192.0.2.7", "me.example", "[fe80::1]:80"]
    for server in [*here, "host.docker.internal:8188", "http://HOST.docker.internal"]:
        assert on_this_machine(parse_server(server)), server
    for server in ["192.0.2.8", "other.example", "comfyui.invalid", "https://[2001:db8::1]:8188"]:
        assert not on_this_machine(parse_server(server)), server


class Spy(Stage):
    """Notes in the server's own list when it works and when it leaves the GPU, and looks who is there."""

    lane: Literal["cpu", "gpu", "server"] = "gpu"

    def __init__(self, name: str, server: FakeComfy, gives: Mapping[str, Any] | None = None) -> None:
        self.name = name  # type: ignore[misc]
        gives = gives or {}
        ports = (Port(name, "new", given.shape[1:], str(given.dtype)) for name, given in gives.items())
        self.writes = tuple(ports)
        self.server, self.gives, self.there = server, gives, False

    def process(self, window: Window, inputs: Inputs) -> Output:
        assert not self.server.executor.loaded, f"{self.name} of window {window.index} meets the server's models"
        self.there = True
        self.server.seen.append(f"works {self.name}")
        info = {} if self.gives else {"iou": [None] * window.final.frames}
        return Output({name: values[slice(*window.new)] for name, values in self.gives.items()}, info)

    def leave_gpu(self) -> None:
        self.there = False


class Decode(Spy):
    """The scene; it has nothing on the GPU."""

    lane = "cpu"

    def process(self, window: Window, inputs: Inputs) -> Output:
        span = slice(window.new.start, min(window.new.stop, len(SCENE.frames)))
        frames = SCENE.frames[span]
        info = {"frames": len(frames), "last": span.stop == len(SCENE.frames)}
        return Output({"frames": frames, "times": np.arange(span.start, span.stop) / 24.0}, info)


class Alone(ComfyStage):
    """The real stage; looks that ours are gone whenever it works."""

    ours: ClassVar[list[Spy]] = []

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        assert not any(spy.there for spy in self.ours), "ours are still on the GPU"
        return super().process(window, inputs, request)


def run(path: Path, server: FakeComfy, share: bool, **given: Any) -> list[str]:
    """A whole run; what happened, in order."""
    masks = {"masks/object": SCENE.objects, "masks/person": SCENE.persons}
    pose = {"keypoints/person": SCENE.keypoints, "contacts/person": np.zeros((len(SCENE.frames), 2), bool)}
    ours = [Spy("pose", server, pose), Spy("track", server, masks), Spy("score", server)]
    sharing = (server.address,) if share else ()
    generator = Alone(comfy_config(server.address, sharing=sharing, **given))
    generator.ours = ours  # type: ignore[misc]
    decode = Decode("decode", server, {"frames": SCENE.frames, "times": np.zeros(1)})
    ours[2].facts = ("blend",)
    composite = MatchingCompositeStage(CompositeConfig())
    chain = Chain([decode, *ours[:2], generator, composite, BlendStage(BlendConfig(17, 5)), ours[2]])
    manifest = {"format": FORMAT_VERSION, "video": {"height": HEIGHT, "width": WIDTH}}
    source: Any = SimpleNamespace(close=lambda: None)
    with RunDirectory(path, chain.layout(HEIGHT, WIDTH), manifest) as directory:
        Pipeline(Executor(directory, chain, source, share), PLAN, Reporter(), keep="all").process()
    return [item for item in server.seen if item.startswith("works") or item in ("POST /free", "POST /prompt")]


@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_ours_and_the_servers_models_have_the_gpu_by_turns(tmp_path: Path, continuity: str) -> None:
    with FakeComfy() as server:
        assert server.executor.loaded, "full from earlier work"
        happened = run(tmp_path, server, True, continuity=continuity)
        window = ["works pose", "works track", "POST /prompt", "POST /free", "works score"]
        assert happened == ["POST /free", *window * PLAN.count(len(SCENE.frames))]
        assert server.freed == [{"unload_models": True, "free_memory": False}] * (1 + len(server.prompts))
        encoded = [name for name in server.executor.executed if name == "CLIPTextEncode"]
        assert len(encoded) == 2, "prompt and negative prompt are encoded once, for all windows"


def test_without_sharing_nobody_leaves_and_servers_work_at_once() -> None:
    with FakeComfy() as server:
        server.executor.loaded = False
        servers = (server.address, "127.0.0.1:2")
        stage = ComfyStage(comfy_config(*servers, continuity="blend"))
        assert stage.at_once == 2
        shared = ComfyStage(comfy_config(*servers, continuity="blend", sharing=(server.address,)))
        assert shared.at_once == 1, "the server would work while ours do"
        stage.leave_gpu()
        assert server.freed == []


def test_only_the_servers_that_share_are_asked() -> None:
    with FakeComfy() as near, FakeComfy() as far:
        ComfyStage(comfy_config(far.address, near.address, sharing=(near.address,))).leave_gpu()
        assert len(near.freed) == 1 and not near.executor.loaded and far.freed == []


def test_a_server_that_works_for_others_or_is_gone_does_not_hold_a_run_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stages.server.share.UNLOAD_SECONDS", 0.3)
    with FakeComfy(faults=Faults().on_requests("/free", [404])) as server:
        for address, told in ((server.address, "HTTP 404"), ("127.0.0.1:9", "does not answer")):
            ComfyStage(comfy_config(address, sharing=(address,))).leave_gpu()
            assert told in caplog.text
        monkeypatch.setattr(server.executor, "free", lambda *_: None)
        ComfyStage(comfy_config(server.address, sharing=(server.address,))).leave_gpu()
        assert "holds on to its models" in caplog.text


def test_a_session_leaves_the_gpu_and_comes_back() -> None:
    made = []

    class Inner:
        def __init__(self) -> None:
            made.append(self)

        def run(self, outputs: Any, feeds: Any) -> list[Any]:
            return [1]

    for on_gpu, expected in ((True, 3), (False, 1)):
        made.clear()
        session = Session(Inner, "model.onnx", on_gpu)
        for _ in range(2):
            assert session.run(None, {}) == [1]
            session.leave_gpu()
            session.leave_gpu()
        assert session.run(None, {}) == [1] and len(made) == expected


def announced(tmp_path: Path, server: FakeComfy, monkeypatch: pytest.MonkeyPatch, **given: Any) -> list[str]:
    """The plan of a run whose models need 600 MB, on a card with 1.5 GB of which the server holds 1 GiB or nothing."""
    monkeypatch.setattr(
        projection, "free_vram_bytes", lambda: 1500 * MB - (HELD_BYTES if server.executor.loaded else 0)
    )
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"0" * 100_000)
    config = RunConfig(
        ObjectPrompt(box=(1.0, 2.0, 30.0, 40.0)), video=str(video), generator="comfyui", device="cuda",
        server=(server.address,), ram=8 * 10**9, **given,
    )  # fmt: skip
    generator = ComfyStage(comfy_config(*config.server, sharing=config.sharing))
    stages = [Weighed("track", 100 * MB, 0, 600 * MB), generator]
    given_ports = [Port(read.port, "window" if read.span == "window" else "new") for read in generator.reads]
    chain = Chain(stages, given=given_ports)
    noted: list[str] = []
    projection.announce_plan(config, models(), MANIFEST, chain, tmp_path / "RUN", CommitLog([]), noted.append)
    return noted


def test_the_plan_counts_what_is_free_once_the_server_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeComfy() as server:
        with pytest.raises(EnvironmentFault, match=r"600\.0 MB of VRAM .* the 426\.3 MB of VRAM free: .*--share-gpu"):
            announced(tmp_path, server, monkeypatch, share_gpu="no")
        assert server.freed == []
        for given in ({}, {"vram": 700 * MB}):
            server.executor.loaded = True
            told = "\n".join(announced(tmp_path, server, monkeypatch, **given))
            limit = "700.0 MB" if given else "1.5 GB"
            assert f"VRAM 600.0 MB of {limit}, by turns with ComfyUI" in told
        with pytest.raises(EnvironmentFault, match=r"over --vram 500\.0 MB") as caught:
            announced(tmp_path, server, monkeypatch, vram=500 * MB)
        assert "--share-gpu" not in str(caught.value)


def test_a_budget_does_not_hide_that_less_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeComfy() as server, pytest.raises(EnvironmentFault, match=r"over the 426\.3 MB of VRAM free"):
        announced(tmp_path, server, monkeypatch, vram=8 * 10**9, share_gpu="no")


@pytest.mark.parametrize("share", [False, True])
def test_out_of_memory_names_the_switch(share: bool) -> None:
    window = next(iter(PLAN.windows(17)))
    with FakeComfy(faults=Faults().on_runs("out_of_memory", "out_of_memory")) as server:
        settings = comfy_config(server.address, sharing=(server.address,) if share else ())
        with pytest.raises(GeneratorError, match="ran out of memory") as caught, ComfyStage(settings) as stage:
            stage.process(window, SCENE.inputs(window))
        assert ("--share-gpu yes" in str(caught.value)) is not share


def test_our_own_out_of_memory_names_it_too(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="--share-gpu yes"), clear_lines(tmp_path):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_compiled_tracker_cannot_take_turns() -> None:
    config = run_config(sam_compile=True)
    with pytest.raises(UsageError, match=r"--sam-compile: .*127\.0\.0\.1:8188: .*--share-gpu no"):
        build_chain(config, models(), MANIFEST, Reporter())


def test_a_resume_takes_the_switch_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.run import lifecycle

    asked: list[Any] = []

    def resume(out: Path, changes: dict[str, Any], listener: Any) -> dict[str, Any]:
        asked.append(changes)
        raise UsageError("enough")

    monkeypatch.setattr(lifecycle, "resume", resume)
    for more, changes in (([], {}), (["--share-gpu", "no"], {"share_gpu": "no"}), (["--timeout", "9"], {"timeout": 9})):
        assert invoke(["resume", "RUN", *more]).code == 2 and asked[-1] == changes
