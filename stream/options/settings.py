"""From command-line options to a resolved `RunConfig`."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from stages.device import use_device
from stages.driver import find_driver, old_gpu
from stages.generators import GENERATORS, default_generator
from stages.prompts import Correction, ObjectPrompt
from stages.region import REMOVE
from stages.sam.prompts import PromptSchedule
from stages.subjects import OBJECT, OBJECTS, PERSON, Sought, plain_subjects
from storage.boundary import MB, printable, read_input
from storage.errors import EnvironmentFault, InputError, UsageError
from storage.nearby import inputs_of
from stream.options.config import RunConfig
from stream.options.passes import passes_of, text_of
from stream.options.recipes import ALONE, check_family, settle, wanted
from stream.options.scene import Cast, named_file, read_scene
from stream.options.values import whole_number

logger = logging.getLogger("skate.device")


def resolve_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; a card that is there but cannot be used is told in a warning.

    Raises:
        EnvironmentFault: when CUDA is asked for and torch finds none, or one that is too old for it.
    """
    if wanted == "cpu":
        use_device("cpu")
        return "cpu"
    import torch

    if torch.cuda.is_available():
        old = old_gpu()
        if old is None:
            return "cuda"
        if wanted == "cuda":
            raise EnvironmentFault("--device cuda: " + ": ".join(old))
        logger.warning("working on the CPU: %s: %s", *old)
        use_device("cpu")
        return "cpu"
    if wanted == "cuda":
        raise EnvironmentFault(
            f"--device cuda: torch {torch.__version__} finds no CUDA device: `skate check` names the driver and the "
            "packages that belong together; or leave --device out"
        )
    driver = find_driver()
    if driver.found is not None and not driver.fits:
        logger.warning("working on the CPU: the NVIDIA driver is %s: %s", driver.detail, driver.remedy)
    return "cpu"


def prompt_from_options(options: dict[str, Any]) -> ObjectPrompt:
    """Take --box, --point, --object-mask and --prompt-frame out of the options."""
    points = tuple((x, y, int(rest[0]) if rest else 1) for x, y, *rest in options.pop("point"))
    if any(label not in (0, 1) for _, _, label in points):
        raise UsageError("--point x,y,label: the label is 1 (on the object) or 0 (not on it)")
    mask, digest = named_file("--object-mask", options.pop("object_mask"))
    return ObjectPrompt(
        frame=options.pop("prompt_frame"), box=options.pop("box"), points=points, mask_png=mask, mask_digest=digest
    )


POINTING = ("box", "point", "object_mask", "prompt_frame", "person_box")


def cast_from_options(options: dict[str, Any]) -> Cast:
    """Take all that says who is followed out of the options: what a scene file says, or would.

    Raises:
        UsageError: when nobody is, or a scene and the plain options are given.
        InputError: when the scene is none.
    """
    if options.pop("find", ()):
        raise UsageError("--find asks a server while a run begins, which keeps its scene: leave --write-scene out")
    scene, cuts = options.pop("scene", None), cuts_from_options(options)
    if scene is not None:
        given = [name for name in POINTING if options.pop(name)]
        if given:
            raise UsageError(f"--scene says what is followed: leave --{given[0].replace('_', '-')} out")
        cast = read_scene(Path(scene))
        more = corrections_from_options(options, *(subject.name for subject in cast.subjects))
        subjects = tuple(dataclasses.replace(s, corrections=s.corrections + more[s.name]) for s in cast.subjects)
        for subject in subjects:
            PromptSchedule.of(subject, scene=True)
        cast = dataclasses.replace(cast, subjects=subjects)
        return cast if cuts is None else dataclasses.replace(cast, cuts=cuts)
    corrections = corrections_from_options(options, *OBJECTS)
    prompt, person_box = prompt_from_options(options), options.pop("person_box")
    subjects = plain_subjects(prompt, corrections[OBJECT], person_box, corrections[PERSON])
    return Cast(subjects, cuts=cuts)


def corrections_from_options(options: dict[str, Any], *names: str) -> dict[str, tuple[Correction, ...]]:
    """Take --correct out of the options: by the name of the subject, of which there are these; the first one's need no
    name.

    Raises:
        UsageError: for the name of nobody.
    """
    found: dict[str, tuple[Correction, ...]] = dict.fromkeys(names, ())
    for item in options.pop("correct"):
        name = item.name or (OBJECT if OBJECT in names else "")
        if name not in found:
            whose = f"is the name of none of {', '.join(names)}" if name else "whose? write NAME@ before it"
            raise UsageError(f"--correct {item}: {whose}")
        mask, digest = named_file(f"--correct {item.name and f'{item.name}@'}{item.frame}: mask", item.mask)
        found[name] += (Correction(item.frame, item.box, item.points, mask, digest),)
    return found


def cuts_from_options(options: dict[str, Any]) -> tuple[int, ...] | None:
    """Take --cuts out of the options."""
    path = options.pop("cuts")
    return None if path is None else read_cuts(Path(path))


def read_cuts(path: Path) -> tuple[int, ...]:
    """The first frames of a clip's shots behind the first one, from a file: a number a line, ascending.

    Raises:
        InputError: with the line that is none.
    """
    lines = read_input(path, f"--cuts {path}", most_bytes=MB).decode("utf-8", "replace").splitlines()
    cuts: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        frame = whole_number(text)
        at = f"--cuts {path}, line {number}: {printable(text, 40)!r}"
        if not text:
            continue
        if not frame:
            raise InputError(f"{at} is no frame number: write the first frame of each shot but the first, one a line")
        if cuts and frame <= cuts[-1]:
            raise InputError(f"{at} {'stands there twice' if frame in cuts else 'is below the line before it'}: "
                             "give each cut once, in ascending order")  # fmt: skip
        cuts.append(frame)
    return tuple(cuts)


def resolve_generator(given: dict[str, Any]) -> None:
    """Settle which generator it is: comfyui where a server is given, else preview, or plate to remove; in place.

    Raises:
        UsageError: when the options of generator and server contradict each other, or do not say what to make.
        InputError: when the workflow is none: told before anything is written, so that no run is left with it.
    """
    server, retries = given.get("server"), given.get("retries", 0)
    given["generator"] = given.get("generator") or default_generator(bool(server), given.get("reskin") == REMOVE)
    name = given["generator"]
    kind = GENERATORS[name]
    if kind.on_servers and not server:
        raise UsageError(f"--generator {name} needs --server HOST:PORT, e.g. --server 127.0.0.1:8188")
    if not kind.on_servers and server:
        raise UsageError(f"--generator {name} talks to no server: leave --server out")
    if not kind.reseeds and retries:
        raise UsageError(
            f"--retries: the {name} generator makes the same picture every time; it needs {default_generator(True)}"
        )
    if kind.on_servers:
        _check_comfy(given)
        return
    for alone in ALONE:
        if given.get(alone.replace("-", "_")):
            raise UsageError(f"--{alone} is for ComfyUI: give --server HOST:PORT too, or leave it out")
    settle(given)


def _check_comfy(given: dict[str, Any]) -> None:
    """Refuse a server that is no address, a workflow that is none, what the recipe cannot do; take over its defaults.

    Raises:
        UsageError, InputError: as `resolve_generator`.
    """
    from stages.recipes.registry import choose
    from stages.server.address import parse_server

    for server in given["server"]:
        parse_server(server)
    if given.get("comfy_output") is not None:
        given["comfy_output"] = str(Path(given["comfy_output"]).resolve())  # resume may be called from elsewhere
    chosen = choose(wanted(given))
    settle(given, chosen.family)
    check_family(chosen.recipe.name, chosen.family, given)


def check_words(config: RunConfig) -> None:
    """Refuse hours of work on a server without a word of what to make, of all of it or of one subject.

    Raises:
        UsageError: for that, and for a `{NAME}` of which nothing is said in a prompt, even one that nothing is made by.
    """
    from stages.recipes.registry import choose, own_text

    if not config.generates:
        return
    text_of(config, config.text)
    for one in passes_of(config):
        asked = one.config
        if not GENERATORS[asked.generator].on_servers or asked.text.strip() or asked.reference is not None:
            continue
        if own_text(choose(wanted(vars(asked))).workflow):
            continue
        if one.name:
            raise UsageError(
                f"subject '{one.name}' is generated without a word of what it becomes: give it a prompt or a reference "
                f"in the scene, --swap {one.name}=TEXT, or --prompt TEXT for all"
            )
        raise UsageError(
            "--server without a word of what to make: give --prompt TEXT (person and object, as they shall look), "
            "--reference IMAGE, or a --workflow with a text of its own"
        )


def given_config(
    video: str, masks: Path, person_masks: Path | None, pose_file: Path, options: dict[str, Any], out: Path
) -> RunConfig:
    """The config of a run whose masks and poses were made elsewhere; the prompt for scoring is the first mask's box.

    Raises:
        UsageError: when nothing is left to regenerate.
        InputError: when masks or poses are unusable.
    """
    from stages.given import first_prompt, has_person

    if person_masks is not None and not person_masks.exists():
        raise InputError(f"--person-masks {person_masks}: no such folder or video")
    if options["reskin"] == "person" and not has_person(pose_file, person_masks, options["max_pixels"]):
        where = f"--pose {pose_file}" if person_masks is None else f"--person-masks {person_masks}"
        raise UsageError(
            f"--reskin person: nobody is to be seen in {where}, so nothing is left to regenerate: give the person's "
            "masks with --person-masks, another --pose, or leave --reskin out"
        )
    given = {
        **options,
        "cuts": cuts_from_options(options),
        "prompt": first_prompt(masks, options["max_pixels"]),
        "masks": str(masks.resolve()),
        "person_masks": None if person_masks is None else str(person_masks.resolve()),
        "pose_file": str(pose_file.resolve()),
        "device": resolve_device(options["device"]),
        "detect_every": 1,
    }
    resolve_generator(given)
    return _with_video(video, out, given, "given")


def config_from_options(video: str, chain: str, options: dict[str, Any], out: Path) -> RunConfig:
    """The run's config; every default that depends on the machine is resolved, so that it is part of the digest."""
    given = dict(options)
    _find(video, chain, given, out)
    if given.get("scene") is not None:
        cast = cast_from_options(given)
        given |= {"scene": cast.subjects, "reskins": cast.reskins, "gated": cast.gated, "cuts": cast.cuts}
    else:
        given["prompt"] = prompt_from_options(given)
        corrections = corrections_from_options(given, *OBJECTS)
        given |= {"correct": corrections[OBJECT], "correct_person": corrections[PERSON]}
        given["cuts"] = cuts_from_options(given)
    given["device"] = resolve_device(given["device"])
    if given["detect_every"] is None:
        given["detect_every"] = 1 if given["device"] == "cuda" else 3
    if chain == "run":
        resolve_generator(given)
    settle(given)
    return _with_video(video, out, given, chain)


def _with_video(video: str, out: Path, given: dict[str, Any], chain: str) -> RunConfig:
    """The config of these options; its video is fetched once nothing speaks against it."""
    fetch = fetch_limits(given)
    unknown = given.keys() - {item.name for item in dataclasses.fields(RunConfig)}
    if unknown:
        raise TypeError(f"options without a place in RunConfig: {sorted(unknown)}")
    config = RunConfig(chain=chain, **given)
    check_words(config)
    return dataclasses.replace(config, video=local_video(video, out, fetch))


def _find(video: str, chain: str, given: dict[str, Any], out: Path) -> None:
    """Take --find out of the options: what a server finds, for them and for a scene's `find`, becomes their scene; in
    place."""
    asked, scene, frame = given.pop("find", ()), given.get("scene"), given["prompt_frame"]
    keeps = chain == "run" or given.get("amodal") is not None  # --find asks a server before there is a run
    servers = given["server"] if keeps else given.pop("server", ())
    base = Cast(()) if scene is None else read_scene(Path(scene))
    sought = {subject.name: subject.find for subject in base.subjects if subject.find is not None}
    if not (asked or sought):
        return
    pointed = next((name for name in POINTING if given[name] and not (asked and name == "prompt_frame")), None)
    if pointed is not None:
        raise UsageError(f"--find says what is followed: leave --{pointed.replace('_', '-')} out")
    from stages.decode import DecodeConfig
    from stream.options.find import Wanted, found_scene

    cuts = base.cuts if given["cuts"] is None else read_cuts(Path(given["cuts"]))
    local = Path(local_video(video, out, (given["max_fetch"], given["fetch_timeout"])))
    limits = {name: given[name] for name in ("fps", "hdr", "max_bad_frames", "max_pixels")}
    decode = DecodeConfig(local, cuts=cuts, split=True, **limits)
    wanted = Wanted(
        sought | {name: Sought(text, frame) for name, text in asked}, given["on_cut"] in ("reset", "split"), decode
    )
    corrected = [(item.name or OBJECT, item.frame) for item in given["correct"]]
    given["scene"] = str(found_scene(wanted, base, servers, out, corrected))
    given["prompt_frame"] = 0  # it stands in the scene


def fetch_limits(options: dict[str, Any]) -> tuple[int, float]:
    """Take --max-fetch and --fetch-timeout out of the options: bytes and seconds."""
    return options.pop("max_fetch"), options.pop("fetch_timeout")


def local_video(video: str, out: Path, fetch: tuple[int, float]) -> str:
    """The video as a local file: addresses are fetched to `inputs_of(out)`, within `fetch` bytes and seconds.

    Raises:
        InputError: when there is no such file.
    """
    if "://" in video:
        from stages.decode import FetchLimits, fetch_video

        return str(fetch_video(video, inputs_of(out), FetchLimits(*fetch)).resolve())
    if not Path(video).is_file():
        folder = "is a folder, no video file: give the clip (a run directory goes on with `skate resume`)"
        raise InputError(f"{video}: {folder if Path(video).is_dir() else 'no such video file'}")
    return str(Path(video).resolve())
