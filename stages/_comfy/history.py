"""What a history entry says: the only judge of whether a job succeeded. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = Any


@dataclass(frozen=True)
class ImageRef:
    """An output file as the server names it: query values of /view, never a local path."""

    filename: str
    subfolder: str
    kind: str


@dataclass(frozen=True)
class Verdict:
    """How a job ended.

    Attributes:
        kind: success, interrupted, memory (out of memory) or failed.
        message: the server's own words, on one line.
    """

    kind: Literal["success", "interrupted", "memory", "failed"]
    message: str = ""


def judge(entry: Mapping[str, Json]) -> Verdict:
    """Read the verdict from `status` and the last message (an interrupt reads status_str "error" too)."""
    status = entry.get("status") or {}
    messages = [(name, data) for name, data in status.get("messages", [])]
    names = [name for name, _ in messages]
    if status.get("completed") and "execution_success" in names:
        return Verdict("success")
    if "execution_interrupted" in names:
        return Verdict("interrupted", "the job was interrupted on the server")
    for name, data in reversed(messages):
        if name == "execution_error":
            return _failure(data)
    return Verdict("failed", f"status {status.get('status_str', 'unknown')!r} without an execution_success message")


def _failure(data: Mapping[str, Json]) -> Verdict:
    kind, said = str(data.get("exception_type", "")), " ".join(str(data.get("exception_message", "")).split())
    text = f"node {data.get('node_id', '?')} ({data.get('node_type', '?')}): {kind}: {said}"
    return Verdict("memory" if is_out_of_memory(kind, said) else "failed", text)


def is_out_of_memory(exception_type: str, message: str) -> bool:
    """Torch's CUDA and MPS error class, or the wording of its CPU allocator and of ComfyUI."""
    low = message.lower()
    wording = ("out of memory", "can't allocate memory", "not enough memory", "allocation on device")
    return "OutOfMemory" in exception_type or any(part in low for part in wording)


def images(entry: Mapping[str, Json], node_id: str | None) -> list[ImageRef]:
    """Image files of one output node, in order; of all output nodes when `node_id` is None."""
    outputs = entry.get("outputs") or {}
    chosen = [outputs.get(node_id, {})] if node_id is not None else list(outputs.values())
    found = []
    for output in chosen:
        for item in output.get("images", []):
            found.append(
                ImageRef(str(item["filename"]), str(item.get("subfolder", "")), str(item.get("type", "output")))
            )
    return found
