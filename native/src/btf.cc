// BTF as raw bytes: of built objects and of the kernel. Decoding it is done in
// TypeScript.
#include "common.h"
#include "log.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

// (path of an ELF object or raw BTF file) → { rc, log, data }
Napi::Value Parse(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  LogCapture capture;
  struct btf *btf = btf__parse(StringArg(info, 0).c_str(), nullptr);
  auto result = LoggedResult(env, btf ? 0 : -errno, capture.Take());
  if (!btf)
    return result;
  __u32 size = 0;
  const void *raw = btf__raw_data(btf, &size);
  if (raw)
    result.Set("data", CopyBuffer(env, raw, size));
  else
    result.Set("rc", Number(env, -ENOMEM));
  btf__free(btf);
  return result;
}

// (id) → { data, name, kernel } or rc
Napi::Value OfKernel(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  Fd fd(bpf_btf_get_fd_by_id(U32Arg(info, 0)));
  if (fd.get() < 0)
    return Number(env, fd.get());
  struct bpf_btf_info raw = {};
  __u32 size = sizeof(raw);
  int rc = bpf_obj_get_info_by_fd(fd.get(), &raw, &size);
  if (rc < 0)
    return Number(env, rc);
  std::vector<uint8_t> data(raw.btf_size);
  char name[64] = {};
  raw = {};
  raw.btf = Pointer(data.data());
  raw.btf_size = static_cast<__u32>(data.size());
  raw.name = Pointer(name);
  raw.name_len = sizeof(name);
  size = sizeof(raw);
  rc = bpf_obj_get_info_by_fd(fd.get(), &raw, &size);
  if (rc < 0)
    return Number(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("data", TakeBuffer(env, std::move(data)));
  result.Set("name", name);
  result.Set("kernel", raw.kernel_btf != 0);
  return result;
}

} // namespace

void InitBtf(Napi::Object exports) {
  Export(exports, "btfParse", Parse);
  Export(exports, "btfOfKernel", OfKernel);
}

} // namespace bpf_ts
