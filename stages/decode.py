"""Decode: the video's frames, upright RGB, window by window, with their times. It finds out where the clip ends."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from stages import bounds
from stages.base import PICTURE, Array, Inputs, Json, Output, Port, Stage, State, Window
from stages.cuts import CutFinder, Cuts
from stages.resize import reduced, resize_frames
from stages.video.ahead import FramesAhead
from stages.video.buffers import FrameBuffers
from stages.video.convert import FrameWriter
from stages.video.decoded import Decoded, DecodeState
from stages.video.digest import frame_digest
from stages.video.fetch import FetchLimits, fetch_video
from stages.video.limits import DEFAULT_MAX_GAP_SECONDS, DEFAULT_MAX_PIXELS, VideoLimits
from stages.video.resample import CHANGED, ClipFrame, clip_frames, read_again
from stages.video.source import KnownFrame, SourceFrame, VideoProperties, VideoSource
from storage.errors import InputError, RunDirectoryError
from storage.spans import Span

__all__ = ["DecodeConfig", "DecodeStage", "DecodeState", "Decoded", "FetchLimits", "VideoProperties"]
__all__ += ["fetch_video", "read_source", "read_span"]

LOOK_AHEAD_FRAMES = 16  # below this a clip's length changes how SAM 2 encodes its pointers
HELD_PICTURES = 32  # in the decoder and before conversion, at most
KNOWN_FRAMES = 8


@dataclass(frozen=True)
class DecodeConfig:
    """What to decode, and how.

    Attributes:
        path: the video file.
        window: frames of a window (4n+1).
        overlap: frames that neighbouring windows share.
        fps: rate to resample to, or None to keep every frame at its time.
        max_bad_frames: damaged frames that are concealed before the video is refused.
        max_pixels: largest width times height of a frame.
        max_gap_seconds: longest time from one frame to the next.
        hdr: "tonemap" or "refuse", for HLG and PQ.
        split: whether a window ends where a shot does.
        cuts: frames before which a cut lies, ascending; None: they are found.
        height: of the frames that are given, pixels, where that is less than the file's; None: as they are.
        picture_bytes: of a decoded picture, a pixel of a frame; for the projection alone. 4 is 4:2:2 in more than 8
            bits.
    """

    path: Path
    window: int = 81
    overlap: int = 21
    fps: float | None = None
    max_bad_frames: int = 100
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_gap_seconds: float = DEFAULT_MAX_GAP_SECONDS
    hdr: str = "tonemap"
    split: bool = False
    cuts: tuple[int, ...] | None = None
    height: int | None = None
    picture_bytes: float = 4.0

    def __post_init__(self) -> None:
        bounds.FPS.check("--fps", self.fps)
        bounds.WORK_HEIGHT.check("--work-height", self.height)
        self.limits  # noqa: B018  (validates)

    @property
    def limits(self) -> VideoLimits:
        """The bounds on what is accepted."""
        return VideoLimits(self.max_pixels, self.max_bad_frames, self.max_gap_seconds, self.hdr == "tonemap")


class DecodeStage(Stage):
    """Reads the video. `open` checks it; each window then takes as many frames as there are, up to its span.

    Raises (from `open`, `next` and `process`):
        InputError: when the file is no video, has no picture track, is HDR that is not taken, changes its size, is
            damaged beyond `max_bad_frames`, or exceeds a limit.
    """

    name = "decode"
    writes = (Port("times", "new", (), "float64"), Port("frames", "new", PICTURE, "uint8", "until_read"))
    scales = "pixels"

    def __init__(self, config: DecodeConfig) -> None:
        self.config = config
        self._source: VideoSource | None = None
        self._clip: Iterator[ClipFrame] = iter(())
        self._ahead = FramesAhead(iter(()), Cuts())
        self._buffers = FrameBuffers()
        self._worker: ThreadPoolExecutor | None = None
        self._state = DecodeState()

    def open(self) -> None:
        """Open the file, decode its first frame and check it."""
        self._source = VideoSource(Path(self.config.path), self.config.limits)
        self._clip = self._clip_from(self._source.frames())
        self._look_ahead()
        self._worker = ThreadPoolExecutor(1, "convert")

    @property
    def properties(self) -> VideoProperties:
        """What the video is, and the size of the frames that are given; needs `open`."""
        found = self._opened().properties
        own = (found.width, found.height)
        width, height = reduced(own, self.config.height)
        return found if (width, height) == own else replace(found, width=width, height=height, source=own)

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._ahead = FramesAhead(iter(()), Cuts())
        self._buffers.clear()
        self._clip = iter(())
        if self._worker is not None:
            self._worker.shutdown()
        if self._source is not None:
            self._source.close()
        self._worker = self._source = None  # it would tell of a clip that has ended

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Decode `window.new`, or what there is of it: where clip and shot end is found out here.

        Raises:
            InputError: also when a cut that was given is behind the clip's end.
        """
        found = self.next(window.new, window.shot_start)
        source = self._opened()
        info: dict[str, Json] = {
            "frames": len(found.times),
            "last": found.last,
            "cut": found.cut,
            "cuts": found.cuts,
            "clip_frames_min16": found.clip_frames_min16,
            "bad_frames": found.bad_frames,
            "repaired_times": source.repaired_times,
            "frame_digests": found.digests,
        }
        if found.last:
            self._check_cuts(window.new.start + len(found.times))
            info["read_error"] = source.read_error
            info["claimed_frames"] = source.properties.claimed_frames
        return Output(arrays={"times": found.times, "frames": found.frames}, info=info)

    def next(self, span: Span, shot_start: int = 0) -> Decoded:
        """The frames of `span`, which must begin where the last call ended; fewer when clip or shot end in it.

        Args:
            shot_start: of the shot that its first frame belongs to.

        Raises:
            ValueError: when the span begins elsewhere.
        """
        if span.start != self._state.next_frame:
            raise ValueError(f"decode stands before frame {self._state.next_frame}, not {span.start}")
        properties = self.properties
        frames = self._buffers.take((span.frames, properties.height, properties.width, 3))
        times, bad, digests = self._fill_rows(frames, span.start, shot_start)
        count = len(times)
        stop = span.start + count
        self._state.next_frame = stop
        cuts, last = self._ahead.cuts(), not self._ahead.fill(1)
        return Decoded(
            frames=frames[:count],
            times=np.array(times, np.float64),
            last=last,
            cut=not last and self.config.split and self._ahead.ends_shot(shot_start),
            cuts=cuts,
            clip_frames_min16=min(LOOK_AHEAD_FRAMES, stop + self._ahead.fill(max(1, LOOK_AHEAD_FRAMES - stop))),
            bad_frames=bad,
            digests=digests,
        )

    def _fill_rows(self, frames: Array, start: int, shot_start: int) -> tuple[list[float], list[int], list[str]]:
        """Fill the array with the shot's next frames (`start` is the first's index): times, bad frames and digests."""
        times: list[float] = []
        bad: list[int] = []
        met: deque[tuple[int, KnownFrame]] = deque(maxlen=KNOWN_FRAMES)
        with FrameWriter(self._converter(), frames) as writer:
            shown: SourceFrame | None = None
            while len(times) < len(frames) and self._ahead.fill(1):
                row = len(times)
                if row and self.config.split and self._ahead.ends_shot(shot_start):
                    break
                item = self._ahead.take()
                if item.source is shown:
                    writer.repeat(row)
                else:
                    writer.convert(row, item.source)
                    met.append((row, KnownFrame(item.source.pts, item.source.seconds, "", item.source.position)))
                if self._opened().careful:
                    writer.settle()  # a concealed frame is the picture of the one before it
                shown = item.source
                if shown.concealed:
                    bad.append(start + row)
                times.append(item.seconds)
        for row, frame in met:
            self._remember(replace(frame, digest=writer.digests[row]))
        return times, bad, writer.digests

    def get_state(self) -> State:
        """Where decoding stands; frames looked at ahead are decoded again after a resume."""
        source, state = self._opened(), self._state
        return DecodeState(
            next_frame=state.next_frame,
            known=[list(entry) for entry in state.known],
            seekable=not source.careful and source.repaired_times == 0,
            careful=source.careful,
            pictures=self._ahead.pictures(),
        )

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Go on exactly where the state was taken: by seeking where the frames met prove right, else from the start.

        Raises:
            InputError: when the video no longer gives the frames it gave.
        """
        state = DecodeState.from_parts(values, arrays)
        source = self._opened()
        known = [KnownFrame(*entry) for entry in state.known]
        shown = source.seek_known(known) if state.seekable else None
        if shown is None:
            source.restart(state.careful)
            self._clip = self._clip_from(source.frames())
            self._replay(state.next_frame, known)
        elif self.config.fps is None:
            self._clip = self._clip_from(source.frames())
        else:
            self._clip = self._clip_from(chain([shown], source.frames()), state.next_frame)
        self._look_ahead(state.next_frame, state.pictures, state.known[-1][1] if state.known else None)
        self._state = state

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Two windows of RGB frames, and decoded pictures: 32, and the 16 that are looked at ahead.

        32 bound what the decoder holds to refer to and to reorder (16 in H.264 and HEVC, in one thread), what is
        deinterlaced and what waits to be converted (`MAX_PENDING` of `stages/video/convert.py`).
        """
        pictures = HELD_PICTURES + LOOK_AHEAD_FRAMES
        return int(height * width * (3 * 2 * window_frames + self.config.picture_bytes * pictures)), 0

    def _opened(self) -> VideoSource:
        if self._source is None:
            raise RunDirectoryError("the decode stage is not open: call open() first")
        return self._source

    def _converter(self) -> ThreadPoolExecutor:
        if self._worker is None:
            raise RunDirectoryError("the decode stage is not open: call open() first")
        return self._worker

    def _clip_from(self, frames: Iterator[SourceFrame], first: int = 0) -> Iterator[ClipFrame]:
        return clip_frames(frames, self.config.fps, 1 / self.properties.claimed_fps, first)

    def _look_ahead(self, first: int = 0, before: Array | None = None, shown: float | None = None) -> None:
        """Begin to look ahead at frame `first`; `before`, `shown`: as of `FramesAhead`."""
        given, before = self.config.cuts, DecodeState().pictures if before is None else before
        cuts = CutFinder(before) if given is None else Cuts(cut for cut in given if cut >= first)
        self._ahead = FramesAhead(self._clip, cuts, first, before, shown)

    def _check_cuts(self, frames: int) -> None:
        late = [cut for cut in self.config.cuts or () if cut >= frames]
        if late:
            raise InputError(f"--cuts: frame {late[0]} is behind the end of the clip, which has {frames} frames: "
                             "take it out of that file, or of the scene's cuts")  # fmt: skip

    def _remember(self, frame: KnownFrame) -> None:
        known = self._state.known
        if not known or known[-1][1] != frame.seconds:
            known.append([frame.pts, frame.seconds, frame.digest, frame.position])
            del known[:-KNOWN_FRAMES]

    def _replay(self, frames: int, known: Sequence[KnownFrame]) -> None:
        """Pass over the clip's first `frames` frames, verifying those that are known.

        Raises:
            InputError: when one is not what it was.
        """
        digests = {frame.seconds: frame.digest for frame in known}
        passed, verified = 0, set()
        for item in islice(self._clip, frames):
            passed += 1
            seconds = item.source.seconds
            if seconds in digests and seconds not in verified:
                if frame_digest(item.source.to_rgb()) != digests[seconds]:
                    break
                verified.add(seconds)
        if passed < frames or len(verified) < len(digests):
            raise InputError(f"{self.config.path}: frame {max(0, passed - 1)} is not the one decoded before: {CHANGED}")


def read_span(
    config: DecodeConfig, span: Span, digests: Sequence[str], seconds: float | None = None
) -> Iterator[Array]:
    """Frames `span` of the clip once more, as they were given, `[H, W, 3]` uint8 RGB each, verified by the digests they
    had.

    Args:
        config: as in the run.
        span: which frames of the clip.
        digests: `frame_digests` of exactly these frames, in order.
        seconds: time of the first; with it the file is sought, without it is decoded from its start.

    Raises:
        InputError: when the video no longer gives these frames.
        ValueError: when there is not one digest a frame.
    """
    if len(digests) != span.frames:
        raise ValueError(f"{span.frames} frames are wanted, {len(digests)} digests given")
    if span.frames == 0:
        return
    source = VideoSource(Path(config.path), config.limits)
    try:
        for picture in read_again(source, config.fps, span, lambda k, it: frame_digest(it) == digests[k], seconds):
            yield at_height(picture, config.height)
    finally:
        source.close()


def read_source(config: DecodeConfig, span: Span, frames: Array, times: Sequence[float]) -> Iterator[Array]:
    """Pictures `span` of the clip in the file's size, `[H, W, 3]` uint8 RGB each, verified by their reduced frames.

    Args:
        config: as in the run, whose frames are reduced to its `height`.
        span: which frames of the clip.
        frames: `[n, h, w, 3]` uint8 RGB, those frames. times: theirs, seconds.

    Raises:
        InputError: when the video no longer gives them.
    """
    source = VideoSource(Path(config.path), config.limits)
    try:
        yield from read_again(
            source, config.fps, span, lambda k, it: np.array_equal(at_height(it, config.height), frames[k]), times[0]
        )
    finally:
        source.close()


def at_height(picture: Array, height: int | None) -> Array:
    """`[h, w, 3]` uint8: a picture `[H, W, 3]` reduced to a height, as it is where that is None or no less."""
    return np.asarray(resize_frames(picture[None], reduced((picture.shape[1], picture.shape[0]), height))[0])
