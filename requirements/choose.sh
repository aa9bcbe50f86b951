#!/bin/sh
# What `make setup` takes from this machine.
#   choose.sh python      the first Python that fits, or PYTHON where it is set; one line on stderr where there is none
#   choose.sh fits PATH   exit 0 when this Python fits
#   choose.sh extra       cpu, gpu or gpu-cuda12: which of requirements/*.txt the NVIDIA driver can run
set -eu

# The interpreter's folder is no evidence (a shim of pyenv may start nothing), and Debian has python3 without venv.
reason() {
    "$1" - 2>/dev/null <<'PROBE' || echo "does not start"
import sys
version = ".".join(map(str, sys.version_info[:3]))
if not (3, 11) <= sys.version_info < (3, 14):
    print("is", version)
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("is", version, "without venv")
PROBE
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11 \
            "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[123].*/bin/python3 \
            "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-3.1[123].*/bin/python3
    fi
    first=""
    for candidate; do
        why=$(reason "$candidate")
        [ -n "$why" ] || { command -v "$candidate"; return; }
        first=${first:-"$candidate $why"}
    done
    echo "no Python 3.11, 3.12 or 3.13 with venv here ($first): \`sudo apt install python3-venv\` (Debian 12," \
        "Ubuntu 24.04), or \`pipx install uv && uv python install 3.12\`; or name one: make PYTHON=/path/to/python3.12" >&2
    return 1
}

# The newest GPU's compute capability without its point; 999 where nvidia-smi does not tell.
newest_card() {
    newest=0
    for each in $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null); do
        number=${each%.*}${each#*.}
        case $number in *[!0-9]*) number=999 ;; esac
        [ "$number" -le "$newest" ] || newest=$number
    done
    [ "$newest" -gt 0 ] || newest=999
    echo "$newest"
}

# CUDA 13 runs on drivers from 580 on, CUDA 12 from 525 on (NVIDIA, CUDA compatibility, minor versions). The pinned torch
# of the one is built for GPUs from compute capability 7.5 on, that of the other from 7.0 on.
find_extra() {
    command -v nvidia-smi >/dev/null 2>&1 || { echo cpu; return; }
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)
    case ${driver%%.*} in
        "" | *[!0-9]*)
            echo "nvidia-smi finds no card: taking the CPU's packages (EXTRA=gpu decides otherwise)" >&2
            echo cpu ;;
        *)
            card=$(newest_card)
            if [ "$card" -lt 70 ]; then
                echo "the GPU is too old for the GPU packages (compute capability 7.0): taking the CPU's" >&2
                echo cpu
            elif [ "${driver%%.*}" -ge 580 ] && [ "$card" -ge 75 ]; then
                echo gpu
            elif [ "${driver%%.*}" -ge 525 ] && [ "$(uname -m)" = x86_64 ]; then
                echo gpu-cuda12
            else
                echo "the NVIDIA driver $driver is too old for the GPU packages (580; 525 on x86_64): taking the CPU's" >&2
                echo cpu
            fi ;;
    esac
}

case ${1:-} in
    python) find_python ;;
    fits) [ -x "$2" ] && [ -z "$(reason "$2")" ] ;;
    extra) find_extra ;;
    *) echo "usage: choose.sh python | fits PATH | extra" >&2; exit 2 ;;
esac
