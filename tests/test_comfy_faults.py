"""ComfyUI stage against the fake server: every fault ends in the right output or the right error."""

import copy
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_comfy import ERAS, FakeComfy, Faults
from fake_comfy.scene import Array, config, make_scene, windows

from stages.comfyui import ComfyStage, StepProgress
from stages.recipes.registry import graph_file
from stages.server.errors import ServerUnreachable
from storage.errors import GeneratorError, InputError, Interrupted, UsageError

SCENE = make_scene(17)
WINDOW = windows(17)[0]
pytestmark = [pytest.mark.usefixtures("era"), pytest.mark.parametrize("era", ERAS, indirect=True)]


def generate(server: FakeComfy, **given: Any) -> Array:
    """One window."""
    with ComfyStage(config(server.address, **given)) as stage:
        return stage.process(WINDOW, SCENE.inputs(WINDOW)).arrays["made"]


@pytest.fixture(scope="module")
def clean() -> Iterator[Array]:
    """The window without any fault."""
    with FakeComfy() as server:
        yield generate(server)


def test_progress_and_record() -> None:
    steps: list[StepProgress] = []
    with FakeComfy() as server, ComfyStage(config(server.address, steps=4), steps.append) as stage:
        output = stage.process(WINDOW, SCENE.inputs(WINDOW))
    assert [(item.step, item.steps, item.window) for item in steps] == [(1, 4, 0), (2, 4, 0), (3, 4, 0), (4, 4, 0)]
    info = output.info
    assert info["server"] == server.address and info["seconds"] > 0
    assert [info["prompt_id"]] == list(server.executor.history), "the id that the server gave it"
    assert info["attempt"] == 0 and info["kept_frames"] == 0
    assert info["system_stats"]["before"][0]["vram_free"] == info["system_stats"]["after"][0]["vram_free"] == 6 * 2**30
    json.dumps(info)


SAVES = frozenset(["SaveImageWebsocket"])
"""What a server lacks that saves its pictures, and does not send them."""


@pytest.mark.parametrize("fault", ["drop_websocket", "late_history", "restart", "stale_cache", "out_of_memory"])
def test_survived_run_faults(fault: str, clean: Array) -> None:
    with FakeComfy(faults=Faults().on_runs(fault), without=SAVES) as server:
        assert np.array_equal(generate(server), clean)
        again = fault in ("restart", "stale_cache", "out_of_memory")
        assert len(server.prompts) == 1 + again
        dropped = [{"unload_models": True, "free_memory": True}]
        assert server.freed == (dropped if fault in ("stale_cache", "out_of_memory") else [])
        prefixes = [graph["30"]["inputs"]["filename_prefix"] for graph in server.prompts]
        assert len(set(prefixes)) == len(prefixes), "a fresh prefix for each try"


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (["out_of_memory"] * 2, "ran out of memory: node 21 .KSampler.*6442450944 of 8589934592 bytes free.*GGUF"),
        (["disk_full"], "No space left on device: free space in the server's output folder"),
        (["error"], "node 21 .KSampler.: ValueError: mat1 and mat2 shapes"),
        (["interrupted"], "interrupted on the server"),
        (["one_missing"], "gave 16 pictures, 17 are needed"),
        (["restart"] * 4, "knows job .* no more"),
    ],
)
def test_run_faults_explained(faults: list[str], told: str) -> None:
    given: dict[str, Any] = {
        "faults": Faults().on_runs(*faults),
        "without": SAVES if "disk_full" in faults else frozenset[str](),
    }
    with FakeComfy(**given) as server, pytest.raises(GeneratorError, match=told) as caught:
        generate(server)
    assert caught.value.exit_code == 5


def test_a_hanging_job_is_interrupted_after_the_timeout() -> None:
    with FakeComfy(faults=Faults().on_runs("hang")) as server:
        with pytest.raises(GeneratorError, match=r"within 0\.5 s: raise --timeout"):
            generate(server, timeout_s=0.5)
        assert "POST /interrupt" in server.seen
        wait_idle(server)
        generate(server)


def wait_idle(server: FakeComfy) -> None:
    """Until the server's queue is empty."""
    deadline = time.monotonic() + 5
    while server.executor.queue() != ([], []):
        assert time.monotonic() < deadline, "the server still works"
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/object_info", "/system_stats", "/upload/image", "/prompt", "/queue", "/view"])
@pytest.mark.parametrize("actions", [[503, 502], [429, 429], ["drop"], [0.2]])
def test_survived_request_faults(path: str, actions: list[Any], clean: Array) -> None:
    with FakeComfy(faults=Faults().on_requests(path, actions), without=SAVES) as server:
        assert np.array_equal(generate(server), clean)
        assert len(server.prompts) == 1


def test_an_answer_lost_after_queueing_runs_once(clean: Array) -> None:
    with FakeComfy(faults=Faults().on_requests("/prompt", ["lost"])) as server:
        assert np.array_equal(generate(server), clean) and len(server.prompts) == 1


def test_a_refused_websocket_leaves_polling(clean: Array) -> None:
    with FakeComfy(faults=Faults().on_requests("/ws", [403])) as server:
        assert np.array_equal(generate(server), clean)


@pytest.mark.parametrize("path", ["/upload/image", "/prompt", "/object_info"])
def test_lasting_500_is_told(path: str) -> None:
    faults = Faults().on_requests(path, [500] * 9)
    with FakeComfy(faults=faults) as server, pytest.raises(GeneratorError, match="HTTP 500: fault 500") as caught:
        generate(server)
    said = str(caught.value)
    assert f"fails on {'GET' if path == '/object_info' else 'POST'} {path}" in said and "see its log" in said
    assert "does not answer" not in said and ("disk is full" in said) == (path == "/upload/image")


def test_redirects_are_not_followed() -> None:
    with FakeComfy(faults=Faults().on_requests("/object_info", [302])) as server:
        with pytest.raises(GeneratorError, match="HTTP 302"):
            generate(server)
        assert server.seen == ["GET /object_info"]


@pytest.mark.parametrize("features", [True, False])
def test_large_uploads_go_in_parts(features: bool, clean: Array) -> None:
    with FakeComfy(upload_limit=60_000, features=features) as server:
        assert np.array_equal(generate(server), clean)
        assert sum(node["class_type"] == "ImageBatch" for node in server.prompts[0].values()) >= 1


def test_the_default_limit_is_100_mib() -> None:
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        assert stage._pool is not None
        client = stage._pool.clients[0]
        assert client.upload_limit() == 100 * 2**20
        with pytest.raises(GeneratorError, match=r"no upload of 100\.0 MiB .*--max-upload-size"):
            client.upload("big.mkv", b"\0" * (100 * 2**20 + 1), "skate")
        assert "POST /upload/image" not in server.seen


def test_nothing_fits_under_the_limit() -> None:
    with FakeComfy(upload_limit=500) as server:
        with pytest.raises(GeneratorError, match=r"no upload of .*--max-upload-size"):
            generate(server)
        assert not server.prompts


def test_what_a_proxy_refuses_is_not_said_to_be_over_the_servers_limit() -> None:
    with FakeComfy(faults=Faults().on_requests("/upload/image", [413] * 99)) as server:
        with pytest.raises(GeneratorError, match=r"no upload of 0\.\d MiB .*HTTP 413\): .*a proxy in front of it"):
            generate(server)
        assert not server.prompts


def test_wrong_model_is_refused_before_any_upload() -> None:
    with FakeComfy(without=frozenset(["wan_2.1_vae.safetensors"])) as server:
        with pytest.raises(InputError, match=r"wan_2.1_vae.safetensors is missing") as caught:
            generate(server)
        assert caught.value.exit_code == 3 and server.seen == ["GET /object_info"]


def test_a_model_removed_meanwhile_is_told_in_the_servers_words() -> None:
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        server.info["VAELoader"]["input"]["required"]["vae_name"][0] = []
        with pytest.raises(GeneratorError, match=r"node 12 .VAELoader.: Value not in list: vae_name"):
            stage.process(WINDOW, SCENE.inputs(WINDOW))


def test_one_bad_output_beside_a_good_one_is_refused(tmp_path: Path) -> None:
    graph = json.loads(graph_file("vace").read_text())
    graph["40"] = {"class_type": "LoadImage", "inputs": {"image": "mine.png"}}
    graph["41"] = copy.deepcopy(graph["30"]) | {"inputs": {"images": ["40", 0], "filename_prefix": "mine"}}
    graph["41"]["_meta"] = {"title": "beside"}
    path = tmp_path / "two.json"
    path.write_text(json.dumps(graph))
    with FakeComfy() as server:
        with pytest.raises(GeneratorError, match="refuses a part of the workflow: node 40"):
            generate(server, workflow=str(path))
        wait_idle(server)


def test_unreachable_server() -> None:
    started = time.monotonic()
    with pytest.raises(
        ServerUnreachable,
        match=r"127.0.0.1:9 does not answer GET /object_info.*runs.*, then give the same command again$",
    ):
        ComfyStage(config("127.0.0.1:9", patience_s=0.4)).open()
    assert time.monotonic() - started < 3


def test_no_server_is_asked_for_more_than_all_have(clean: Array) -> None:
    with FakeComfy() as server:
        assert np.array_equal(generate(server), clean) and len(server.prompts) == 1
        assert not any("/api/" in path for path in server.seen)


def test_no_server_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--server"):
        ComfyStage(config()).open()


def test_dying_alone() -> None:
    with FakeComfy(faults=Faults().on_runs("die")) as server, pytest.raises(ServerUnreachable, match=server.address):
        generate(server, patience_s=0.5)


def test_ctrl_c_interrupts_the_servers_job() -> None:
    def pressed(step: StepProgress) -> None:
        raise KeyboardInterrupt

    with FakeComfy(step_seconds=0.05) as server:
        with pytest.raises(KeyboardInterrupt), ComfyStage(config(server.address, steps=500), pressed) as stage:
            stage.process(WINDOW, SCENE.inputs(WINDOW))
        assert "POST /interrupt" in server.seen and "POST /queue" in server.seen
        wait_idle(server)
        assert [entry["status"]["status_str"] for entry in server.executor.history.values()] == ["error"]


def test_interrupt_from_another_thread() -> None:
    with FakeComfy(faults=Faults().on_runs("hang")) as server, ComfyStage(config(server.address)) as stage:
        threading.Timer(0.3, stage.interrupt).start()
        with pytest.raises(Interrupted):
            stage.process(WINDOW, SCENE.inputs(WINDOW))
        wait_idle(server)


def put_other(server: FakeComfy, steps: int) -> None:
    """Queue somebody else's job: the last one again, with files of its own and another seed."""
    busy, files = copy.deepcopy(server.prompts[-1]), server.executor.files.input
    for loader in ("1", "3"):
        ours = busy[loader]["inputs"]["file"]
        busy[loader]["inputs"]["file"] = f"other{loader}.mkv"
        files[f"other{loader}.mkv"] = files[ours]
    busy["21"]["inputs"].update(seed=99, steps=steps)
    server.executor.put("other", busy, "somebody", ["30"])


def status_of(server: FakeComfy, prompt_id: str) -> str:
    """How a job ended, once nothing is queued any more."""
    wait_idle(server)
    return str(server.executor.history[prompt_id]["status"]["status_str"])


def test_a_job_behind_others_waits() -> None:
    with FakeComfy(step_seconds=0.05) as server, ComfyStage(config(server.address)) as stage:
        stage.process(WINDOW, SCENE.inputs(WINDOW))  # the other job is as this one
        put_other(server, 6)
        stage.process(WINDOW, SCENE.inputs(WINDOW))
        assert list(server.executor.history)[1] == "other"


def test_giving_up_behind_somebody_elses_job_leaves_that_alone() -> None:
    with FakeComfy(faults=Faults().on_runs(None, "hang")) as server, ComfyStage(config(server.address)) as stage:
        stage.process(WINDOW, SCENE.inputs(WINDOW))
        put_other(server, 2)

        def give_up_once_queued() -> None:
            while len(server.prompts) < 2:
                time.sleep(0.01)
            stage.interrupt()

        threading.Thread(target=give_up_once_queued).start()
        with pytest.raises(Interrupted):
            stage.process(WINDOW, SCENE.inputs(WINDOW))
        time.sleep(0.1)  # in which an interrupted job would end
        running, pending = server.executor.queue()
        assert [item[1] for item in running] == ["other"] and not pending
        server.executor.interrupt("other")
        wait_idle(server)


def test_giving_up_before_somebody_elses_job_leaves_that_alone(era: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that cannot stop one job alone goes on with ours rather than stop another's."""
    with FakeComfy(step_seconds=0.05) as server:

        def begun(step: StepProgress) -> None:
            if step.steps == 12:
                put_other(server, 2)
                raise KeyboardInterrupt

        with ComfyStage(config(server.address, steps=12), begun) as stage, pytest.raises(KeyboardInterrupt):
            stage.process(WINDOW, SCENE.inputs(WINDOW))
        assert status_of(server, "other") == "success"
        ours = next(name for name in server.executor.history if name != "other")
        assert status_of(server, ours) == ("success" if era == "old" else "error")
        assert ("it cannot stop one job alone" in caplog.text) == (era == "old")


def test_a_job_whose_answer_never_came_is_taken_back() -> None:
    """The stop comes while the client looks for what became of its submission."""
    faults = Faults().on_runs("hang").on_requests("/prompt", ["lost"]).on_requests("/queue", [503] * 9)
    with FakeComfy(faults=faults) as server, ComfyStage(config(server.address)) as stage:

        def answer_and_stop() -> None:
            server.faults.requests.clear()
            stage.interrupt()

        threading.Timer(0.4, answer_and_stop).start()
        with pytest.raises(Interrupted):
            stage.process(WINDOW, SCENE.inputs(WINDOW))
        wait_idle(server)
