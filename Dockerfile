# The image of the node agent: the command with the Node.js it is pinned to, the bindings, the BPF object, the few libraries that
# these load, and no shell. How to run it in a cluster: docs/install.md.
#
#   docker build -t weir .
#   docker run --rm --network host --read-only --cap-drop ALL --cap-add BPF --cap-add NET_ADMIN --cap-add NET_BROADCAST --cap-add PERFMON \
#     --security-opt apparmor=unconfined -v /sys/fs/bpf:/sys/fs/bpf -v /run/weir:/run/weir -v DIR:/manifests:ro weir run --manifests /manifests

FROM debian:12 AS build
# Debian's npm serves only to fetch; the builds run on the Node.js from package-lock.json.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates npm
WORKDIR /src
COPY . .
RUN bash tools/setup.sh packages modules native cni bpf layout dist
RUN bash tools/image/rootfs.sh /rootfs

FROM scratch
LABEL org.opencontainers.image.title="weir" \
  org.opencontainers.image.description="Kubernetes NetworkPolicy on a node, beside any CNI, by eBPF" \
  org.opencontainers.image.licenses="Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"
COPY --from=build /rootfs /
# The pins, the socket and what the CNI keeps on a node are root's, and Kubernetes gives capabilities to no other user: so it is
# root here, and what root may do is taken away by the capabilities that the container is left with.
USER 0:0
# As in bin/weir: memory for young objects, and what malloc gives back.
ENV NODE_OPTIONS=--max-semi-space-size=4
ENV MALLOC_ARENA_MAX=1
ENV MALLOC_MMAP_THRESHOLD_=32768
ENV MALLOC_TRIM_THRESHOLD_=131072
ENTRYPOINT ["/usr/local/bin/weir"]
CMD ["--help"]
