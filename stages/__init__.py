"""The stages of the chain, one a file: decode, pose, track, generate, blend, sink, score.

They do not import each other.
"""

import os

# ONNX Runtime from 1.29 on tells Microsoft of each process and each model that is opened, and keeps a number of this
# machine in the cache folder; read when it loads, so set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
