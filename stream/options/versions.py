"""Versions of this program and of what it computes with."""

import importlib.metadata

PACKAGES = (
    "torch",
    "sam2",
    "rtmlib",
    "onnxruntime",
    "onnxruntime-gpu",
    "av",
    "numpy",
    "scenedetect-headless",
    "opencv-python-headless",
    "zarr",
)


def versions() -> dict[str, str]:
    """Versions of this program and of the packages that compute, those that are installed."""
    found = {"skate-physics-preserver": _version("skate-physics-preserver") or "unknown"}
    found |= {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
