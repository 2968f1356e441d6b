// What belongs to no single handle: pins, ids, probes, versions.
#include "common.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace bpf_ts {

namespace {

Napi::Value Pin(const Napi::CallbackInfo &info) {
  return Number(info.Env(),
                bpf_obj_pin(FdArg(info, 0)->get(), StringArg(info, 1).c_str()));
}

Napi::Value Unpin(const Napi::CallbackInfo &info) {
  int rc = unlink(StringArg(info, 0).c_str());
  return Number(info.Env(), rc < 0 ? -errno : 0);
}

// "map", "program", "link", or "" if /proc does not say.
const char *KindOf(int fd) {
  char target[64] = {};
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(path.c_str(), target, sizeof(target) - 1) < 0)
    return "";
  if (strstr(target, "bpf-map"))
    return "map";
  if (strstr(target, "bpf-prog"))
    return "program";
  return strstr(target, "bpf_link") || strstr(target, "bpf-link") ? "link" : "";
}

// (path, kind) → handle or rc; EMEDIUMTYPE where something else is pinned
Napi::Value OpenPinned(const Napi::CallbackInfo &info) {
  auto fd = std::make_shared<Fd>(bpf_obj_get(StringArg(info, 0).c_str()));
  if (fd->get() >= 0) {
    std::string kind = KindOf(fd->get());
    if (!kind.empty() && kind != StringArg(info, 1))
      return Number(info.Env(), -EMEDIUMTYPE);
  }
  return WrapFd(info.Env(), fd);
}

// (kind, id) → handle or rc
Napi::Value OpenById(const Napi::CallbackInfo &info) {
  std::string kind = StringArg(info, 0);
  uint32_t id = U32Arg(info, 1);
  int fd = -EINVAL;
  if (kind == "map")
    fd = bpf_map_get_fd_by_id(id);
  else if (kind == "program")
    fd = bpf_prog_get_fd_by_id(id);
  else if (kind == "link")
    fd = bpf_link_get_fd_by_id(id);
  return WrapFd(info.Env(), fd);
}

// (path) → handle that holds the file's or directory's flock(2) until it is
// closed or the process ends, or rc; -EAGAIN where another one holds it
Napi::Value LockFile(const Napi::CallbackInfo &info) {
  auto fd = std::make_shared<Fd>(
      open(StringArg(info, 0).c_str(), O_RDONLY | O_CLOEXEC));
  if (fd->get() < 0 || flock(fd->get(), LOCK_EX | LOCK_NB) < 0)
    return Number(info.Env(), -errno);
  return WrapFd(info.Env(), fd);
}

// (handle) → { device, inode } or rc
Napi::Value FileIdentity(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  struct stat about;
  if (fstat(FdArg(info, 0)->get(), &about) < 0)
    return Number(env, -errno);
  auto result = Napi::Object::New(env);
  result.Set("device", Number(env, about.st_dev));
  result.Set("inode", Number(env, about.st_ino));
  return result;
}

// (kind) → ids or rc
Napi::Value ListIds(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  std::string kind = StringArg(info, 0);
  auto next = kind == "map"       ? bpf_map_get_next_id
              : kind == "program" ? bpf_prog_get_next_id
                                  : bpf_link_get_next_id;
  auto list = Napi::Array::New(env);
  __u32 id = 0;
  int rc;
  while ((rc = next(id, &id)) == 0)
    list.Set(list.Length(), Number(env, id));
  return rc == -ENOENT ? Napi::Value(list) : Number(env, rc);
}

// (kind, type, helper) → 1, 0 or rc
Napi::Value Probe(const Napi::CallbackInfo &info) {
  std::string kind = StringArg(info, 0);
  uint32_t type = U32Arg(info, 1);
  auto program = static_cast<enum bpf_prog_type>(type);
  int rc = -EINVAL;
  if (kind == "mapType")
    rc = libbpf_probe_bpf_map_type(static_cast<enum bpf_map_type>(type),
                                   nullptr);
  else if (kind == "programType")
    rc = libbpf_probe_bpf_prog_type(program, nullptr);
  else if (kind == "helper")
    rc = libbpf_probe_bpf_helper(
        program, static_cast<enum bpf_func_id>(U32Arg(info, 2)), nullptr);
  return Number(info.Env(), rc);
}

// (ifindex) → name, or rc where there is no such device in this namespace
Napi::Value DeviceName(const Napi::CallbackInfo &info) {
  char name[IF_NAMESIZE];
  if (!if_indextoname(U32Arg(info, 0), name))
    return Number(info.Env(), -errno);
  return Napi::String::New(info.Env(), name);
}

// () → this thread's network namespace as the kernel numbers it, or rc
Napi::Value NetnsCookie(const Napi::CallbackInfo &info) {
  Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (fd.get() < 0 ||
      getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0)
    return Number(info.Env(), -errno);
  return Napi::BigInt::New(info.Env(), cookie);
}

// (errno) → what the C library calls it
Napi::Value ErrorText(const Napi::CallbackInfo &info) {
  char text[128];
  return Napi::String::New(
      info.Env(),
      strerror_r(static_cast<int>(U32Arg(info, 0)), text, sizeof(text)));
}

Napi::Value PossibleCpus(const Napi::CallbackInfo &info) {
  return Number(info.Env(), libbpf_num_possible_cpus());
}

Napi::Value Version(const Napi::CallbackInfo &info) {
  return Napi::String::New(info.Env(), libbpf_version_string());
}

} // namespace

void InitSystem(Napi::Object exports) {
  Export(exports, "pin", Pin);
  Export(exports, "unpin", Unpin);
  Export(exports, "openPinned", OpenPinned);
  Export(exports, "openById", OpenById);
  Export(exports, "lockFile", LockFile);
  Export(exports, "fileIdentity", FileIdentity);
  Export(exports, "listIds", ListIds);
  Export(exports, "probe", Probe);
  Export(exports, "deviceName", DeviceName);
  Export(exports, "netnsCookie", NetnsCookie);
  Export(exports, "errorText", ErrorText);
  Export(exports, "possibleCpus", PossibleCpus);
  Export(exports, "libbpfVersion", Version);
}

} // namespace bpf_ts
