# syntax=docker/dockerfile:1
# One image for the workers of a campaign and for the MLflow server they share (compose.yaml):
#   docker build -t admire .                               # CPU
#   docker build -t admire:cuda --build-arg DEVICE=cuda .  # GPUs
ARG DEVICE=cpu

FROM python:3.12-slim-bookworm AS cpu
ENV UV_TORCH_BACKEND=cpu

# CUDA 13.0 is what torch 2.13 is built for by default; 24.04's Python is 3.12, too.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS cuda
ENV UV_TORCH_BACKEND=cu130
# Triton (training.compile, Liger) compiles with a C compiler and Python's headers as it runs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM ${DEVICE} AS build
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9 \
    && python3 -m venv --without-pip /opt/venv
WORKDIR /app
COPY pyproject.toml requirements.lock ./
# Compiled here: whoever runs the image may not write there, and imports would take twice as long.
RUN VIRTUAL_ENV=/opt/venv /opt/uv/bin/uv pip install --no-cache --compile-bytecode \
    --constraints requirements.lock --requirements pyproject.toml --extra postgres
COPY src src
RUN python3 -m compileall -q src

FROM ${DEVICE}
WORKDIR /app
# The user owns what volumes are mounted on, and nothing else.
RUN useradd --uid 10001 --no-create-home admire \
    && install --directory --owner=admire --group=admire data /artifacts
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app/src src
COPY pyproject.toml .telemetry ./
COPY conf conf
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/app/data/hub \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache
USER 10001
CMD ["kedro", "run", "--pipelines=admire_step"]
