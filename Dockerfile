# The image of the node agent: the command with the Node.js it is pinned to, the bindings and the BPF object.
#
#   docker build -t weir .
#   docker run --rm --privileged --network host -v /sys/fs/bpf:/sys/fs/bpf -v DIR:/manifests:ro weir run --manifests /manifests

FROM debian:12 AS build
# Debian's npm serves only to fetch; the builds run on the Node.js from package-lock.json.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates npm
WORKDIR /src
COPY . .
RUN bash tools/setup.sh packages modules native bpf layout dist
RUN mkdir -p /weir/node_modules/node/bin /weir/native/build /weir/bpf \
 && cp -r bin dist package.json LICENSE NOTICE /weir/ \
 && cp node_modules/node/bin/node /weir/node_modules/node/bin/ \
 && cp node_modules/node/node_modules/node-linux-*/LICENSE /weir/node_modules/node/ \
 && cp -r native/package.json native/dist /weir/native/ \
 && cp native/build/bpf_ts.node /weir/native/build/ \
 && cp -r bpf/build bpf/LICENSE bpf/LICENSE.GPL-2.0 /weir/bpf/ \
 && ln -s ../native /weir/node_modules/bpf-ts

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 libbpf1 libelf1 libstdc++6 zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /weir /opt/weir
RUN ln -s /opt/weir/bin/weir /usr/local/bin/weir
ENTRYPOINT ["/opt/weir/bin/weir"]
CMD ["--help"]
