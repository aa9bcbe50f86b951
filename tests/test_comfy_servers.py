"""ComfyUI stage on several servers: failover with tail, several windows at a time with blend."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_comfy import FakeComfy, Faults
from fake_comfy.scene import Array, config, make_scene, windows

from stages.comfyui import ComfyConfig, ComfyStage
from storage.errors import GeneratorError, InputError, Interrupted

SCENE = make_scene(41)
WINDOWS = windows(41)


def run_tail(settings: ComfyConfig) -> tuple[list[Array], list[str]]:
    """All windows in order, each given the raw end of the one before; the frames and the servers that made them."""
    made: list[Array] = []
    hosts = []
    with ComfyStage(settings) as stage:
        for window in WINDOWS:
            tail = made[-1][-5:] if made else None
            output = stage.process(window, SCENE.inputs(window, tail))
            made.append(output.arrays["made"])
            hosts.append(output.info["server"])
    return made, hosts


def run_blend(settings: ComfyConfig) -> tuple[list[Array], list[str]]:
    """All windows, as many at a time as the stage takes."""
    with ComfyStage(settings) as stage, ThreadPoolExecutor(stage.at_once) as threads:
        found = list(threads.map(lambda window: stage.process(window, SCENE.inputs(window)), WINDOWS))
    return [output.arrays["made"] for output in found], [output.info["server"] for output in found]


def equal(one: list[Array], two: list[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_failover_with_tail() -> None:
    with FakeComfy() as lone:
        expected, _ = run_tail(config(lone.address))
    with FakeComfy(faults=Faults().on_runs(None, "die")) as first, FakeComfy() as second:
        made, hosts = run_tail(config(first.address, second.address))
        assert hosts == [first.address, second.address, second.address] and equal(made, expected)


def test_a_server_dead_from_the_start_is_passed_over() -> None:
    with FakeComfy() as alive:
        _, hosts = run_tail(config("127.0.0.1:9", alive.address))
        assert set(hosts) == {alive.address}


def test_all_servers_dead() -> None:
    faults = [Faults().on_runs("die"), Faults().on_runs("die")]
    with FakeComfy(faults=faults[0]) as first, FakeComfy(faults=faults[1]) as second:
        with pytest.raises(GeneratorError, match="none of the 2 ComfyUI servers is left") as caught:
            run_tail(config(first.address, second.address, patience_s=0.6))
        assert first.address in str(caught.value) and second.address in str(caught.value)


def test_blend_uses_all_servers_and_keeps_the_order() -> None:
    with FakeComfy(step_seconds=0.05) as lone:
        expected, _ = run_blend(config(lone.address, continuity="blend"))
    with FakeComfy(step_seconds=0.05) as first, FakeComfy(step_seconds=0.05) as second:
        made, hosts = run_blend(config(first.address, second.address, continuity="blend"))
        assert equal(made, expected) and set(hosts) == {first.address, second.address}


def test_blend_moves_a_dead_servers_window() -> None:
    with FakeComfy() as lone:
        expected, _ = run_blend(config(lone.address, continuity="blend"))
    with FakeComfy(faults=Faults().on_runs("die")) as first, FakeComfy() as second:
        made, hosts = run_blend(config(first.address, second.address, continuity="blend"))
        assert equal(made, expected) and set(hosts) == {second.address}


def test_blend_gives_no_kept_frames_and_needs_no_tail() -> None:
    with FakeComfy() as server, ComfyStage(config(server.address, continuity="blend")) as stage:
        window = WINDOWS[1]
        tail = SCENE.frames[window.read.start : window.read.start + 5]
        assert stage.process(window, SCENE.inputs(window, tail)).info["kept_frames"] == 0
        assert stage.at_once == 1


@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_as_many_windows_may_be_given_as_there_are_servers(continuity: str) -> None:
    servers = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:2")
    assert ComfyStage(config(*servers, continuity=continuity)).at_once == 2


def test_an_interruption_ends_what_other_threads_wait_for() -> None:
    faults = Faults().on_runs("hang")
    with FakeComfy(faults=faults) as server, ThreadPoolExecutor(1) as threads:
        stage = ComfyStage(config(server.address, continuity="blend"))
        stage.open()
        begun = threads.submit(stage.process, WINDOWS[0], SCENE.inputs(WINDOWS[0]))
        while not server.prompts:
            pass
        assert stage.interrupt()
        with pytest.raises(Interrupted):
            begun.result()
        stage.close()
        stage.close()
        assert "POST /interrupt" in server.seen


def test_a_server_without_the_model_is_refused_though_another_has_it() -> None:
    with FakeComfy() as first, FakeComfy(without=frozenset(["wan_2.1_vae.safetensors"])) as second:
        stage = ComfyStage(config(first.address, second.address))
        with pytest.raises(InputError, match=rf"{second.address}.*wan_2.1_vae"):
            stage.open()
