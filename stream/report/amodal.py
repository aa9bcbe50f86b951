"""All of each subject, hidden or not, as a server completed it (`--amodal` of the run) or from the run's masks and
joints: what `skate export --amodal` writes."""

from collections.abc import Iterator

from stages.base import Array, Inputs
from stages.occlusion import OcclusionStage
from storage.rundir import RunReader
from stream.engine.windows import committed_windows
from stream.options.assembly import occlusion_config
from stream.options.config import RunConfig
from stream.options.passes import subject_names


class AmodalMasks:
    """The amodal masks of a run's subjects; the same of every run, whether it told who is occluded or not.

    Attributes:
        names: of the subjects.
        frames: how many there are: what is tracked, and posed.
    """

    def __init__(self, run: RunReader, config: RunConfig) -> None:
        self.names = subject_names(config)
        self._run = run
        posed = tuple(name for name in config.persons if f"keypoints/{name}" in run.arrays.layout.arrays)
        self._config = occlusion_config(config, posed)
        self._completed = config.amodal is not None
        needs = ("occlusion",) if self._completed else ("track", *(("pose",) if posed else ()))
        done = min(run.log.done(stage) for stage in needs)
        self._windows = committed_windows(run.log)[:done]
        self._cuts = [record["info"].get("cuts", []) for record in run.log.of("decode")[:done]]
        self.frames = self._windows[-1].new.stop if self._windows else 0

    def each(self) -> Iterator[dict[str, Array]]:
        """Of every frame `[H, W]` bool by name."""
        stage = OcclusionStage(self._config)
        for window, cuts in zip(self._windows, self._cuts, strict=True):
            if self._completed:
                every = {name: self._run.arrays.read(f"amodal/{name}", *window.new) for name in self.names}
            else:
                given = {read.port: self._run.arrays.read(read.port, *window.new) for read in stage.reads}
                every = stage.amodal(window, Inputs(given, {"decode": {"cuts": cuts}}))
            for index in range(window.new.frames):
                yield {name: masks[index] for name, masks in every.items()}
