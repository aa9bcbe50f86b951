"""The real generator: Wan 2.1 VACE on one or several ComfyUI servers, window by window.

    source, masks, keypoints, tail -> control video + mask -> server -> frames

A window's picture depends on its inputs, the config and the attempt alone (and on the server's own arithmetic).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from stages.base import Array, Inputs, Json, Output, Read, Window
from stages.choices import PLATE
from stages.generator import GeneratorStage, Request, StepProgress
from stages.plates.behind import BEHIND
from stages.poses.pictures import SkeletonPictures
from stages.recipes.conditioner import Conditioner, Shown
from stages.recipes.material import Conditioning
from stages.recipes.recipe import Family
from stages.recipes.registry import Chosen, Wanted, choose, plain
from stages.resize import Size, resize_frames
from stages.server.address import parse_server
from stages.server.client import ComfyClient
from stages.server.frames import Enlarged, crop_around
from stages.server.inject import Values
from stages.server.job import JobResult, WindowJob, run_job
from stages.server.latent import Latents, places, with_all_nodes
from stages.server.leftovers import Leftovers
from stages.server.pool import ServerPool
from stages.server.share import make_room, naming_the_switch
from stages.server.validate import check_workflow
from stages.server.wiring import SENDS_PICTURES
from stages.vace.carry import LatentState
from stages.vace.config import Attempt, ComfyConfig
from stages.vace.continuity import window_seed
from stages.vace.reference import read_reference
from stages.vace.sizes import check_size, fit_size
from storage.errors import UsageError

__all__ = ["ComfyConfig", "ComfyStage", "StepProgress"]


class ComfyStage(GeneratorStage):
    """Regenerates the object and the person on ComfyUI servers.

    With `--continuity blend` windows do not depend on each other: as many as there are servers can be processed at a
    time. With `tail` the servers after the first stand by for when it fails.

    Args:
        config: see `ComfyConfig`.
        progress: told about every sampler step, from the thread that follows the job.
    """

    name = "generate"
    lane = "server"
    conditions = True
    reads: tuple[Read, ...] = (
        Read("frames", "read"),
        Read("keypoints/person", "read"),
        Read("masks/object", "read"),
        Read("masks/person", "read"),
    )
    scales = "pixels"

    def __init__(self, config: ComfyConfig, progress: Callable[[StepProgress], None] | None = None) -> None:
        super().__init__()
        self.config = config
        self._chosen: Chosen | None = None
        if config.keeps:
            self.reads = (*self.reads, Read("masks/all", "read"))
        if config.continuity != "blend" and self._family.geometry.carried != 0:
            self.reads = (*self.reads, Read("generated", "context", -1), Read("overlap", "window", -1))
        self._fill = config.fill or self._family.fill
        if self._fill == PLATE:
            self.reads = (*self.reads, *BEHIND)
        self._progress = progress
        self._stop = threading.Event()
        self._pool: ServerPool | None = None
        self._conditioner: Conditioner | None = None
        self._checked: set[str] = set()
        self._latents = LatentState()
        self._leftovers = Leftovers(config.comfy_output)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], progress: Callable[[StepProgress], None]) -> Self:
        """The stage, closed, for a run with these options."""
        names = {item.name: _OPTIONS.get(item.name, item.name) for item in fields(ComfyConfig)}
        return cls(
            ComfyConfig(**{name: options[option] for name, option in names.items() if option in options}), progress
        )

    def size_for(self, width: int, height: int) -> Size:
        """What it works at, or the source's where that is larger and `--upscale` enlarges it."""
        size = self.works_at(width, height)
        larger = self.config.upscale is not None and width * height > size[0] * size[1]
        return (width, height) if larger else size

    def works_at(self, width: int, height: int) -> Size:
        """`--size`, else the one closest in shape to the source."""
        return self.config.size or fit_size(width, height, self._family.geometry.size_step)

    @property
    def at_once(self) -> int:
        """One window a server, with `tail` of different shots; one where a server shares our GPU."""
        return 1 if self.config.sharing else max(1, len(set(self.config.servers)))

    def open(self) -> None:
        """Read graph and reference, ask every server whether it can run the workflow.

        Raises:
            UsageError: no server, or one that is no address; a size or a profile that the recipe does not have.
            InputError: the workflow or the reference is unusable, or a server lacks a node or a model.
            GeneratorError: no server answers.
        """
        if not self.config.servers:
            raise UsageError("the ComfyUI generator needs --server HOST:PORT")
        self._leftovers.check()
        addresses = list(dict.fromkeys(parse_server(text) for text in self.config.servers))
        reference = self.config.reference
        self._chosen = choose(wanted(self.config))
        if self.config.continuity == "latent":
            places(self._chosen.workflow)
        if self.config.size is not None:
            check_size(self.config.size, self._family.geometry.size_step)
        shown = read_reference(reference, self.config.max_pixels) if reference else None
        folder = self.config.pose_pictures
        pictures = None if folder is None else SkeletonPictures(Path(folder), self.config.max_pixels)
        self._conditioner = Conditioner(self.config, self._chosen, self._fill, shown, pictures)
        timeouts = self.config.timeouts()
        self._stop.clear()
        self._pool = ServerPool([ComfyClient(address, timeouts, self._stop) for address in addresses], self._stop)
        self._pool.each_alive(self._check)

    def _check(self, client: ComfyClient) -> None:
        """Validate the workflow against this server, once."""
        assert self._chosen is not None, "open() comes first"
        if client.address.http not in self._checked:
            workflow, handed_on = self._chosen.workflow, self.config.continuity == "latent"
            sent = with_all_nodes(workflow) if handed_on else workflow
            known = client.object_info()
            check_workflow(sent, known, client.address.host)
            client.sends_pictures = SENDS_PICTURES in known
            self._checked.add(client.address.http)

    def condition(self, window: Window, inputs: Inputs) -> Shown:
        """Draw and encode all of a window but the frames that the window before it makes."""
        assert self._conditioner is not None, "open() comes first"
        frames, carried = inputs.arrays["frames"], self._family.geometry.carried
        shown = self._conditioner.shown(window, inputs, self.config.dilate, self.works_at(*_sides(frames)))
        before = 0 if not self._before or window.begins_shot else window.new.start - window.read.start
        return self._conditioner.encoded(shown, before if carried is None else min(carried, before))

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        """Generate one window.

        Args:
            window: the window; one that is shorter than `padded_frames` is padded here by reflection and trimmed.
            inputs: arrays as in `reads`; `generated` and `overlap` `[m, H, W, 3]` uint8 RGB, one behind the other, are
                what is already generated from `read.start` on: blended frames, then what the window before made.
            request: what this try changes.

        Returns:
            `made` `[read.frames, h, w, 3]` uint8 RGB, as the server gave it (the source where nothing is to change);
            in `info` seed, attempt, kept_frames, and of the job server, prompt_id, seconds and system_stats.

        Raises:
            GeneratorError: unreachable, refused or failed.
            Interrupted: after `interrupt()`. On this and on KeyboardInterrupt the server's job is interrupted.
        """
        key = Attempt.of(self.config, window, request)
        before, self._latents = LatentState() if window.begins_shot else self._latents, LatentState()
        assert self._conditioner is not None, "open() comes first"
        frames = inputs.arrays["frames"]
        size = self.works_at(*_sides(frames))
        shown = inputs.conditioned
        if not isinstance(shown, Shown) or shown.dilate != key.dilate:
            shown = self._conditioner.shown(window, inputs, key.dilate, size)
        facts: dict[str, Json] = {"attempt": key.number, "seed": window_seed(key.seed, window.index, key.number)}
        if shown.given is None:  # nothing to regenerate: no server is asked
            made = resize_frames(frames, self._enlarged(inputs) or size).copy()
            return Output({"made": made}, facts | {"kept_frames": 0, "skipped": True})
        given = self._family.carry(shown.given, self._tail(inputs), size)
        latents = self._handed_on(window, given, before)
        result = self._run(key, shown, given, size, self._part(inputs, shown.allowed, size), latents)
        self._leftovers.keep(window.index, result.saved)
        facts["kept_frames"] = given.kept
        if latents is not None:
            facts["carried_slots"] = 0 if latents.carried is None else latents.carried.count
            file, server = str(result.info["latent"]), str(result.info["server"])
            self._latents = LatentState(server, file, window.read.start, latents.slots)
        return Output({"made": result.frames[: len(frames)]}, facts | result.info)

    def committed(self, window: Window) -> None:
        """What the server saved of the window is deleted, where its folder was named."""
        self._leftovers.delete(window.index)

    def _handed_on(self, window: Window, given: Conditioning, before: LatentState) -> Latents | None:
        """What the window takes over as latents, and hands on; None where latents are not handed on."""
        if self.config.continuity != "latent":
            return None
        return before.latents(window, given.kept, given.length, parse_server(self.config.servers[0]).host)

    def get_state(self) -> LatentState:
        """Which latents the next window takes over."""
        return replace(self._latents)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._latents = LatentState.from_parts(values, arrays)

    @property
    def _family(self) -> Family:
        """What the model is shown; known before `open` too."""
        return (self._chosen or plain(self.config.workflow)).family

    @property
    def _before(self) -> list[str]:
        """The arrays with what the window before made."""
        return [read.port for read in self.reads if read.window < 0]

    def _tail(self, inputs: Inputs) -> Array:
        """`[m, H, W, 3]` uint8 RGB: what is already generated at the window's start, as far as the model takes it."""
        tail = [inputs.arrays[name] for name in self._before if name in inputs.arrays]
        return np.concatenate([inputs.arrays["frames"][:0], *tail])[: self._family.geometry.carried]

    def _enlarged(self, inputs: Inputs) -> Size | None:
        """The size that enlarged pictures are brought to; None where they are not enlarged."""
        if self.config.upscale is None:
            return None
        if inputs.lens is None:
            return self.size_for(inputs.arrays["frames"].shape[2], inputs.arrays["frames"].shape[1])
        size, shown = self.size_for(*inputs.lens.source), inputs.lens.size
        turned = (size[0] < size[1]) != (shown[0] < shown[1])
        return (size[1], size[0]) if turned else size

    def _part(self, inputs: Inputs, allowed: Array, size: Size) -> Enlarged | None:
        """What the server enlarges: the box around all that may change in the window, and what its model is to see
        around that."""
        wanted = self._enlarged(inputs)
        if wanted is None or self._chosen is None or self._chosen.workflow.points.enlarged is None:
            return None
        return Enlarged(
            self._chosen.workflow.points.enlarged, crop_around(np.asarray(allowed.any(axis=0)), size), wanted
        )

    def _run(
        self,
        key: Attempt,
        shown: Shown,
        given: Conditioning,
        size: Size,
        enlarged: Enlarged | None,
        latents: Latents | None,
    ) -> JobResult:
        """Run the window on a server of the pool; on another one when it dies."""
        assert self._pool is not None and self._chosen is not None, "open() comes first"
        config, family, workflow = self.config, self._chosen.family, self._chosen.workflow
        values = Values(
            width=size[0],
            height=size[1],
            length=given.length,
            seed=window_seed(key.seed, key.window, key.number),
            prefix=f"w{key.window:05d}_a{key.number}",
            prompt=key.text or None,
            negative=config.negative or None,
            steps=config.steps,
            cfg=config.cfg,
            strength=key.strength,
            crop=None if enlarged is None else enlarged.crop,
        )

        def work(client: ComfyClient) -> JobResult:
            self._check(client)

            def steps(step: int, total: int) -> None:
                if self._progress is not None:
                    self._progress(StepProgress(key.window, key.number, step, total, client.address.host))

            with naming_the_switch(client.address, self.config.sharing):
                fitting = family.fitted(given, client.version())
                encoded = shown.encoded_of(fitting)
                job = WindowJob(workflow, values, fitting.videos, fitting.pictures, encoded, enlarged, latents)
                return run_job(client, job, steps)

        return self._pool.run(work)

    def leave_gpu(self) -> None:
        """Have the servers that share our GPU unload their models. Works before `open` too."""
        for server in self.config.sharing:
            make_room(parse_server(server), self.config.timeouts())

    def interrupt(self) -> bool:
        """Make every wait end with `Interrupted` and interrupt the servers' jobs. Safe from any thread and handler."""
        self._stop.set()
        return True

    def close(self) -> None:
        """Stop what is still under way on the servers, close connections. May be called twice."""
        self._stop.set()
        if self._pool is not None:
            for client in self._pool.clients:
                client.close()
            self._pool = None
        self._checked.clear()

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Source, tail, masks, region at source size; source, region, control, pose, result at the generated size.

        The model's memory is the server's.
        """
        columns, rows = self.size_for(width, height)
        small = window_frames * rows * columns
        held = self.at_once * 2 * 3 * small  # uploads and results of the windows under way
        return window_frames * height * width * (3 + 3 + 4) + small * (3 * 3 + 2) + held, 0

    def conditioned_bytes(self, height: int, width: int, window_frames: int) -> int:
        """Region at source size; control, pose, mask at the generated size, and all of them encoded."""
        columns, rows = self.works_at(width, height)
        return self.at_once * window_frames * (height * width + 2 * (3 + 3 + 1) * rows * columns)


def _sides(frames: Array) -> Size:
    """(width, height) of `[n, H, W, 3]`."""
    return frames.shape[2], frames.shape[1]


def wanted(config: ComfyConfig) -> Wanted:
    """What of a generator a config asks for."""
    depth = config.object_guide == "depth"
    reference = config.reference is not None
    return Wanted(config.workflow, reference, config.models, config.loras, config.profile, depth, config.upscale)


_OPTIONS = {"servers": "server", "models": "model", "loras": "lora", "prompt": "text", "timeout_s": "timeout"}
"""Fields that a run calls otherwise."""
