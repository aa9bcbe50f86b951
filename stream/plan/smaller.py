"""What would fit where a run does not: computed, not guessed."""

from collections.abc import Callable
from dataclasses import replace

from stages.resize import Size
from storage.rundir import Manifest
from storage.sizes import format_size
from stream.engine.chain import Chain
from stream.options.assembly import Models, build_chain
from stream.options.config import RunConfig
from stream.options.working import frame_size, given_in_pixels, source_size
from stream.progress.events import Reporter

WINDOWS = (61, 49, 41, 33, 25, 17)  # 4n+1; below 17 a window shows too little motion
LINES = (2160, 1440, 1080, 720)
Projection = Callable[[Chain, Size, int], int]  # chain, size of the frames, frames of a window -> bytes of RAM


def what_fits(
    projected: Projection,
    chain: Chain,
    config: RunConfig,
    models: Models,
    manifest: Manifest,
    window: int,
    limit: int,
) -> str:
    """The largest window, and the largest picture at this window, that fit into `limit` bytes; empty when none does.

    Args:
        projected: peak RAM of a run.
        chain, config, models, manifest: of this one.
        window: frames of its longest window.
        limit: bytes.
    """
    width, height = size = frame_size(manifest["video"])
    found = []
    for frames in WINDOWS:
        need = projected(chain, size, frames)
        if frames < window and need <= limit:
            found.append(
                f"--window {frames} --overlap {min(config.overlap, (frames - 1) // 4)} takes {format_size(need)}"
            )
            break
    short = min(size)
    for lines in LINES:
        if lines < short:
            smaller = round(width * lines / short), round(height * lines / short)
            masked = given_in_pixels(config)  # masks that are given are of the video's size
            worked = chain if masked else _at_height(config, models, manifest, smaller)
            need = projected(worked, smaller, window)
            if need <= limit:
                scale = f"-2:{lines}" if height <= width else f"{lines}:-2"
                found.append(
                    f"a clip of {lines} lines takes {format_size(need)} (ffmpeg -i IN -vf scale={scale} OUT.mp4)"
                    if masked
                    else f"--work-height {smaller[1]} takes {format_size(need)}"
                )
                break
    return ", or ".join(found)


def _at_height(config: RunConfig, models: Models, manifest: Manifest, size: Size) -> Chain:
    """The chain of the run with `--work-height`: what decodes and what writes has the video's own pictures."""
    video = manifest["video"]
    reduced = {**video, "width": size[0], "height": size[1], "source": list(source_size(video))}
    return build_chain(replace(config, work_height=size[1]), models, {**manifest, "video": reduced}, Reporter())
