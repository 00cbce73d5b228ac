# The image contains only the exporter: no shell, no named user, no packages to update.
# docker build --build-arg VERSION=$(git describe --tags --always) -t deepaffects-exporter .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY . .
ARG VERSION=unknown
ARG REVISION=unknown
ARG TARGETOS
ARG TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build VERSION=$VERSION REVISION=$REVISION && mkdir -p /image/data && \
    GOOS=$TARGETOS GOARCH=$TARGETARCH deploy/licenses.sh ./cmd/exporter >/image/third-party-notices

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/bin/deepaffects_exporter /bin/
COPY --from=build /src/LICENSE /image/third-party-notices /usr/share/doc/deepaffects-exporter/
# A new volume gets its owner from this directory.
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
VOLUME /data
EXPOSE 9891
# If you change the port or set TLS or a password, change the URL too. Kubernetes ignores
# the health check.
HEALTHCHECK --start-period=1m CMD ["/bin/deepaffects_exporter", "--web.health-check=http://localhost:9891/-/healthy"]
ENTRYPOINT ["/bin/deepaffects_exporter"]
CMD ["--config.file=/etc/deepaffects/exporter.toml", "--storage.path=/data"]
