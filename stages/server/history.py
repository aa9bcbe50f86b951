"""What a history entry says: the only judge of whether a job succeeded. Pure functions."""

from dataclasses import dataclass
from typing import Literal

from msgspec import Raw

from stages.server.answers import Entry, Failure, Image, Output, Status
from storage.boundary import parse, printable
from storage.errors import GeneratorError


@dataclass(frozen=True)
class Verdict:
    """How a job ended.

    Attributes:
        kind: success, interrupted, memory (out of memory) or failed.
        message: the server's own words, on one line.
    """

    kind: Literal["success", "interrupted", "memory", "failed"]
    message: str = ""


def judge(entry: Entry) -> Verdict:
    """Read the verdict from `status` and the last message (an interrupt reads status_str "error" too).

    Raises:
        GeneratorError: the message of a failure is not one.
    """
    status = entry.status or Status()
    names = [name for name, _ in status.messages]
    if status.completed and "execution_success" in names:
        return Verdict("success")
    if "execution_interrupted" in names:
        return Verdict("interrupted", "the job was interrupted on the server")
    for name, data in reversed(status.messages):
        if name == "execution_error":
            return _failure(data)
    said = printable(status.status_str, 80)
    return Verdict("failed", f"status {said!r} without an execution_success message")


def _failure(data: Raw) -> Verdict:
    found = parse(bytes(data), Failure, "ComfyUI's message execution_error", GeneratorError, "see the server's log")
    said = printable(found.exception_message)
    kind = printable(found.exception_type, 80)
    text = f"node {printable(str(found.node_id), 40)} ({printable(found.node_type, 80)}): {kind}: {said}"
    memory = is_out_of_memory(found.exception_type, found.exception_message)
    return Verdict("memory" if memory else "failed", text)


def is_out_of_memory(exception_type: str, message: str) -> bool:
    """Torch's CUDA and MPS error class, or the wording of its CPU allocator and of ComfyUI."""
    low = message.lower()
    wording = ("out of memory", "can't allocate memory", "not enough memory", "allocation on device")
    return "OutOfMemory" in exception_type or any(part in low for part in wording)


def images(entry: Entry, node_id: str) -> list[Image]:
    """Image files of one output node, in order.

    Raises:
        GeneratorError: its output is something else.
    """
    return _output(entry, node_id, "does it save pictures?").images


def latent_files(entry: Entry, node_id: str) -> list[Image]:
    """Latent files of one SaveLatent; raises as `images`."""
    return _output(entry, node_id, "does it save latents?").latents


def _output(entry: Entry, node_id: str, remedy: str) -> Output:
    output = entry.outputs.get(node_id)
    if output is None:
        return Output()
    what = f"ComfyUI's output of node {printable(node_id, 40)}"
    return parse(bytes(output), Output, what, GeneratorError, remedy)
