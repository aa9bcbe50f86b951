"""Who interacts with what: the gate's metrics are measured in pairs, an object and the person who holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.measure import METRICS, RESULT_KEYPOINTS, SIGHTS, MeasureStage
from stages.subjects import OBJECT, PERSON

if TYPE_CHECKING:
    from stream.options.config import RunConfig


@dataclass(frozen=True)
class Pair:
    """One of them.

    Attributes:
        object, person: names.
        node: that measures it.
        arrays: of the run, by the names that the stage has for them.
    """

    object: str
    person: str
    node: str
    arrays: Mapping[str, str]


PLAIN = Pair(OBJECT, PERSON, MeasureStage.name, {port.name: port.name for port in MeasureStage.writes})


def pairs_of(config: "RunConfig") -> list[Pair]:
    """The pairs of a run: of a scene every gated object with the person who holds it, as far as both stay in the
    picture."""
    if config.scene is None:
        return [PLAIN]
    seen, found, gated = [subject.name for subject in config.followed], list[Pair](), config.proved
    for subject in config.followed:
        person = subject.held_by
        if subject.kind != OBJECT or subject.name not in gated or person is None or person not in seen:
            continue
        name, again = subject.name, any(pair.person == person for pair in found)
        arrays = {METRICS[OBJECT]: f"metrics/{name}", "iou": f"scores/{name}"}
        arrays[METRICS[PERSON]] = f"metrics/{person}-{name}" if again else f"metrics/{person}"
        arrays |= {array: f"{array}-{name}" for array in (*SIGHTS, RESULT_KEYPOINTS)}
        arrays |= {f"{group}/{kind}": f"{group}/{who}" for group in ("masks", "found")
                   for kind, who in ((OBJECT, name), (PERSON, person))}  # fmt: skip
        arrays[f"keypoints/{PERSON}"] = f"keypoints/{person}"
        found.append(Pair(name, person, f"{MeasureStage.name}-{name}", arrays))
    return found
