FROM golang:1.26 AS build
WORKDIR /src

# Modules change less often than code, so they have a layer of their own.
COPY go.mod go.sum ./
RUN go mod download

# The whole tree with .git: Go stamps the commit that `contactmirror version`
# shows. A git worktree's or submodule's .git points outside the build context:
# build those with --build-arg BUILDVCS=false.
COPY . .
ARG BUILDVCS=auto
RUN --mount=type=cache,target=/cache \
    GOCACHE=/cache CGO_ENABLED=0 go build -trimpath -buildvcs=${BUILDVCS} -ldflags='-s -w' \
        -o /out/contactmirror ./cmd/contactmirror \
 && mkdir /out/data

# CA certificates, time zones, an unprivileged user (65532), and no shell.
FROM gcr.io/distroless/static-debian13:nonroot
COPY --from=build /out/contactmirror /contactmirror
# A new named volume takes its first owner from the folder it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data

# The embedded PostgreSQL of the bare binary isn't in here: set DATABASE_URL or
# DATABASE_URL_FILE.
ENV CONTACTMIRROR_DATA_DIR=/data \
    CONTACTMIRROR_LISTEN=:8080
VOLUME /data
EXPOSE 8080
# Numeric, so that Kubernetes' runAsNonRoot can tell.
USER 65532:65532
# The subcommand's own limit is 5 s, and says what is wrong.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["/contactmirror", "healthcheck"]
ENTRYPOINT ["/contactmirror"]
CMD ["serve"]
