# syntax=docker/dockerfile:1

# Cross-compiles on the builder's own processor; the result runs on the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /presence ./cmd/presence

# No shell, no package manager, not root. The admin port stays on loopback inside the container
# unless PRESENCE_LISTEN_ADMIN and PRESENCE_ADMIN_TOKEN say otherwise.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /presence /usr/local/bin/presence
EXPOSE 9000
ENTRYPOINT ["/usr/local/bin/presence"]
CMD ["serve"]
