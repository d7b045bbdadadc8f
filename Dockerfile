# The base is an argument so that an air-gapped build can bring its own; it needs Python 3.11 or newer.
ARG BASE=python:3.13-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
COPY requirements/clouds.txt requirements/clouds.txt
RUN python3 -m venv /opt/moorage \
 && /opt/moorage/bin/pip install --no-cache-dir --require-hashes -r requirements/clouds.txt
COPY pyproject.toml README.md LICENSE ./
COPY webhook webhook
RUN /opt/moorage/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
COPY --from=build /opt/moorage /opt/moorage
ENV PATH=/opt/moorage/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["moorage"]
CMD ["serve", "--config", "/etc/moorage/moorage.yaml"]
