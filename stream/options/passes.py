"""What is generated of a scene: in one pass for all of them, or in one a subject (`--passes`).

    together    one generation; its region is the union of all that is regenerated
    each        one a subject: persons first, then objects, of each what is nearer later; each sees the ones before

Who vanishes does so first, all in one pass, so that what is generated sees a source without them. A pass is the same
stages bound to other arrays (`Node`): the config of the plain options, with what this pass regenerates in place of what
all of the run does.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.base import Stage
from stages.choices import EACH, PASSES, TOGETHER
from stages.generators import default_generator
from stages.poses.place import prompt_box
from stages.region import REMOVE
from stages.regions import ALL, OBJECTS, PERSONS, POSES, REMOVED
from stages.sam.prompts import words_of
from stages.subjects import OBJECT, PERSON, Reskin, Subject
from storage.errors import UsageError
from stream.engine.chain import Node
from stream.options.pairs import pairs_of

if TYPE_CHECKING:
    from stream.options.config import RunConfig

_WORD = re.compile(r"\{([^{}]*)\}")
_NOT_OF_REMOVAL = ("server", "workflow", "text", "continuity", "stabilise", "gate", "baselines", "foot_lock")
UNION = {f"masks/{OBJECT}": OBJECTS, f"masks/{PERSON}": PERSONS, "masks/all": ALL, f"keypoints/{PERSON}": POSES}
"""What of a scene stands for object and person where all of them are meant."""


@dataclass(frozen=True)
class Pass:
    """One generation.

    Attributes:
        config: of the run, with what this pass regenerates.
        name: of the subject, of those that vanish the first one's; "": of all.
        bind: by the stages' names of arrays, the chain's where it is another and no stage of this pass writes it.
    """

    config: "RunConfig"
    name: str = ""
    bind: Mapping[str, str] = field(default_factory=dict)

    def nodes(self, stages: Sequence[Stage]) -> list[Node]:
        """Its stages in the chain: what they write, and read of each other, is of this pass."""
        own = {what for stage in stages for what in (stage.name, *(port.name for port in stage.writes))}
        bind = {**self.bind, **{what: named(what, self.name) for what in own}}
        return [Node(each, named(each.name, self.name), _beside(each, bind, self.config)) for each in stages]


def _beside(stage: Stage, bind: Mapping[str, str], config: "RunConfig") -> Mapping[str, str]:
    """What looks at the background of the source's new frames does so in every pass: beside all subjects."""
    if config.scene is None or not any(read.port == "frames" and read.span == "new" for read in stage.reads):
        return bind
    every = {f"masks/{kind}": ALL for kind in (OBJECT, PERSON)}
    return {**{name: to for name, to in bind.items() if name != "frames"}, **every}


def named(what: str, subject: str) -> str:
    """A node's or an array's name in the pass of a subject; "": of all."""
    return f"{what}-{subject}" if subject else what


def check_scene(config: "RunConfig") -> None:
    """Refuse a config that does not say who is followed, or says it twice.

    Raises:
        UsageError: with what to leave out, or to give.
    """
    if config.prompt is None and config.scene is None:
        raise UsageError("the object needs one of --box, --point (repeatable) or --object-mask; or give --scene")
    names = [subject.name for subject in config.subjects]
    unknown = next((name for name, _ in config.swap if name not in names), None)
    if unknown is not None:
        raise UsageError(f"--swap {unknown[:40]}=...: is the name of none of {', '.join(names)}")
    if config.passes not in PASSES:
        raise UsageError(f"--passes {config.passes} is none of {', '.join(PASSES)}")
    if config.amodal is not None and config.scene is None:
        raise UsageError("--amodal completes the subjects of a --scene, who may hide each other: give one")
    if config.amodal is not None and not config.server:
        raise UsageError("--amodal asks a ComfyUI server: give --server HOST:PORT")
    if config.scene is None:
        if config.passes == EACH:
            raise UsageError("--passes each: is for the subjects of a --scene")
        return
    if config.prompt is not None or config.correct or config.correct_person or config.person_box is not None:
        raise UsageError("--scene says what is followed: leave --box, --point, --correct and the like out")
    sought = next((who.name for who in config.scene if who.find is not None), None)
    if sought is not None:
        raise UsageError(f"subject '{sought}': find asks a ComfyUI server while a run begins: give its mask here")
    if len(set(names)) != len(names):
        raise UsageError(f"two subjects of the scene have one name: {', '.join(names)}")
    if config.generates:
        _check_generation(config)


def _check_generation(config: "RunConfig") -> None:
    if not changed(config):
        raise UsageError(
            f"--reskin {config.reskin}: nobody of the scene is to be regenerated (reskin = true): `skate extract` it"
        )
    if config.measures and not pairs_of(config):
        raise UsageError(
            "--gate: no gated object of the scene says who holds it, so there is no interaction to measure: give it "
            "held_by, or leave all metrics but iou out"
        )
    if config.continuity == "latent" and config.passes == EACH:
        raise UsageError("--passes each: latents are handed on by one generation alone: leave --continuity latent out")


def reskinned(config: "RunConfig") -> list[tuple[Subject, Reskin]]:
    """Who of a scene is regenerated, and how: by its file and by `--reskin`."""
    return [] if config.reskin == REMOVE else [(who, how) for who, how in changed(config) if how.on is True]


def removed(config: "RunConfig") -> list[tuple[Subject, Reskin]]:
    """Who of a scene vanishes: by its file, and with `--reskin remove` whoever would be regenerated too."""
    return [(who, how) for who, how in changed(config) if how.on == REMOVE or config.reskin == REMOVE]


def changed(config: "RunConfig") -> list[tuple[Subject, Reskin]]:
    """Who does not stay as in the source."""
    found = zip(config.subjects, config.reskins or map(Reskin, subject_names(config)), strict=True)
    return [(who, how) for who, how in found if how.on and config.changes in ("both", who.kind)]


def subject_names(config: "RunConfig") -> tuple[str, ...]:
    """Of the subjects."""
    return tuple(subject.name for subject in config.subjects)


def text_of(config: "RunConfig", template: str) -> str:
    """A prompt with each `{NAME}` replaced by what that subject becomes: by `--swap`, else by the scene.

    Raises:
        UsageError: for a name that is no subject's, or one of whom nothing is said.
    """
    said = {how.name: how.prompt for how in config.reskins if how.prompt} | dict(config.swap)
    if not said and config.scene is None:
        return template

    def word(found: re.Match[str]) -> str:
        name = found[1]
        if name not in said:
            known = f"{', '.join(said)} can stand there" if said else "no subject has a prompt"
            raise UsageError(f"--prompt: nothing says what {{{name[:40]}}} becomes ({known}): give --swap NAME=TEXT")
        return said[name]

    return _WORD.sub(word, template)


def _text_of(config: "RunConfig", who: Sequence[tuple[Subject, Reskin]]) -> str:
    """What the subjects of one pass become: `--prompt` with their words, else these alone."""
    said = [dict(config.swap).get(how.name) or how.prompt for _, how in who]
    own = ", ".join(filter(None, said))
    alone = config.passes == EACH and own
    return text_of(config, config.text) if config.text and not alone else own


def generations(config: "RunConfig") -> dict[str, "RunConfig"]:
    """What each generator of the chain is asked for, by its node's name."""
    return {named("generate", one.name): one.config for one in passes_of(config)}


def together(config: "RunConfig") -> "RunConfig":
    """The config of one generation for all.

    Raises:
        UsageError: where two of them ask for what one generation cannot give.
    """
    who = reskinned(config)
    kinds = {subject.kind for subject, _ in who}
    references = {(how.reference, how.reference_digest): how.name for _, how in who if how.reference is not None}
    if config.reference is not None:
        references = {(config.reference, None): "--reference"}
    if len(references) > 1:
        raise UsageError(
            f"--passes together: subjects {' and '.join(list(references.values())[:2])} have references of their own, "
            "one generation is shown one picture: give --passes each, or one --reference for all"
        )
    widths = []
    for kind, usual in zip((OBJECT, PERSON), config.dilate, strict=True):
        asked = {how.dilate if how.dilate is not None else usual: how.name for who_, how in who if who_.kind == kind}
        if len(asked) > 1:
            raise UsageError(
                f"--passes together: all {kind}s have one width, and subjects {' and '.join(list(asked.values())[:2])} "
                f"ask for dilate {' and '.join(map(str, list(asked)[:2]))}: give --passes each, or one width"
            )
        widths.append(next(iter(asked), usual))
    return dataclasses.replace(
        config,
        text=_text_of(config, who),
        negative=_listed(config.negative, who),
        reference=next(iter(references), (None, None))[0],
        reskin=kinds.pop() if len(kinds) == 1 else "both",
        dilate=(widths[0], widths[1]),
    )


def _listed(own: str, who: Sequence[tuple[Subject, Reskin]]) -> str:
    return ", ".join(filter(None, dict.fromkeys([own, *(how.negative for _, how in who)])))


def passes_of(config: "RunConfig") -> list[Pass]:
    """The generations of a run, in order."""
    if config.scene is None:
        words = ", ".join(words for name, words in config.swap if config.changes in ("both", name))
        text = text_of(config, config.text) or words
        return [Pass(dataclasses.replace(config, text=text) if config.swap else config)]
    found: list[Pass] = []
    if (gone := removed(config)) and not reskinned(config):
        return [Pass(removal(config), bind=UNION)]
    if gone:
        bind = {**UNION, **{f"masks/{kind}": REMOVED for kind in (OBJECT, PERSON)}}
        found.append(Pass(removal(config), gone[0][0].name, bind))
    if config.passes == TOGETHER:
        return [*found, Pass(together(config), bind={**UNION, **_after(found)})]
    for subject, how in in_order(reskinned(config)):
        other = PERSON if subject.kind == OBJECT else OBJECT
        width = config.dilate[subject.kind == PERSON] if how.dilate is None else how.dilate
        own = dataclasses.replace(
            config,
            text=_text_of(config, [(subject, how)]),
            negative=_listed(config.negative, [(subject, how)]),
            reference=how.reference or config.reference,
            reskin=subject.kind,
            dilate=(width, width),
        )
        bind = {f"masks/{subject.kind}": f"masks/{subject.name}", f"masks/{other}": ALL}
        bind[f"keypoints/{PERSON}"] = f"keypoints/{subject.name}" if subject.kind == PERSON else POSES
        found.append(Pass(own, subject.name, {**bind, **_after(found)}))
    # What an earlier pass made of the windows before is blended for itself: it is what that pass goes on from.
    return [
        one if one is found[-1] else dataclasses.replace(one, bind={**one.bind, **_blended(one.name)}) for one in found
    ]


def _after(found: Sequence[Pass]) -> dict[str, str]:
    """A pass sees what the one before made."""
    return {"frames": named("raw", found[-1].name)} if found else {}


def removal(config: "RunConfig") -> "RunConfig":
    """The config of the pass in which those of a scene vanish who do."""
    gone = removed(config)
    names, usual = [who.name for who, _ in gone], dict(zip((OBJECT, PERSON), config.dilate, strict=True))
    width = max(usual[who.kind] if how.dilate is None else how.dilate for who, how in gone)
    every = config.reskins or tuple(map(Reskin, subject_names(config)))
    reskins = tuple(dataclasses.replace(how, on=how.name in names) for how in every)
    own = dataclasses.replace(config, reskins=reskins, dilate=(width, width), passes=TOGETHER)
    if config.reskin == REMOVE:
        return own
    # What the run's generator, its views and its gate are asked for is not for this pass: plates stand in their place.
    plain: dict[str, Any] = {
        item.name: item.default for item in dataclasses.fields(config) if item.name in _NOT_OF_REMOVAL
    }
    return dataclasses.replace(
        own, **plain, reskin=REMOVE, generator=default_generator(False, removing=True), view="full"
    )


def _blended(subject: str) -> dict[str, str]:
    return {name: named(name, subject) for name in ("generated", "overlap")}


def in_order(who: Sequence[tuple[Subject, Reskin]]) -> list[tuple[Subject, Reskin]]:
    """Persons first, and of each kind what is nearer later: it stands lower in the picture where it is pointed at."""

    def place(item: tuple[Subject, Reskin]) -> tuple[bool, float]:
        prompt, told = item[0].prompt, words_of(item[0], scene=True).mask
        return item[0].kind == OBJECT, 0.0 if prompt is None else prompt_box(prompt, told=told)[3]

    return sorted(who, key=place)


def nodes_of(
    config: "RunConfig", making: "Callable[[RunConfig], list[Stage]]", blend: "Callable[[], Stage]"
) -> list[Node]:
    """All that makes the picture and blends it, in order.

    Args:
        making: the stages of one generation, the last of which writes `raw`. blend: a new one.
    """
    every = passes_of(config)
    union = {} if config.scene is None else UNION
    nodes: list[Node] = []
    for one in every:
        own = one.nodes(making(one.config))
        nodes += own
        bind = {**union, "raw": named("raw", one.name)}
        if one is every[-1]:
            nodes.append(Node(blend(), bind=bind))
        elif any(read.window < 0 for node in own for read in node.stage.reads):
            nodes.append(Node(blend(), named("blend", one.name), {**bind, **_blended(one.name)}))
    return nodes
