// Kernel interface that the headers of Linux 6.1 (Debian 12) do not have yet,
// under names of our own so that newer headers do not collide, and the bpf(2)
// call itself.
#pragma once

#include <linux/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace bpf_ts {

// enum bpf_attach_type and enum bpf_link_type of Linux 6.6.
constexpr __u32 kAttachTcxIngress = 46;
constexpr __u32 kAttachTcxEgress = 47;
constexpr __u32 kLinkTypeTcx = 11;

// The command's part of union bpf_attr for BPF_LINK_CREATE on a device.
struct LinkCreateAttr {
  __u32 prog_fd;
  __u32 target_ifindex;
  __u32 attach_type;
  __u32 flags;
  __u32 relative_fd;
  __u32 reserved;
  __u64 expected_revision;
};

// For BPF_PROG_QUERY; link_ids and revision are new in 6.6.
struct ProgQueryAttr {
  __u32 target_ifindex;
  __u32 attach_type;
  __u32 query_flags;
  __u32 attach_flags;
  __u64 prog_ids;
  __u32 count;
  __u32 reserved;
  __u64 prog_attach_flags;
  __u64 link_ids;
  __u64 link_attach_flags;
  __u64 revision;
};

// What bpf_link_info holds for tcx links, at the place of its union.
struct TcxLinkInfo {
  __u32 ifindex;
  __u32 attach_type;
};

// Returns the kernel's answer or a negative errno.
template <typename Attr> int Bpf(int command, Attr *attr) {
  long rc = syscall(__NR_bpf, command, attr, sizeof(*attr));
  return rc < 0 ? -errno : static_cast<int>(rc);
}

} // namespace bpf_ts
