# Tessera in an image that is started, stopped, configured and mounted as the official Redis image is.
#
#   docker build -t tessera .
#
# --build-arg SERVER=PATH takes a server that is built already, for Debian 12, from the build context instead of compiling.

FROM debian:bookworm-slim AS build
ARG SERVER=
WORKDIR /source
COPY conf/install-packages conf/packages.txt conf/
RUN [ -n "$SERVER" ] || conf/install-packages build
COPY . .
RUN set -eu; \
    if [ -z "$SERVER" ]; then \
      cmake --preset release -DCMAKE_CXX_FLAGS_RELEASE=-O2 -DTESSERA_TESTS=OFF -DTESSERA_BENCH=OFF; \
      cmake --build build/release --target tessera-server; \
      strip build/release/server/tessera-server; \
      SERVER=build/release/server/tessera-server; \
    fi; \
    install -m 755 "$SERVER" /redis-server

FROM debian:bookworm-slim
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tessera" \
      org.opencontainers.image.description="Redis Cluster-compatible in-memory server" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"

# The ids of the official Debian-based Redis image, so that its volumes can be taken over. Before the packages, which would
# make a user of their own.
RUN groupadd --system --gid 999 redis \
 && useradd --system --uid 999 --gid redis --home-dir /data --no-create-home --shell /usr/sbin/nologin redis

COPY conf/install-packages conf/packages.txt /usr/share/tessera/
RUN /usr/share/tessera/install-packages image && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

COPY conf/docker-entrypoint /usr/local/bin/docker-entrypoint.sh
COPY conf/create-cluster conf/tessera-health /usr/local/bin/
COPY --from=build /redis-server /usr/local/bin/
# Says so here and now when a library is missing. Anybody may write to a new volume, for --user and for root without its
# capabilities; what is written is private.
RUN redis-server --version && install -d -o redis -g redis -m 1777 /data

# As the official image: a container's ports are reachable only where somebody published them. (For those who replace the
# entrypoint, which says it as well.)
ENV TESSERA_DEFAULTS="protected-mode no"
VOLUME /data
WORKDIR /data
EXPOSE 6379 16379
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["tessera-health"]
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
