"""What a measurement was made on."""

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import psutil


def command_line(program: str) -> str:
    """How this bench was called, `program` and its arguments; files outside the project by their names alone."""
    root = Path(__file__).resolve().parents[1]

    def shown(argument: str) -> str:
        path = Path(argument)
        outside = os.sep in argument and root not in path.resolve().parents
        return path.name if outside else argument

    return " ".join([program, *map(shown, sys.argv[1:])])


def machine() -> dict[str, Any]:
    """What it was measured on."""
    processor = platform.processor() or platform.machine()
    names = Path("/proc/cpuinfo")
    if names.is_file():
        lines = [line.partition(":")[2].strip() for line in names.read_text().splitlines() if "model name" in line]
        processor = lines[0] if lines else processor
    return {
        "cpus": os.cpu_count(),
        "processor": processor,
        "ram_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "system": platform.system(),
        "date": time.strftime("%Y-%m-%d"),
    }
