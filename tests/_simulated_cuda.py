"""A CUDA device that is none: its tensors say that they lie on `cuda:0`, and their values lie on the CPU.

What mixes devices, or takes such a tensor to numpy, fails as on a real GPU; autocast and all branches are CUDA's.
Import it before `sam2`, in a process of its own: what it puts into torch stays there.
"""

import contextlib
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

torch._C._ensureCUDADeviceGuardSet()  # one that asks no driver
torch.__future__.set_overwrite_module_params_on_conversion(True)
torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]  # what is no real tensor cannot be made under it

CUDA = torch.device("cuda:0")
CONVERSIONS = ("aten._to_copy", "aten.to", "aten.copy_")
INDEXING = ("aten.index", "aten.index_put_")  # takes indices of the CPU
_LIVE: "weakref.WeakSet[CudaTensor]" = weakref.WeakSet()


class CudaTensor(torch.Tensor):
    """A tensor of the device; `on_cpu` has its values."""

    on_cpu: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    __hash__ = object.__hash__

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor) -> "CudaTensor":
        made: CudaTensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=CUDA,
        )  # fmt: skip
        made.on_cpu = inner.detach()
        _LIVE.add(made)
        return made

    def data_ptr(self) -> int:
        return self.on_cpu.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def record_stream(self, stream: Any) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> "CudaTensor":
        memo[id(self)] = made = CudaTensor(self.on_cpu.clone())
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, kinds: Any, given: Any = (), named: Any = None) -> Any:
        return _run(function, given, named or {})


def _run(function: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """An operation on the CPU's values, whose result lies where it would."""
    name = str(function).rpartition(".")[0]
    leaves = tree_leaves((given, named))
    tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
    ours = [each for each in tensors if isinstance(each, CudaTensor)]
    asked = next((each for each in leaves if isinstance(each, torch.device)), None)
    if name == "aten.to" and len(tensors) > 1:
        asked = tensors[1].device
    strangers = [each for each in tensors if not isinstance(each, CudaTensor) and each.dim()]
    if ours and strangers and name not in CONVERSIONS + INDEXING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {function}")
    to_cuda = bool(ours) if asked is None or name == "aten.copy_" else asked.type == "cuda"
    found = function(*tree_map(_on_cpu, given), **tree_map(_on_cpu, named))
    if isinstance(found, torch.Tensor) and name in CONVERSIONS and any(found is _on_cpu(each) for each in tensors):
        if to_cuda == isinstance(given[0], CudaTensor):
            return given[0]  # nothing was converted
        found = found.clone()
    if function._schema.name.endswith("_") and isinstance(given[0], CudaTensor):
        return given[0]
    return (
        tree_map(lambda each: CudaTensor(each) if isinstance(each, torch.Tensor) else each, found) if to_cuda else found
    )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, CudaTensor):
        return value.on_cpu
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What is made on the device without a tensor of it."""

    def __torch_dispatch__(self, function: Any, kinds: Any, given: Any = (), named: Any = None) -> Any:
        devices = [getattr(each, "device", each) for each in tree_leaves((given, named))]
        ours = any(isinstance(each, torch.device) and each.type == "cuda" for each in devices)
        return _run(function, given, named or {}) if ours else function(*given, **(named or {}))


class _Named(TorchFunctionMode):
    """`cuda` without a number is `cuda:0`: a driver would be asked which."""

    def __torch_function__(self, function: Any, kinds: Any, given: Any = (), named: Any = None) -> Any:
        def numbered(value: Any) -> Any:
            plain = isinstance(value, (str, torch.device)) and str(value) == "cuda"
            return CUDA if plain else value

        return function(*map(numbered, given), **{name: numbered(value) for name, value in (named or {}).items()})


class _Stream:
    """Everything is done in order here."""

    def record_event(self) -> None: ...

    def wait_event(self, event: None) -> None: ...


def live_bytes() -> int:
    """What lies on the device."""
    stores = [each.on_cpu.untyped_storage() for each in _LIVE]
    return sum({store.data_ptr(): store.nbytes() for store in stores}.values())


@contextlib.contextmanager
def simulated(capability: tuple[int, int]) -> Iterator[None]:
    """A machine with a GPU of this compute capability, in all threads begun meanwhile."""
    properties = types.SimpleNamespace(major=capability[0], minor=capability[1])
    run = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with _Named(), _Made():  # type: ignore[no-untyped-call]
            run(thread)

    answers = {
        "is_available": True, "is_initialized": True, "_lazy_init": None, "get_device_capability": capability,
        "get_device_properties": properties, "is_bf16_supported": capability[0] >= 8, "empty_cache": None,
        "synchronize": None, "current_stream": _Stream(), "Stream": _Stream(), "stream": contextlib.nullcontext(),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *given, answer=answer, **named: answer))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", torch.Tensor.clone))
        stack.enter_context(mock.patch.object(threading.Thread, "run", run_there))
        stack.enter_context(_Named())
        stack.enter_context(_Made())  # type: ignore[no-untyped-call]
        yield
