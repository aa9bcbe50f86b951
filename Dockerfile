# The program without weights: they lie in the volume /models. Build: docker build -t skate . (--build-arg EXTRA=cpu)
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# `base` holds the CUDA runtime; cuDNN, cuBLAS and the rest come with the wheels of torch and ONNX Runtime.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${PYTHON_IMAGE} AS build
ARG EXTRA=gpu
WORKDIR /src
RUN python -m venv /opt/skate && /opt/skate/bin/python -m pip install --no-cache-dir uv==0.13.8
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
RUN /opt/skate/bin/uv pip sync --no-cache --python /opt/skate/bin/python "requirements/${EXTRA}.txt"
COPY storage storage
COPY stages stages
COPY stream stream
COPY bench bench
COPY workflows workflows
RUN /opt/skate/bin/uv pip install --no-cache --python /opt/skate/bin/python --no-deps .

# hadolint ignore=DL3006
FROM ${CUDA_IMAGE}
# The interpreter that the environment was made with, at the same place.
COPY --from=build /usr/local /usr/local
COPY --from=build /opt/skate /opt/skate
RUN ldconfig && install -d -o 1000 -g 1000 /models /work
ENV PATH=/opt/skate/bin:$PATH \
    HOME=/work \
    SKATE_MODELS=/models \
    XDG_CACHE_HOME=/models/cache \
    OMP_WAIT_POLICY=passive \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /work
VOLUME ["/models"]
ENTRYPOINT ["skate"]
CMD ["check"]
