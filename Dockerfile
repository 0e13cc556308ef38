# The binary is static; PostgreSQL's own programs come with it, since pg_dump
# writes the table of contents and pg_restore reads it. They serve every server
# version up to their own.
ARG GO_VERSION=1.26
ARG DEBIAN=trixie

FROM golang:${GO_VERSION}-${DEBIAN} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /synapse-maint ./cmd/synapse-maint

FROM debian:${DEBIAN}-slim
RUN apt-get update \
	&& apt-get install --yes --no-install-recommends postgresql-client ca-certificates tzdata \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --no-log-init --uid 10001 --create-home --home-dir /var/lib/synapse-maint --shell /usr/sbin/nologin synapse-maint
COPY --from=build /synapse-maint /usr/local/bin/synapse-maint
# A number, so that Kubernetes can prove that it isn't root.
USER 10001:10001
WORKDIR /var/lib/synapse-maint
ENTRYPOINT ["/usr/local/bin/synapse-maint"]
