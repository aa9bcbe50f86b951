"""Where the shots of a clip are: known, or found in a thread while the page is in use."""

import threading
from collections.abc import Sequence
from pathlib import Path

from stages.decode import DecodeConfig, DecodeStage
from storage.errors import SkateError
from storage.spans import Span

AT_ONCE = 8  # frames


class Shots:
    """The first frames of the shots, and how long the clip is.

    Args:
        video: the clip. known: first frames of the shots behind the first; None: they are looked for.

    Attributes:
        starts: as far as is known. frames: looked at; all, once it is `done`.
        failure: why looking ended before the clip's end; empty: it did not.
    """

    def __init__(self, video: Path, known: Sequence[int] | None = None) -> None:
        self._video = video
        self.starts: list[int] = [0, *(known or ())]
        self.frames, self.done, self.failure = 0, known is not None, ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="shots", daemon=True)

    def begin(self) -> None:
        """Look, unless they are known."""
        if not self.done:
            self._thread.start()

    def _look(self) -> None:
        decode = DecodeStage(DecodeConfig(self._video, split=True))
        try:
            decode.open()
            start = 0
            while not self._stop.is_set():
                found = decode.next(Span(self.frames, self.frames + AT_ONCE), start)
                self.frames += len(found.times)
                if found.last:
                    self.done = True
                    return
                if found.cut:
                    start = self.frames
                    self.starts.append(start)
        except SkateError as error:
            self.failure = str(error)
        finally:
            decode.close()

    def close(self) -> None:
        """End looking; may be called twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
