FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/bellbuoy ./cmd/bellbuoy \
 && cp /etc/ssl/certs/ca-certificates.crt /out/ \
 && mkdir /out/data /out/tmp

FROM scratch
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/bellbuoy /bellbuoy
# A new volume gets the owner of this directory. SQLite sorts in /tmp.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
# The default of data_dir is /data. Mount the configuration at /etc/bellbuoy/bellbuoy.yaml.
ENV STATE_DIRECTORY=/data
VOLUME /data
USER 65532:65532
# 5080: registry traffic. 5081: /healthz, /readyz and /metrics. The image has no shell for probes.
EXPOSE 5080 5081
ENTRYPOINT ["/bellbuoy"]
CMD ["serve"]
