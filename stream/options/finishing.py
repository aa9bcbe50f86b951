"""What makes one picture of the windows that were generated, and what finishes that."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from stages.base import Stage
from stream.engine.chain import Node
from stream.options.config import RunConfig

if TYPE_CHECKING:
    from stages.poses.models import PoseModels
    from stream.options.assembly import Models


def finished(making: Sequence[Node], config: RunConfig, models: "Models") -> list[Node]:
    """The nodes that make the picture, and behind them those that finish it, closed: the last one writes `generated`.

    Args:
        making: the last one blends.
    """
    finishing: list[Stage] = []
    if config.foot_lock:
        from stages.foot import FootStage

        finishing.append(FootStage(pose_models(config, models)))
    if config.deflicker:
        from stages.deflicker import DeflickerConfig, DeflickerStage

        finishing.append(DeflickerStage(DeflickerConfig(config.deflicker)))
    names = [*("blended", "held")[: len(finishing)], "generated"]
    *others, blend = making
    blending = Node(blend.stage, blend.name, {**blend.bind, "generated": names[0]})
    bound = ({"before": one, "after": two} for one, two in pairwise(names))
    return [*others, blending, *(Node(stage, bind=bind) for stage, bind in zip(finishing, bound, strict=True))]


def pose_models(config: RunConfig, models: "Models") -> "PoseModels":
    """What finds persons and joints, closed."""
    from stages.poses.models import PoseModels

    return PoseModels(
        str(models["pose"].path),
        str(models["detector"].path),
        config.device,
        pose_input=models["pose"].input_size,
        detector_input=models["detector"].input_size,
    )
