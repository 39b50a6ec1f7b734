# Images of advsweep for batch engines: its binary and what that needs to run, nothing else. The entry point is advsweep.
#
#	docker build --build-arg COMMIT=$(scripts/commit.sh) --target cpu -t advsweep:cpu .
#	docker build --build-arg COMMIT=$(scripts/commit.sh) --target cuda -t advsweep:cuda .
#
# COMMIT is what 'advsweep --version' and results then say of the build. Git's folder does not come along, so without it
# they say "unknown".
# The one for CUDA holds nothing of NVIDIA's: its container toolkit brings the driver in where the image runs.

# One version of Go, for another one writes other bytes. With --build-arg GO=golang@sha256:... it is one image.
ARG GO=golang:1.26.8-bookworm
FROM $GO AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .

FROM source AS build-cpu
ARG COMMIT
RUN make build COMMIT=$COMMIT

FROM source AS build-cuda
# pip brings cuda.h: see scripts/cuda.sh.
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
ARG COMMIT
RUN make cuda COMMIT=$COMMIT

# The same Debian as the build's: its C library must not be older.
FROM debian:bookworm-slim AS cuda
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build-cuda /src/advsweep /usr/local/bin/advsweep
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/advsweep"]

FROM scratch AS cpu
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build-cpu /src/advsweep /usr/local/bin/advsweep
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/advsweep"]
