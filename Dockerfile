# The worker and its commands, and nothing that builds it. Runs as a user without a name, with a read-only root and no capabilities.
# The digest is what counts, the tag is for readers; `make digests` renews it (docs/releasing.md).
ARG PYTHON=3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8

FROM python:${PYTHON} AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
# Wheels only, so that no code of a dependency runs here and no compiler is missed, on amd64 or arm64.
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-build.lock \
    && python3 -m venv --without-pip /opt/deployer \
    && tools/bin/pip --python /opt/deployer/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY worker worker
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheel . \
    && tools/bin/pip --python /opt/deployer/bin/python install --no-cache-dir --no-index --no-deps wheel/*.whl

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="playground-deployer" \
    org.opencontainers.image.description="Turns AI pipelines composed in Eclipse Graphene into running deployments." \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# Freed memory below 128 MiB stays with the process: without it glibc returns and fetches zip's buffers for each entry.
# Byte code was written when the packages were installed; here nothing could be written.
ENV PATH=/opt/deployer/bin:${PATH} \
    MALLOC_TRIM_THRESHOLD_=134217728 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/deployer /opt/deployer
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["playground-deployer"]
CMD ["run"]
