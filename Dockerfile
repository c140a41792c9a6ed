# syntax=docker/dockerfile:1

# Both stages use the same Debian release: the binary needs the C library it was linked with.
FROM rust:1.95-trixie AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs larder.example.toml ./
COPY clients/rust clients/rust
COPY crates crates
COPY proto proto
COPY src src
# The commit that larder_build_info shows: docker build --build-arg LARDER_COMMIT="$(git rev-parse HEAD)"
ARG LARDER_COMMIT
# The cache mounts keep downloads and compiled crates between builds, and are not part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin larder && \
    install -D target/release/larder /out/larder && \
    install -d /out/data

# No shell, no package manager, and a user without privileges (65532).
FROM gcr.io/distroless/cc-debian13:nonroot
LABEL org.opencontainers.image.title="larder" \
      org.opencontainers.image.description="A gRPC cache service on Redis, Valkey or embedded" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/larder /usr/local/bin/larder
# For a volume with a journal (LARDER_JOURNAL__PATH=/var/lib/larder/journal). A new volume of Docker
# gets the owner of this directory.
COPY --from=build --chown=65532:65532 /out/data /var/lib/larder
ENV LARDER_LISTEN=0.0.0.0:50051 \
    LARDER_ADMIN_LISTEN=0.0.0.0:9464 \
    LARDER_LOG__FORMAT=json
# By number: under runAsNonRoot, Kubernetes refuses a user name, because it may be root.
USER 65532:65532
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/larder", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/larder"]
CMD ["serve"]
