"""All of a subject that others hide, by a video model on ComfyUI servers (`--amodal`).

    crop round it, who may hide it greyed out --workflow--> masks of all of it --there alone--> beside what shows

The workflow takes what VACE takes (control video and mask) and saves masks, white where the subject is: the packaged
one (`workflows/amodal-vace.json`) has the hidden part painted and SAM 3 look for the subject in that.
"""

import re
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from stages.affine import compose, scaling, shifting
from stages.base import Array, Inputs, Output, Window
from stages.occlusion import Hidden, OcclusionConfig, OcclusionStage
from stages.recipes.registry import COMPLETING, graph_file
from stages.region import Box, bounding_box
from stages.resize import Size
from stages.server.address import parse_server
from stages.server.client import ComfyClient, Timeouts
from stages.server.graph import titled
from stages.server.inject import Values
from stages.server.job import WindowJob, run_job
from stages.server.pool import ServerPool
from stages.server.share import make_room, naming_the_switch
from stages.server.validate import problems
from stages.server.wiring import SENDS_PICTURES
from stages.server.workflow import Workflow, load_workflow
from stages.vace.continuity import window_seed
from stages.views.look import glimpse, logits_back, mask_through
from storage.errors import InputError, UsageError

SIDE = 512  # pixels of the longer side of what the model is shown
STEP = 16  # its sides are multiples of it
MOST = 81  # frames that it is shown at a time, 4n+1
AROUND = 0.5  # of the longer side of the box around the subject, shown to each side of it
REACH = 1 / 16  # of the longer side of the picture: so far from what is believed to be hidden more of it may be
EDGE = 5  # pixels of the picture: who hides it is greyed out with so wide a rim in all
GREY = 128  # "make something here"
TEXT = "skate text"  # title of nodes whose `text` is to name the subject


@dataclass(frozen=True)
class CompletionConfig:
    """Who completes subjects.

    Attributes:
        workflow: `COMPLETING`, or the path of a workflow in API format.
        servers: `HOST:PORT` each, at least one. sharing: those of them that work on our own GPU.
        timeouts: how long a server is waited for.
        side: pixels of the longer side of what the model is shown.
    """

    workflow: str
    servers: tuple[str, ...]
    sharing: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    side: int = SIDE


class CompletionStage(OcclusionStage):
    """Who is hidden, told by what a server makes of it: `occluded/NAME`, and all of each in `amodal/NAME`.

    A subject is asked for in a window in which it is believed to be hidden in part. What it shows stays; the rest of
    it lies where others are and where it may be, as the server says. Where that finds nothing, the estimate stays.
    Info: `completed`: on how many frames it was the server's, by name.

    Raises (`open`):
        InputError: the workflow is none that can be filled in, or a server lacks nodes or models of it.
    """

    lane = "server"

    def __init__(self, config: OcclusionConfig, completion: CompletionConfig) -> None:
        super().__init__(config, self._completed)
        self._how = completion
        self._stop = threading.Event()
        self._pool: ServerPool | None = None
        self._workflow: Workflow | None = None
        self._checked = set[str]()
        self._counts: dict[str, int] = {}

    def open(self) -> None:
        """Read the workflow, ask every server whether it can run it."""
        if not self._how.servers:
            raise UsageError("--amodal asks a ComfyUI server: give --server HOST:PORT")
        self._workflow = completing_workflow(self._how.workflow)
        addresses = dict.fromkeys(parse_server(text) for text in self._how.servers)
        self._stop.clear()
        clients = [ComfyClient(address, self._how.timeouts, self._stop) for address in addresses]
        self._pool = ServerPool(clients, self._stop)
        self._pool.each_alive(self._check)

    def _check(self, client: ComfyClient) -> None:
        """Whether this server can run it, asked once."""
        assert self._workflow is not None, "open() comes first"
        if client.address.http in self._checked:
            return
        known = client.object_info()
        found = problems(self._workflow, known)
        if found:
            told = f" (`skate models fetch --for {COMPLETING} --comfy DIR` there gets the files)"
            raise InputError(
                f"--amodal {self._how.workflow} cannot run on ComfyUI at {client.address.host}: {'; '.join(found)}"
                f"{told if self._how.workflow == COMPLETING else ''}"
            )
        client.sends_pictures = SENDS_PICTURES in known
        self._checked.add(client.address.http)

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Flag the window's new frames by what the server says."""
        self._counts = {}
        found = super().process(window, inputs)
        return replace(found, info={**found.info, "completed": self._counts})

    def _completed(self, hidden: Hidden, /) -> Array:
        found = hidden.estimate.copy()
        for first in range(0, len(found), MOST):
            part = slice(first, first + MOST)
            shown = picture_of(hidden, part, self._how.side)
            if shown is None:
                continue
            answers = self._asked(hidden, first, shown)
            for index, (answer, region) in enumerate(zip(answers, shown.regions, strict=True)):
                if (answer & region).any():
                    there = shown.visible[index] | (answer & region)
                    back = logits_back(np.where(there, np.float32(1), np.float32(-1)), shown.view, found.shape[1:]) > 0
                    found[first + index] = hidden.visible[first + index] | (back & hidden.others[first + index])
                    self._counts[hidden.name] = self._counts.get(hidden.name, 0) + 1
        return found

    def _asked(self, hidden: Hidden, first: int, shown: "Shown") -> Array:
        """`[n, h, w]` bool: where a server says that the subject is."""
        assert self._pool is not None and self._workflow is not None, "open() comes first"
        job = shown.job(self._workflow, hidden.name, hidden.window.index, first)

        def work(client: ComfyClient) -> Array:
            self._check(client)
            with naming_the_switch(client.address, self._how.sharing):
                return run_job(client, job, lambda step, total: None).frames

        made: Array = self._pool.run(work)
        return np.asarray(made[: len(shown.regions), ..., 0] >= GREY)

    def interrupt(self) -> bool:
        """Make every wait end with `Interrupted` and interrupt the servers' jobs."""
        self._stop.set()
        return True

    def leave_gpu(self) -> None:
        """Have the servers that share our GPU unload their models."""
        for server in self._how.sharing:
            make_room(parse_server(server), self._how.timeouts)

    def close(self) -> None:
        """Stop what is still under way on the servers, close connections."""
        self._stop.set()
        for client in self._pool.clients if self._pool is not None else ():
            client.close()
        self._pool = None
        self._checked.clear()

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Beside what the estimates take: pictures, masks and answers of what is asked for at a time."""
        ram, vram = super().peak_bytes(height, width, window_frames)
        return ram + min(MOST, window_frames) * (self._how.side**2 * 12 + height * width * 4), vram


@dataclass(frozen=True)
class Shown:
    """What the model is shown of a subject.

    Attributes:
        control: [n, h, w, 3] uint8 RGB. visible: [n, h, w] bool, what shows of it.
        regions: [n, h, w] bool, what is greyed out: where it may be hidden.
        view: [2, 3], the frame's pixels to those of the picture.
    """

    control: Array
    visible: Array
    regions: Array
    view: Array

    def job(self, workflow: Workflow, name: str, window: int, first: int) -> WindowJob:
        """To be run by a server; both videos go on with their last frame to a length of 4n+1."""
        noun, length = spoken(name), -(-(len(self.control) - 1) // 4) * 4 + 1
        graph = workflow.copy_graph()
        for node in titled(graph, TEXT):
            graph[node]["inputs"]["text"] = noun
        height, width = self.regions.shape[1:]
        values = Values(
            width, height, length, window_seed(first, window, 0), f"amodal_w{window:05d}_{name}",
            prompt=None if workflow.points.prompt is None else noun,
        )  # fmt: skip
        longer = [(0, length - len(self.control)), (0, 0), (0, 0)]
        videos = {
            "control": np.pad(self.control, [*longer, (0, 0)], "edge"),
            "mask": np.pad(self.regions, longer, "edge").astype(np.uint8) * 255,
        }
        return WindowJob(replace(workflow, graph=graph), values, videos)


def picture_of(hidden: Hidden, part: slice, side: int) -> Shown | None:
    """The frames `part` of a subject as the model is shown them; None where nothing of it is hidden."""
    visible, estimate = hidden.visible[part], hidden.estimate[part]
    missing = estimate & ~visible
    if not missing.any():
        return None
    view, size = _around(np.asarray((visible | estimate).any(axis=0)), side)
    reach, edge = _square(2 * int(REACH * side) + 1), _square(EDGE)
    control, seen, regions = [], [], []
    for frame, shows, others, lacks in zip(hidden.frames[part], visible, hidden.others[part], missing, strict=True):
        near = cv2.dilate(mask_through(lacks, view, size).view(np.uint8), reach).view(bool)
        hiding = cv2.dilate(mask_through(others, view, size).view(np.uint8), edge).view(bool)
        seen.append(mask_through(shows, view, size))
        regions.append(near & hiding & ~seen[-1])
        control.append(glimpse(frame, view, size))
        control[-1][regions[-1]] = GREY
    return Shown(np.stack(control), np.stack(seen), np.stack(regions), view)


def _around(where: Array, side: int) -> tuple[Array, Size]:
    """The view, and the (width, height) of its picture, that shows all of `[H, W]` bool with what is around it."""
    box = bounding_box(where)
    assert box is not None, "something is hidden"
    rows, columns = _grown(box, where.shape)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = side / max(height, width)
    size = tuple(max(STEP, round(scale * length / STEP) * STEP) for length in (width, height))
    scales = size[0] / width, size[1] / height
    return compose(scaling(scales), shifting(-columns.start, -rows.start)), (size[0], size[1])


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    by = int(AROUND * max(span.stop - span.start for span in box)) + 1
    rows, columns = (
        slice(max(0, span.start - by), min(length, span.stop + by)) for span, length in zip(box, shape, strict=True)
    )
    return rows, columns


def _square(side: int) -> Array:
    return np.ones((side, side), np.uint8)


def spoken(name: str) -> str:
    """What a model is told of a subject: the words of its name."""
    return " ".join(("a", *re.findall("[a-z]+", name)))


def completing_file(workflow: str) -> Path:
    """The packaged workflow's file, or the one that is named."""
    return graph_file(workflow) if workflow == COMPLETING else Path(workflow)


def completing_workflow(workflow: str) -> Workflow:
    """Read what completes subjects.

    Raises:
        InputError: it is none, or takes something else than VACE does.
    """
    try:
        found = load_workflow(completing_file(workflow), workflow)
    except InputError as error:
        raise InputError(f"--amodal: {error}") from error
    wiring = found.points.wiring
    if wiring.family != "vace":
        raise InputError(
            f"--amodal {workflow}: has {wiring.node}: a workflow that takes a control video and its mask is needed "
            f"(WanVaceToVideo, as {COMPLETING} has it)"
        )
    return found
