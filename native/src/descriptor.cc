// What the kernel says of a descriptor of the process: who is at the other end
// of a socket, and whether a file is being written.
#include "common.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace bpf_ts {

namespace {

// (fd of a Unix socket) → [pid, uid, gid] or rc
Napi::Value PeerCredentials(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  struct ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(static_cast<int>(U32Arg(info, 0)), SOL_SOCKET, SO_PEERCRED,
                 &peer, &size) < 0)
    return Number(env, -errno);
  auto list = Napi::Array::New(env);
  list.Set(0u, Number(env, peer.pid));
  list.Set(1u, Number(env, peer.uid));
  list.Set(2u, Number(env, peer.gid));
  return list;
}

// (fd of a regular file, open for reading) → 1, 0 or rc
Napi::Value OpenForWriting(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  int fd = static_cast<int>(U32Arg(info, 0));
  // A writer that opens the file before the lease is given back breaks it, and
  // the kernel sends a signal: SIGIO would end the process, SIGURG is ignored.
  if (fcntl(fd, F_SETSIG, SIGURG) < 0)
    return Number(env, -errno);
  // fcntl(2): a read lease fails with EAGAIN while any process has the file
  // open for writing.
  if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
    return Number(env, errno == EAGAIN ? 1 : -errno);
  if (fcntl(fd, F_SETLEASE, F_UNLCK) < 0)
    return Number(env, -errno);
  return Number(env, 0);
}

} // namespace

void InitDescriptor(Napi::Object exports) {
  Export(exports, "peerCredentials", PeerCredentials);
  Export(exports, "openForWriting", OpenForWriting);
}

} // namespace bpf_ts
