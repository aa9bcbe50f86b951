"""CPU seconds of the nodes of a run, each with one thread: other work on the machine hardly counts."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2

from stages.picture import mask_box
from stages.poses import onnx
from stages.prompts import ObjectPrompt
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.engine.chain import Chain
from stream.options.config import RunConfig
from stream.report.tables import text_table
from stream.run.lifecycle import start

Seconds = dict[str, float]


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch, OpenCV and ONNX Runtime work in the thread that asks them, whose time is counted."""
    import torch

    options, threads = onnx._session_options, cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with patch.object(onnx, "_session_options", lambda runtime, threads: options(runtime, 1)):
            yield
    finally:
        cv2.setNumThreads(threads)


def cpu_seconds(config: RunConfig, folder: Path) -> Seconds:
    """CPU seconds by node, and of the whole run as `run`."""
    spent: Seconds = defaultdict(float)

    def counted(name: str, work: Any, *given: Any) -> Any:
        begun = time.thread_time()
        try:
            return work(*given)
        finally:
            spent[name] += time.thread_time() - begun

    def listening(chain: Chain) -> Chain:
        for node in chain:
            node.stage.process = partial(counted, node.name, node.stage.process)  # type: ignore[method-assign]
        return chain

    begun = time.process_time()
    start(config, folder, extend=listening)
    return {**spent, "run": time.process_time() - begun}


def by_way(
    clip: DemoConfig,
    ways: Mapping[str, Mapping[str, Any]],
    folder: Path,
    repeats: int,
    window: int = 41,
    overlap: int = 9,
) -> dict[str, Seconds]:
    """What `cpu_seconds` gives for each way to run a demo clip with the mini models.

    The ways take turns, one behind the other, so many times; each node's least seconds count: neither what a process
    makes once, nor what others do to the processor's clock and caches.
    """
    video = folder / "clip.mp4"
    write_clip(clip, video)
    prompt = ObjectPrompt(box=mask_box(Scene(clip).frame(0).object_mask))
    plain: dict[str, Any] = {"sam": "mini", "pose": "mini", "detector": "mini", "window": window, "overlap": overlap}
    configs = {name: RunConfig(prompt, video=str(video), **plain, **way) for name, way in ways.items()}
    with one_thread():
        turns = [
            {name: cpu_seconds(config, folder / f"{name}-{turn}") for name, config in configs.items()}
            for turn in range(repeats)
        ]
    return {name: {node: min(turn[name][node] for turn in turns) for node in turns[0][name]} for name in ways}


def bounded(shares: Iterable[tuple[str, float, float]]) -> dict[str, dict[str, Any]]:
    """Shares as a record has them, from name, value and the most that is promised."""
    return {
        name: {"value": round(value, 3), "noise": 0.0, "better": "lower", "most": most, "holds": value <= most}
        for name, value, most in shares
    }


def tables(found: Mapping[str, Seconds], judged: Mapping[str, Mapping[str, Any]]) -> str:
    """The seconds by node and way, and what is promised of them."""
    names = list(dict.fromkeys(name for seconds in found.values() for name in seconds))
    rows = [[name, *(f"{each.get(name, 0):.2f}" for each in found.values())] for name in names]
    promised = [[name, f"{row['value']:.3f}", f"{row['most']:g}"] for name, row in judged.items()]
    return text_table(("CPU seconds", *found), rows) + "\n\n" + text_table(("", "share", "at most"), promised)


def rounded(found: Mapping[str, Seconds]) -> dict[str, Seconds]:
    """Milliseconds are enough for a record."""
    return {name: {node: round(value, 3) for node, value in each.items()} for name, each in found.items()}
