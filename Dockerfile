# The program without weights: they lie in the volume /models. Build: docker build -t skate .
# --build-arg EXTRA=gpu-cuda12 for NVIDIA drivers from 525 on, EXTRA=cpu for no GPU.
# No CUDA image: the wheels of torch and ONNX Runtime bring every CUDA library, the container toolkit brings the driver's.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG EXTRA=gpu
ENV UV_LINK_MODE=copy \
    UV_HTTP_TIMEOUT=300
WORKDIR /src
RUN python -m venv /opt/skate && /opt/skate/bin/python -m pip install --no-cache-dir uv==0.13.8
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
# The cache keeps what was downloaded when a build breaks off.
RUN --mount=type=cache,target=/root/.cache/uv /opt/skate/bin/uv pip sync --python /opt/skate/bin/python "requirements/${EXTRA}.txt"
COPY storage storage
COPY stages stages
COPY stream stream
COPY bench bench
COPY workflows workflows
RUN --mount=type=cache,target=/root/.cache/uv /opt/skate/bin/uv pip install --python /opt/skate/bin/python --no-deps .

FROM ${PYTHON_IMAGE}
# Triton and torch, behind --sam-compile, build what they generate with a C and a C++ compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --home-dir /work --no-create-home skate \
    && install -d -o 1000 -g 1000 /models /work
COPY --from=build /opt/skate /opt/skate
ENV PATH=/opt/skate/bin:$PATH \
    HOME=/work \
    SKATE_MODELS=/models \
    XDG_CACHE_HOME=/models/cache \
    TRITON_CACHE_DIR=/models/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/models/cache/inductor \
    OMP_WAIT_POLICY=passive \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /work
VOLUME ["/models"]
ENTRYPOINT ["skate"]
CMD ["check"]
