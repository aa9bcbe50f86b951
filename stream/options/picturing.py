"""From a config to what makes the picture: regions, views, plates, the generator, the composite, the blend."""

from typing import Any

from stages.base import Stage
from stages.generators import GENERATORS
from stages.prompts import check_box_inside
from stages.subjects import OBJECT, PERSON
from storage.rundir import Manifest
from stream.options.config import RunConfig
from stream.options.passes import removed, reskinned, subject_names
from stream.options.working import frame_size
from stream.progress.events import Reporter


def region_stages(config: RunConfig) -> list[Stage]:
    """What joins the subjects of a scene, closed; nothing where there is none."""
    from stages.regions import RegionsConfig, RegionsStage

    if config.scene is None:
        return []
    made, gone = reskinned(config), removed(config)
    who = [subject for subject, _ in made or gone]
    objects, persons = (tuple(s.name for s in who if s.kind == kind) for kind in (OBJECT, PERSON))
    vanish = tuple(subject.name for subject, _ in gone) if made else ()
    return [RegionsStage(RegionsConfig(subject_names(config), objects, persons, vanish))]


def picturing_stages(config: RunConfig, manifest: Manifest, reporter: Reporter) -> list[Stage]:
    """The generator, and what puts its picture back into the source; closed."""
    from stages.composite import CompositeConfig, CompositeStage, MatchingCompositeStage
    from stages.through import ThroughStage

    kind = GENERATORS[config.generator]
    generator = kind.load().from_options(
        generator_options(config), lambda step: reporter.step(step.window, step.step, step.steps)
    )
    source = frame_size(manifest["video"])
    composite = MatchingCompositeStage if kind.drifts else CompositeStage
    seen = generator.works_at(*source)
    if config.has_view:
        generator = ThroughStage(generator)
    sizes = generator.size_for(*source), generator.works_at(*source)
    settings = CompositeConfig(
        config.changes,
        config.dilate,
        config.region,
        *sizes,
        config.has_view,
        config.match_grain,
        removes=not config.judges,
        keeps=config.keeps,
    )
    return [*viewing_stages(config, source, seen), generator, composite(settings)]


def view_size(config: RunConfig, source: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what the generator of a run is shown of frames of this size, where it is not turned."""
    stage = GENERATORS[config.generator].load().from_options(generator_options(config), lambda step: None)
    return stage.works_at(*source)


def viewing_stages(config: RunConfig, source: tuple[int, int], size: tuple[int, int]) -> list[Stage]:
    """What fixes the generator's views and keeps plates, closed; none where neither is asked for.

    Args:
        source: (width, height) of the frames. size: of the view's picture, where it is not turned.
    """
    from stages.aim import AimConfig, AimStage
    from stages.motion import MotionStage
    from stages.plate import PlateStage
    from stages.view import ViewConfig, ViewStage

    box = None if isinstance(config.view, str) else config.view
    if box is not None:
        check_box_inside("--view", box, *source)
    aim = AimStage(AimConfig(config.view, config.stabilise, size, config.size is None, config.changes))
    view = ViewStage(ViewConfig(box, config.follows_motion, size, config.changes))
    return [
        *([aim] if config.has_view else []),
        *([MotionStage(config.keeps_plates)] if config.follows_motion or config.keeps_plates else []),
        *([PlateStage()] if config.keeps_plates else []),
        *([view] if config.has_view else []),
    ]


def generator_options(config: RunConfig) -> dict[str, Any]:
    """The run's options by name, for whichever generator it has."""
    from stages.poses.pictures import picture_files

    pictures = str(config.given[2]) if config.given and picture_files(config.given[2]) else None
    own = {"reskin": config.changes, "sharing": config.sharing, "keeps": config.keeps, "pose_pictures": pictures}
    return {**vars(config), **own}


def blend_stage(config: RunConfig) -> Stage:
    """What blends windows, closed."""
    from stages.blend import BlendConfig, BlendStage

    return BlendStage(BlendConfig(config.window, config.overlap, config.changes))
