# syntax=docker/dockerfile:1
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/bellbuoy ./cmd/bellbuoy \
 && mkdir /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/bellbuoy /bellbuoy
# A new volume gets the owner of this directory; 65532 is the image's nonroot user.
COPY --from=build --chown=65532:65532 /out/data /data
# The default of data_dir is /data. Mount the configuration at /etc/bellbuoy/bellbuoy.yaml.
ENV STATE_DIRECTORY=/data
VOLUME /data
USER 65532:65532
# 5080: registry traffic. 5081: /healthz, /readyz and /metrics. The image has no shell for probes.
EXPOSE 5080 5081
ENTRYPOINT ["/bellbuoy"]
CMD ["serve"]
