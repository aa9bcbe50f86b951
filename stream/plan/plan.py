"""A plan: what a run will take, as the person who starts it reads it, and whether it fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.generators import GENERATORS
from storage.errors import EnvironmentFault
from storage.sizes import count_of, format_size
from stream.plan.calibration import duration_text
from stream.plan.hints import MINIS
from stream.plan.server import ServerNeed

SMALLEST = {"sam": "tiny", "pose": "dwpose-m-256", "detector": "yolox-tiny"}


@dataclass(frozen=True)
class Need:
    """A projected peak, bytes, and the stage that takes most of it."""

    total: int
    most: str


@dataclass(frozen=True)
class Plan:
    """A run before it starts. Bytes are projections; None where something does not apply or is not known.

    Attributes:
        frames: that the header claims (it is not trusted), after `--fps`.
        counted: whether it counts them; else its duration tells them, by and large, and nothing is refused for that.
        windows: of a clip of that length, as far as its cuts are known. shots: what to know about those, or None.
        size, generated_size: (width, height) of the source and of what is generated; None when nothing is.
        fps: nominal rate of the output. window, overlap: frames. rate: what to know about the rate, or None.
        footage: what is done to the clip's pictures, e.g. tone-mapped.
        models: by kind, as named. device: of all models. generator: its name, None when nothing is generated.
        ram, vram: peaks. disk_working: freed at the end. disk_kept: what stays. disk_present: of it, already written.
        ram_limit, vram_limit, disk_free: what there is; None: in a bucket. limits: the options that set them, by name.
        by_turns: whether the VRAM is ours and a server's by turns; then neither is counted beside the other.
        ahead: windows that are tracked while one is generated; counted in RAM and disk.
        server: what ComfyUI on this machine takes of its RAM beside that; None where it is elsewhere or not used.
        on_server: what stays in its folders, in words; None where no server is used.
        both_fit: whether this program and that fit into what is available.
        fits: what would fit into the RAM where this does not; empty where it does.
        seconds: that earlier runs on this machine suggest, None where a stage was never timed here.
        out: the run directory. keep: what the store keeps.
    """

    frames: int | None
    counted: bool
    windows: int | None
    shots: str | None
    size: tuple[int, int]
    generated_size: tuple[int, int] | None
    fps: float
    window: int
    overlap: int
    rate: str | None
    footage: tuple[str, ...]
    models: Mapping[str, str]
    device: str
    generator: str | None
    ram: Need
    vram: Need
    disk_working: int
    disk_kept: int | None
    disk_present: int
    ram_limit: int
    vram_limit: int | None
    disk_free: int | None
    by_turns: bool
    ahead: int
    server: ServerNeed | None
    on_server: str | None
    both_fit: bool
    fits: str
    limits: frozenset[str]
    seconds: float | None
    out: Path
    keep: str

    @property
    def disk_needed(self) -> int:
        """Bytes still to be written, at the highest."""
        return max(0, self.disk_working + (self.disk_kept or 0) - self.disk_present)

    def text(self) -> str:
        """A few lines for the person who starts it."""
        about = "" if self.counted else "about "
        length = "length unknown"
        if self.frames is not None and self.windows is not None:
            length = f"{about}{count_of(self.frames, 'frame')} in {count_of(self.windows, 'window')}"
        named = ", ".join(f"{kind} {name}" for kind, name in self.models.items())
        made = ""
        if self.generator is not None and self.generated_size is not None:
            made = f"; {self.generator} generates {'x'.join(map(str, self.generated_size))}"
        kept = "unknown" if self.disk_kept is None else format_size(self.disk_kept)
        vram = f", VRAM {_of(self.vram.total, self.vram_limit)}" if self.vram_limit is not None else ""
        vram += ", by turns with ComfyUI" if self.by_turns else ""
        ahead = f"; {self.ahead} tracked while one is generated (--ahead)" if self.ahead else ""
        time = f"not known: {'the length is not' if self.frames is None else 'nothing was timed on this machine yet'}"
        if self.seconds is not None:
            time = f"about {duration_text(self.seconds)}, going by earlier runs on this machine"
        together = []
        if self.server is not None:
            goes = "both fit" if self.both_fit else f"NO, both do not fit: {self._instead()}"
            together = [f"memory   {self.server}: {goes}"]
        return "\n".join(
            [
                f"plan     {length} of {self.window}, overlap {self.overlap}; "
                f"{self.size[0]}x{self.size[1]} at {self.fps:.4g} frames/s{made}{ahead}",
                *(line for line in (self.shots, self.rate) if line is not None),
                *(f"footage  {change}" for change in self.footage),
                f"models   {named}, on {self.device}",
                f"memory   RAM {_of(self.ram.total, self.ram_limit)}{vram}",
                *together,
                f"disk     {format_size(self.disk_working)} while working, {kept} kept; "
                + ("in the bucket" if self.disk_free is None else f"{format_size(self.disk_free)} free"),
                *([] if self.on_server is None else [f"         {self.on_server}"]),
                f"time     {time}",
            ]
        )

    def check(self) -> None:
        """Refuse what cannot fit.

        Raises:
            EnvironmentFault: with what is needed, what there is, and what would help.
        """
        if self.ram.total > self.ram_limit:
            limit = self._limit("--ram", self.ram_limit, "of RAM available")
            raise EnvironmentFault(
                f"this run needs about {format_size(self.ram.total)} of RAM ({self.ram.most} most of all), "
                f"over {limit}: {self.fits or self._smaller(self.ram.most)}, "
                "or close other programs or give a higher --ram"
            )
        if self.vram_limit is not None and self.vram.total > self.vram_limit:
            limit = self._limit("--vram", self.vram_limit, "of VRAM free")
            raise EnvironmentFault(
                f"this run needs about {format_size(self.vram.total)} of VRAM ({self.vram.most} most of all), "
                f"over {limit}: {self._smaller(self.vram.most)}, --device cpu, or free the GPU or give a higher --vram"
                + (
                    ""
                    if self.by_turns or self.generator is None or not GENERATORS[self.generator].on_servers
                    else ", or --share-gpu yes where ComfyUI has it"
                )
            )
        needed = self.disk_needed if self.counted else self.disk_working
        if self.disk_free is not None and needed > self.disk_free:
            claimed = f" for the {self.frames} frames that the header claims" if self.counted else ""
            keep = " or --keep none" if self.keep != "none" else ""
            raise EnvironmentFault(
                f"{self.out}: needs about {format_size(needed)}{claimed}, {format_size(self.disk_free)} "
                f"are free: free space, or choose another --out{keep}"
            )

    def _instead(self) -> str:
        """What to do where this program and ComfyUI do not fit together."""
        ours = f"{self.fits}, or " if self.fits else ""
        return (
            f"the machine would swap or end one of them; {ours}ComfyUI on another machine, or smaller models there "
            "(umt5 in fp8, GGUF), or started with --cache-none"
        )

    def _smaller(self, stage: str) -> str:
        """What makes this stage smaller, where its models are not the smallest."""
        kinds = ("sam",) if stage in ("look", "track", "score") else ("pose", "detector") if stage == "pose" else ()
        larger = [kind for kind in kinds if kind in self.models and self.models[kind] not in (SMALLEST[kind], *MINIS)]
        if not larger:
            return "take a smaller --window"
        options, names = (" and ".join(f"--{kind}" for kind in larger), ", ".join(SMALLEST[kind] for kind in larger))
        return f"take a smaller {options} ({names})" + (" or --window" if kinds == ("sam",) else "")

    def _limit(self, option: str, limit: int, else_named: str) -> str:
        return f"{option} {format_size(limit)}" if option in self.limits else f"the {format_size(limit)} {else_named}"


def _of(need: int, limit: int | None) -> str:
    return f"{format_size(need)} of {format_size(limit or 0)}"
