"""What a person should know before and after a run: nothing is refused here."""

import re
from collections.abc import Sequence
from pathlib import Path

from stages.generators import GENERATORS
from stages.sam.prompts import words_of
from storage.boundary import visible
from stream.options.config import RunConfig
from stream.options.recipes import wanted

MINI = "mini"
MINIS = (MINI, "mini-groups")
FEW_STEPS = 10  # Wan 2.1 takes 20 to 50; with CausVid's or LightX2V's LoRA 4 to 8, at cfg 1
NO_GUIDANCE = 1.0
_DEMO_CLIP = re.compile(r"demo-\d+x\d+-\d+-seed\d+[a-z0-9-]*\.mp4")  # as `skate demo` names the clip that it renders


def is_demo_clip(video: str) -> bool:
    """Whether a file is named as `skate demo` names the clips that it renders."""
    return _DEMO_CLIP.fullmatch(Path(video).name) is not None


def mini_hint(config: RunConfig) -> str | None:
    """That the packaged models see nothing on a clip of the user's, and what to do; None where that is not so."""
    kinds = {"sam": config.sam, "pose": config.pose, "detector": config.detector}
    if config.chain == "given" or not config.persons:
        kinds = {"sam": config.sam}
    used = [f"--{kind}" for kind, name in kinds.items() if name in MINIS]
    if not used or is_demo_clip(config.video):
        return None
    what = "the gate" if config.chain == "given" else "masks and poses"
    names = {"sam": "small", "pose": "dwpose-l-384", "detector": "yolox-m"}
    fetch, clip = " ".join(names[option[2:]] for option in used), visible(Path(config.video).name)
    return (
        f"hint     the mini models know the demo's clip alone: on {clip} {what} will be "
        f"wrong unless it is that; `skate models fetch {fetch}`, then leave {_listed(used)} out"
    )


def no_person_hint(config: RunConfig) -> str | None:
    """That of masks and poses made elsewhere the object alone will be regenerated; None where that is not so."""
    given = config.given
    if given is None or config.changes != "both":
        return None
    from stages.given import has_person

    _, persons, pose = given
    if has_person(pose, persons, config.max_pixels):
        return None
    return f"hint     nobody is to be seen in {(persons or pose).name}: the object alone is regenerated"


def given_count_hints(config: RunConfig, claimed_frames: int | None) -> list[str]:
    """Folders of masks or poses that do not hold as many files as the header claims frames. It may be wrong."""
    given = config.given
    if given is None or claimed_frames is None:
        return []
    from stages.given import file_counts

    return [
        f"hint     {option} has {count} files, the header claims {claimed_frames} frames: if it is right, this run "
        "will fail at the clip's end: give one a frame"
        for option, count in file_counts(*given).items()
        if count != claimed_frames
    ]


def past_end_hints(config: RunConfig, claimed_frames: int | None) -> list[str]:
    """Prompts on frames that the header says are not there. It may be wrong, so the run goes on and will tell."""
    if claimed_frames is None:
        return []
    asked = [("--cuts", cut) for cut in (config.cuts or ())[-1:]]
    for subject in config.subjects:
        words = words_of(subject, config.scene is not None)
        asked += [] if subject.prompt is None else [(words.frame, subject.prompt.frame)]
        asked += [(words.correct, item.frame) for item in subject.corrections]
    return [
        f"hint     {option} {frame} is past the end of the {claimed_frames} frames that the header claims: "
        "if it is right, this run will fail at the clip's end"
        for option, frame in dict.fromkeys(asked)
        if frame >= claimed_frames
    ]


def distilled_hints(config: RunConfig) -> list[str]:
    """So few steps, or no guidance, as only a model with a distilling LoRA takes, where the workflow loads none."""
    if not GENERATORS[config.generator].on_servers or not config.generates:
        return []
    asked = [f"--steps {config.steps}"] if config.steps is not None and config.steps < FEW_STEPS else []
    asked += [f"--cfg {config.cfg:g}"] if config.cfg is not None and config.cfg <= NO_GUIDANCE else []
    if not asked:
        return []
    from stages.recipes.registry import choose
    from stages.server.workflow import loads_lora

    if loads_lora(choose(wanted(vars(config))).workflow):
        return []
    return [
        f"hint     {_listed(asked)}: only a distilled model makes more than a blur of that, and the workflow loads no "
        "LoRA: leave it out, or add one with --lora or --profile fast"
    ]


def workflow_hints(config: RunConfig) -> list[str]:
    """What becomes of a workflow that is not taken as it is, and what its model does not know."""
    if not GENERATORS[config.generator].on_servers or not config.generates:
        return []
    from stages.recipes.registry import choose

    chosen = choose(wanted(vars(config)))
    found = [f"hint     {chosen.recipe.name}: {note}" for note in chosen.workflow.notes]
    if not chosen.family.objects and config.reskin == "both":
        found.append(
            f"hint     {chosen.recipe.name} is shown nothing of the object, which it will paint as it likes: "
            "--reskin person keeps the source's"
        )
    return found


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
