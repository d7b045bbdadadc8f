# The base is an argument so that an air-gapped build can bring its own; it needs Python 3.11 or newer, with venv.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/clouds.txt requirements/clouds.txt
# `--secret id=pip.conf,src=FILE` names an index of your own without leaving a trace of it here; without one it is PyPI.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/moorage \
 && /opt/moorage/bin/pip install --no-cache-dir --require-hashes -r requirements/clouds.txt
COPY pyproject.toml README.md LICENSE ./
COPY webhook webhook
# What only builds goes again, and pip with it; then the command must still start.
RUN /opt/moorage/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/moorage/bin/pip uninstall --yes editables hatchling packaging pathspec pluggy tomlkit trove-classifiers \
 && /opt/moorage/bin/pip uninstall --yes setuptools pip \
 && /opt/moorage/bin/moorage version

FROM ${BASE}
COPY --from=build /opt/moorage /opt/moorage
# As root, which some bases are not. In this form it needs no shell, which is the first thing to go.
USER 0:0
RUN --mount=type=bind,source=deploy/bare.py,target=/tmp/bare.py ["python3", "/tmp/bare.py"]
ENV PATH=/opt/moorage/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["moorage"]
CMD ["serve", "--config", "/etc/moorage/moorage.yaml"]
