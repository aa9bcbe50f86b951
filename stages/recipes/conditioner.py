"""What a model is shown of a window, from what the stage is given: all but the frames of the window before."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stages.base import Array, Inputs, Window
from stages.plates.behind import plates_of
from stages.poses.pictures import SkeletonPictures
from stages.recipes.material import Conditioning, Material
from stages.recipes.registry import Chosen
from stages.region import region, source_pixels
from stages.resize import Size, resize_frames
from stages.server.transport import Groups, encode_groups
from stages.vace.condition import Guides
from stages.vace.config import ComfyConfig
from stages.vace.reference import Reference


@dataclass(frozen=True)
class Shown:
    """A window as far as it is known before the one before it is made.

    Attributes:
        dilate: of its region, as `--dilate`.
        allowed: `[n, H, W]` bool, the pixels of the source that may change.
        given: without frames of the window before; None where nothing may change.
        encoded: by channel, what of its video is encoded already.
    """

    dilate: tuple[int, int]
    allowed: Array
    given: Conditioning | None
    encoded: Mapping[str, Groups] = field(default_factory=dict)

    def encoded_of(self, sent: Conditioning) -> dict[str, Groups]:
        """What of this, which was made from `given`, is encoded already: all of a channel's own video but where frames
        were put in."""
        return {
            channel: {start: packets for start, packets in groups.items() if start >= sent.kept}
            for channel, groups in self.encoded.items()
            if self.given is not None and sent.videos[channel] is self.given.videos[channel]
        }


class Conditioner:
    """Makes what a model is shown of a window.

    Args:
        chosen: the graph, and what its model takes. fill: of the region.
        reference: a picture of the new look; None without. pictures: skeletons that were given as such; None without.
    """

    def __init__(
        self,
        config: ComfyConfig,
        chosen: Chosen,
        fill: str,
        reference: Reference | None,
        pictures: SkeletonPictures | None,
    ) -> None:
        self._config, self._chosen, self._reference, self._pictures = config, chosen, reference, pictures
        family = chosen.family
        self._guides = Guides(
            fill=fill,
            object_guide=config.object_guide or family.object_guide,
            skeleton=config.reskin != "object",
            pose_style=config.pose_style or family.pose_style,
        )
        self._reading = threading.Lock()  # what it reads from files is read by one thread at a time

    def shown(self, window: Window, inputs: Inputs, dilate: tuple[int, int], size: Size) -> Shown:
        """The window with a region of this width, at the generator's `size`."""
        allowed = self._allowed(inputs, dilate, size)
        if not allowed.any():
            return Shown(dilate, allowed, None)
        with self._reading:
            return Shown(dilate, allowed, self._condition(window, inputs, allowed, size))

    def encoded(self, shown: Shown, since: int) -> Shown:
        """The same with what the graph takes of it encoded, from frame `since` on."""
        if shown.given is None:
            return shown
        taken = self._chosen.workflow.points.loaders
        videos = {channel: video for channel, video in shown.given.videos.items() if channel in taken}
        return replace(shown, encoded={channel: encode_groups(video, since) for channel, video in videos.items()})

    def _allowed(self, inputs: Inputs, dilate: tuple[int, int], size: Size) -> Array:
        """`[n, H, W]` bool: the pixels of the source that may change."""
        objects, persons = inputs.arrays["masks/object"], inputs.arrays["masks/person"]
        radii = source_pixels(dilate, (objects.shape[2], objects.shape[1]), size)
        every = inputs.arrays.get("masks/all")
        return region(objects, persons, self._config.reskin, radii, self._config.region, every)

    def _condition(self, window: Window, inputs: Inputs, allowed: Array, size: Size) -> Conditioning:
        config = self._config
        frames, objects, persons = (inputs.arrays[name] for name in ("frames", "masks/object", "masks/person"))
        material = Material(
            frames,
            inputs.arrays["keypoints/person"],
            objects if config.reskin != "person" else objects & False,
            persons if config.reskin != "object" else persons & False,
            allowed,
            window.padded_frames,
            size,
            self._guides,
            self._skeletons(window, inputs, size),
            frozenset(self._chosen.workflow.points.loaders),
            self._reference,
            plates_of(inputs, allowed, size, window.new.start - window.read.start),
        )
        return self._chosen.family.condition(material)

    def _skeletons(self, window: Window, inputs: Inputs, size: Size) -> Array | None:
        """`[n, h, w, 3]` uint8: the skeletons that were given as pictures, at the generator's size; None without."""
        if self._pictures is None:
            return None
        frames, seen = inputs.arrays["frames"], inputs.lens
        video = (frames.shape[2], frames.shape[1]) if seen is None else seen.source
        shown = []
        for place, index in enumerate(range(*window.read)):
            picture = self._pictures.read(index, video)[None]
            shown.append(seen.pictures(resize_frames(picture, video), place) if seen else picture)
        return np.concatenate([resize_frames(picture, size) for picture in shown])
