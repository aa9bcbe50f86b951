"""What `skate check` looks at: one function a thing, each really tries it and returns rows."""

import importlib
import importlib.metadata
import io
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stages.device import use_device
from stages.driver import find_driver, old_gpu
from stages.models.registry import (
    DEFAULTS,
    KINDS,
    MODELS_VARIABLE,
    Kind,
    find,
    models_folder,
    packaged,
    path_of,
    resolve,
)
from stages.models.verify import verify
from storage.errors import EnvironmentFault, UsageError
from storage.sizes import format_size
from stream.check.comfy import check_server, check_workflow_file
from stream.check.rows import Row, line_of

PYTHONS = ((3, 11), (3, 13))  # oldest and newest, as pyproject.toml has them
LOW_DISK_BYTES = 5 * 10**9  # the default weights are 0.4 GB; a minute of 720p keeps about 2 GB at hand while it runs
CLASHES = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python-headless", "opencv-python", "opencv-contrib-python"))
COMPILERS = {"C compiler": ("cc", "gcc", "clang"), "C++ compiler": ("c++", "g++", "clang++")}
DECODERS = ("h264", "hevc", "vp9", "av1", "ffv1")


def all_rows(
    device: str = "auto",
    models: Mapping[Kind, str | None] | None = None,
    sam_config: str | None = None,
    servers: Sequence[str] = (),
    workflow: str | None = None,
) -> Iterator[Row]:
    """Every row, one after the other as it is found.

    Args:
        models, servers, workflow: None or none: not asked about, so that its absence is told without failing.

    Raises:
        UsageError: when a server's address is none, before anything is looked at.
    """
    from stages.server.address import parse_server

    for server in servers:
        parse_server(server)
    use_device(device)
    yield check_python()
    yield from check_clashes()
    yield check_driver(device)
    yield from check_torch(device)
    yield from check_onnxruntime(device)
    yield check_av()
    yield check_sam2()
    yield check_compiler()
    yield check_ytdlp()
    yield check_memory()
    yield from check_disk([Path.cwd(), models_folder()])
    for kind in KINDS:
        yield check_weights(kind, (models or {}).get(kind), sam_config if kind == "sam" else None)
    if workflow is not None and not servers:
        yield check_workflow_file(workflow)
    for server in servers:
        yield from check_server(server, workflow)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Row:
    """The interpreter."""
    oldest, newest = (".".join(map(str, each)) for each in PYTHONS)
    fits = PYTHONS[0] <= version[:2] <= PYTHONS[1]
    remedy = f"make the environment with Python {oldest} to {newest}"
    return Row("Python", fits, ".".join(map(str, version)), remedy)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_clashes() -> Iterator[Row]:
    """Distributions that overwrite each other's files when both are installed."""
    for group in CLASHES:
        found = [f"{name} {version}" for name in group if (version := _installed(name))]
        if len(found) > 1:
            others = " ".join(group)
            yield Row(
                group[0],
                False,
                f"{' and '.join(found)} overwrite each other",
                f"uninstall {others}, then install this project again with one of its extras",
            )


def check_driver(device: str) -> Row:
    """The NVIDIA driver: found and needed."""
    driver = find_driver()
    return Row("NVIDIA driver", driver.fits, driver.detail, driver.remedy, device == "cuda")


def check_torch(device: str) -> Iterator[Row]:
    """torch, and CUDA by putting a number on the device."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Row("torch", False, line_of(error), "install this project's requirements again")
        return
    yield Row("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads")
    if device == "cpu":
        yield Row("CUDA", True, "left alone: --device cpu", needed=False)
        return
    remedy = "see NVIDIA driver above, or use --device cpu"
    needed = device == "cuda"
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Row("CUDA", False, f"no device ({built})", remedy, needed)
        return
    for index in range(torch.cuda.device_count()):
        old = old_gpu(index)
        if old is not None:
            yield Row(f"CUDA {index}", False, *old, needed)
            continue
        try:
            torch.ones(8, device=f"cuda:{index}").sum().item()
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError as error:
            yield Row(f"CUDA {index}", False, line_of(error), remedy, needed)
            continue
        capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
        memory = f"{format_size(free)} of {format_size(total)} free"
        name = torch.cuda.get_device_name(index)
        yield Row(f"CUDA {index}", True, f"{name}, capability {capability}, CUDA {torch.version.cuda}, {memory}")


def check_onnxruntime(device: str) -> Iterator[Row]:
    """ONNX Runtime, and each provider the pose stage may use by opening a small model on it."""
    try:
        import onnxruntime as ort
    except (ImportError, OSError) as error:
        remedy = "install this project with one of its extras: cpu, gpu, gpu-cuda12"
        yield Row("ONNX Runtime", False, line_of(error), remedy)
        return
    providers = ort.get_available_providers()
    yield Row("ONNX Runtime", True, f"{ort.__version__}, built with {', '.join(providers)}")
    yield _provider("CPUExecutionProvider", "cpu", True)
    if device == "cpu":
        return
    if "CUDAExecutionProvider" in providers:
        yield _provider("CUDAExecutionProvider", "cuda", device == "cuda")
    else:
        remedy = "for a GPU install the extra gpu or gpu-cuda12 instead of cpu"
        yield Row("CUDAExecutionProvider", False, "not in this build of ONNX Runtime", remedy, device == "cuda")


def _provider(name: str, device: str, needed: bool) -> Row:
    """Open the smallest model there is on a provider."""
    from stages.poses.onnx import SessionOptions, open_session

    try:
        open_session(str(packaged("mini/detector.onnx")), SessionOptions(device=device, threads=1))
    except EnvironmentFault as error:
        return Row(name, False, line_of(error), "install an NVIDIA driver for its CUDA version, or use cpu", needed)
    return Row(name, True, "a session was opened on it", needed=needed)


def check_av() -> Row:
    """PyAV: encodes and decodes two frames with libx264, and has the decoders that clips commonly need."""
    remedy = "install av from a wheel (its own FFmpeg has libx264)"
    try:
        import av
        import numpy as np
    except (ImportError, OSError) as error:
        return Row("PyAV", False, line_of(error), remedy)
    missing = [name for name in DECODERS if not _has_decoder(name)]
    try:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as out:
            stream = out.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for value in (0, 255):
                picture = np.full((64, 64, 3), value, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode())
        buffer.seek(0)
        with av.open(buffer, "r") as back:
            frames = len(list(back.decode(video=0)))
    except (av.FFmpegError, ValueError, OSError) as error:
        return Row("PyAV", False, f"{av.__version__}: libx264 failed: {line_of(error)}", remedy)
    lacks = f", no decoder for {', '.join(missing)}" if missing else f", decodes {', '.join(DECODERS)}"
    return Row("PyAV", frames == 2 and not missing, f"{av.__version__}, encodes libx264{lacks}", remedy)


def _has_decoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "r")
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False
    return True


def check_sam2() -> Row:
    """The video predictor's module can be imported."""
    try:
        importlib.import_module("sam2.sam2_video_predictor")
    except (ImportError, OSError, RuntimeError) as error:
        return Row("sam2", False, line_of(error), "install this project's requirements again")
    return Row("sam2", True, f"{_installed('sam2') or 'version unknown'}, rtmlib {_installed('rtmlib') or 'missing'}")


def check_compiler() -> Row:
    """For `--sam-compile`: Triton and torch build what they generate, C and C++, against Python's headers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    found = {what: next(filter(None, map(shutil.which, names)), None) for what, names in COMPILERS.items()}
    missing = [what for what, path in found.items() if path is None] + ([] if headers.is_file() else [str(headers)])
    detail = f"not there: {', '.join(missing)}" if missing else ", ".join(map(str, found.values()))
    remedy = "for --sam-compile: install g++ and Python's headers (Debian, Ubuntu: g++ python3-dev)"
    return Row("compiler", not missing, detail, remedy, needed=False)


def check_ytdlp() -> Row:
    """Needed for addresses as VIDEO only."""
    version = _installed("yt-dlp")
    return Row(
        "yt-dlp",
        version is not None,
        version or "not installed",
        "for addresses as VIDEO: install the url extra",
        False,
    )


def check_memory() -> Row:
    """The machine's memory."""
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{format_size(memory.available)} of {format_size(memory.total)} available, {os.cpu_count()} cores"
    return Row("RAM", memory.available > 2 * 10**9, detail, "close other programs, or take a smaller --window", False)


def check_disk(folders: Sequence[Path]) -> Iterator[Row]:
    """Free space where runs (here) and weights go."""
    for what, folder in zip(("disk here", "disk of models"), folders, strict=True):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        remedy = "free space" if what == "disk here" else f"free space, or set {MODELS_VARIABLE}"
        yield Row(what, free >= LOW_DISK_BYTES, f"{format_size(free)} free at {existing}", remedy, False)


def check_weights(kind: Kind, asked: str | None, sam_config: str | None = None) -> Row:
    """A model's weights, and their sha256 where one is known."""
    name = asked or DEFAULTS[kind]
    label = f"{kind} {name}" + ("" if asked else " (default)")
    needed = asked is not None
    model = find(kind, name)
    remedy = f"skate models fetch {name}, or --{kind} mini" if model else "name an existing file, or a known model"
    if model is not None and not path_of(model).is_file():
        remedy = "reinstall the package" if model.packaged else remedy
        return Row(label, False, f"{path_of(model)} is not there", remedy, needed)
    try:
        resolved = resolve(kind, name, sam_config)
    except (EnvironmentFault, UsageError) as error:
        return Row(label, False, line_of(error), remedy, needed)
    if model is None:
        return Row(label, True, f"{resolved.path}", needed=needed)
    found = verify(model)
    ok = found.status in ("ok", "unverified")  # a file put there by hand may have no known hash
    return Row(label, ok, f"{resolved.path}: {found.detail}", remedy, needed)


def verdict(rows: Sequence[Row]) -> None:
    """Fail when something that the options need is not ok.

    Raises:
        EnvironmentFault: naming what is missing.
    """
    missing = [row.name for row in rows if row.needed and not row.ok]
    if missing:
        raise EnvironmentFault(f"not ready: {', '.join(missing)}; the table says what to do about each")
