"""ONNX Runtime sessions under our own control: provider, threads, memory arena, and errors of one line.

rtmlib opens sessions with default options, prints to stdout, downloads what it does not find, and falls back to the CPU
without a word. None of that happens here.
"""

import contextlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base import Array
from stages.device import PROCESS_WIDE
from storage.errors import EnvironmentFault

GPU_ARENA_BYTES = 2 << 30
"""Upper bound of ONNX Runtime's CUDA arena, a session: DWPose-l at batch 12 needs well under 1 GiB."""


@dataclass(frozen=True)
class SessionOptions:
    """How a session runs.

    Attributes:
        device: "cpu" or "cuda" (one GPU: the first).
        threads: threads inside one operator; 0 = as many as the machine has cores.
        gpu_bytes: limit of the CUDA memory arena.
    """

    device: str = "cpu"
    threads: int = 0
    gpu_bytes: int = GPU_ARENA_BYTES


class Session:
    """An `onnxruntime.InferenceSession` with the methods rtmlib calls, whose failures are errors of one line.

    Args:
        make: opens the session; called again when it is needed after `leave_gpu`.
        path: the model's file, for messages.
        on_gpu: whether it takes memory there.
    """

    def __init__(self, make: Callable[[], Any], path: str, on_gpu: bool) -> None:
        self._make = make
        self._inner: Any = make()  # onnxruntime ships no types
        self._path = path
        self._on_gpu = on_gpu

    def leave_gpu(self) -> None:
        """Close the session where it is on the GPU: its weights and its arena have no other way to leave."""
        if self._on_gpu:
            self._inner = None

    def _session(self) -> Any:
        if self._inner is None:
            self._inner = self._make()
        return self._inner

    def get_inputs(self) -> list[Any]:
        """The model's inputs: `name` and `shape` (names stand for free axes)."""
        return list(self._session().get_inputs())

    def get_outputs(self) -> list[Any]:
        """The model's outputs, likewise."""
        return list(self._session().get_outputs())

    def run(self, outputs: list[str] | None, feeds: dict[str, Array]) -> list[Array]:
        """The outputs of these names.

        Raises:
            EnvironmentFault: when ONNX Runtime fails, above all for want of memory.
        """
        session = self._session()
        try:
            return list(session.run(outputs, feeds))
        except _failures() as error:
            raise EnvironmentFault(
                f"ONNX Runtime failed {'on CUDA ' if self._on_gpu else ''}in {self._path}: {_first_line(error)}; "
                "free memory, or use --device cpu"
            ) from error


def open_session(path: str, options: SessionOptions) -> Session:
    """Open an ONNX model on the requested device, or say why not.

    Args:
        path: a local `.onnx` file; nothing is ever downloaded.
        options: device, threads, memory.

    Returns:
        a session whose first provider is the requested one.

    Raises:
        EnvironmentFault: the file is missing or no ONNX model, or the CUDA provider does not come up.
    """
    if not Path(path).is_file():
        raise EnvironmentFault(f"no model file at {path}: fetch it with `skate models fetch`, or give another path")
    import onnxruntime as ort

    if options.device == "cuda":
        _require_cuda(ort)

    def make() -> Any:
        chosen = _session_options(ort, options.threads)
        try:
            # Its Python layer goes on on the CPU where CUDA fails, now or later, and prints that to stdout.
            inner = ort.InferenceSession(path, chosen, providers=_providers(options), enable_fallback=0)
        except RuntimeError as error:  # of CUDA, cuDNN and cuBLAS; those of a model are no RuntimeError
            if options.device != "cuda":
                raise
            raise EnvironmentFault(
                f"--device cuda: ONNX Runtime cannot use the GPU for {path}: {_first_line(error)}: "
                "`skate check` names the driver it needs; or use --device cpu"
            ) from error
        except _failures() as error:
            raise EnvironmentFault(
                f"{path} is not a model that ONNX Runtime can open: {_first_line(error)}; "
                "check it with `skate models verify`, fetch it again, or give another path"
            ) from error
        if options.device == "cuda" and inner.get_providers()[0] != "CUDAExecutionProvider":
            raise EnvironmentFault(
                f"--device cuda: ONNX Runtime fell back to {inner.get_providers()[0]} for {path}: "
                "`skate check` names the driver it needs; or use --device cpu"
            )
        return inner

    return Session(make, path, on_gpu=options.device == "cuda")


def _require_cuda(ort: Any) -> None:
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise EnvironmentFault(
            f"--device cuda: this ONNX Runtime has no CUDA provider (it has {', '.join(available)}): "
            "install the extra gpu or gpu-cuda12 instead of cpu, or use --device cpu"
        )
    with PROCESS_WIDE, contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
        ort.preload_dlls()  # finds the CUDA and cuDNN libraries that came with torch


def _session_options(ort: Any, threads: int) -> Any:
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    chosen.use_deterministic_compute = True
    chosen.log_severity_level = 3  # errors only: its warnings speak of graph nodes, not of anything to be done
    # Spinning threads steal the cores from torch and from the decoder that runs ahead.
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return chosen


def _providers(options: SessionOptions) -> list[Any]:
    if options.device != "cuda":
        return ["CPUExecutionProvider"]
    cuda = {
        "device_id": 0,
        "gpu_mem_limit": options.gpu_bytes,
        "arena_extend_strategy": "kSameAsRequested",  # doubling would take up to twice what is needed
        "cudnn_conv_algo_search": "HEURISTIC",  # the exhaustive search times kernels, so its choice varies
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    """What failed: of a CUDA library from its name on, for the C++ function before it is long."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    library = re.search(r"\b(CUDA|CUDNN|CUDNN_FE|CUBLAS|CUFFT|CURAND) failure\b", line)
    return line[library.start() if library else 0 :][:200]


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a model that it cannot open or run, and nothing else."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail",
        "InvalidGraph",
        "InvalidProtobuf",
        "InvalidArgument",
        "NotImplemented",
        "NoModel",
        "RuntimeException",
        "EPFail",
    )
    # It says why in UTF-8, and where it quotes the file's bytes that is not always so.
    return (*(getattr(state, name) for name in names), UnicodeDecodeError)
