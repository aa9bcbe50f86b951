"""What a recipe is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stages.base import Array
from stages.generators import Geometry
from stages.recipes.material import Conditioning, Material
from stages.resize import Size
from stages.server.edit import Settings
from stages.server.lora import Lora
from storage.errors import UsageError

__all__ = ["Family", "Lora", "Recipe", "Settings"]

Version = tuple[int, ...]


def as_it_is(given: Conditioning, version: Version) -> Conditioning:
    """Every version takes the same."""
    return given


def without_tail(given: Conditioning, tail: Array, size: Size) -> Conditioning:
    """Nothing is carried over."""
    return given


@dataclass(frozen=True)
class Family:
    """The models that are shown the same: what they take, and in which windows.

    Attributes:
        name: as a `Wiring` names it.
        condition: what the model is shown of a window, as far as that is known before the one before it is made.
        carry: the same with the frames `[m, H, W, 3]` uint8 RGB that are already generated at its start, at `size`; in
            place but for its first `kept` frames, or in new arrays.
        geometry: of its windows, and how many frames of the window before it takes as they are.
        frames: of a window, where nothing else is asked for.
        most: frames that a window may have; None: as many as memory allows.
        overlap: frames that two windows share, where nothing else is asked for.
        pose_style, fill, object_guide, region: what it is shown, where nothing else is asked for.
        fitted: the same for a server of this version, `()` where it does not tell.
        objects: whether it can be told what becomes of an object that is no person.
        removes: whether it removes subjects and can do nothing else.
    """

    name: str
    condition: Callable[[Material], Conditioning]
    geometry: Geometry
    frames: int
    most: int | None
    overlap: int
    pose_style: str = "vace"
    fill: str = ""
    object_guide: str = "none"
    region: str = "tight"
    carry: Callable[[Conditioning, Array, Size], Conditioning] = without_tail
    fitted: Callable[[Conditioning, Version], Conditioning] = as_it_is
    objects: bool = True
    removes: bool = False

    def check_window(self, named: str, window: int, overlap: int) -> None:
        """Refuse windows that the model cannot make.

        Raises:
            UsageError: with the window to take.
        """
        if self.most is not None and window > self.most:
            raise UsageError(
                f"--window {window}: {named} makes at most {self.most} frames at a time: "
                f"give --window {self.frames} --overlap {self.overlap}, or leave both out"
            )


@dataclass(frozen=True)
class Recipe:
    """A generator by name.

    Attributes:
        name: also its graph's: `workflows/NAME.json`.
        about: one line.
        family: what its model is shown.
        licence: of its model.
        reference: "none", "taken" or "needed": whether it can be shown a picture of the new look.
        profiles: settings by profile; one without an entry is refused.
        packages: custom nodes that it needs beside ComfyUI.
        families: what models are shown whose file (`--model`) has this word in its name.
    """

    name: str
    about: str
    family: Family
    licence: str
    reference: str = "taken"
    profiles: Mapping[str, Settings] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    families: Mapping[str, Family] = field(default_factory=dict)

    def shown(self, models: tuple[str, ...]) -> Family:
        """What these model files are shown; its own model's where there are none."""
        fitting = [family for word, family in self.families.items() if any(word in model for model in models)]
        return fitting[0] if fitting else self.family

    def settings(self, profile: str) -> Settings:
        """How it samples with a profile.

        Raises:
            UsageError: the profile is none, or has no settings that anybody published.
        """
        if profile not in self.profiles:
            have = ", ".join(self.profiles) or "none"
            raise UsageError(f"--profile {profile}: {self.name} has {have}: give one of these, or --steps and --cfg")
        return self.profiles[profile]
