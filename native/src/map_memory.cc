// The memory of a map that was made with BPF_F_MMAPABLE, read without system
// calls.
#include "common.h"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace bpf_ts {

namespace {

// A shared mapping of a map, for reading alone. It keeps the map in the kernel,
// whatever becomes of its descriptors.
struct Memory {
  void *data;
  size_t size;

  void Unmap() {
    if (data)
      munmap(data, size);
    data = nullptr;
    size = 0;
  }
};

constexpr napi_type_tag kMemoryTag = {0x6270662d74730004, 0x6d6d617065640001};

Memory *MemoryArg(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsExternal())
    return nullptr;
  auto external = info[index].As<Napi::External<Memory>>();
  return external.CheckTypeTag(&kMemoryTag) ? external.Data() : nullptr;
}

// (map, bytes) → memory or rc. The kernel refuses (EINVAL) what goes beyond the
// map's last page.
Napi::Value Map(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  size_t size = U64Arg(info, 1);
  void *data =
      mmap(nullptr, size, PROT_READ, MAP_SHARED, FdArg(info, 0)->get(), 0);
  if (data == MAP_FAILED)
    return Number(env, -errno);
  return WrapExternal(env, new Memory{data, size}, kMemoryTag,
                      [](Napi::Env, Memory *memory) {
                        memory->Unmap();
                        delete memory;
                      });
}

// (memory, target, offset) → rc. Word by word, because programs write
// meanwhile: a word is old or new, never half of each. A JavaScript view of the
// pages would end the process at the first store to it.
Napi::Value Read(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  Memory *memory = MemoryArg(info, 0);
  Bytes target = BytesArg(info, 1);
  uint64_t offset = U64Arg(info, 2);
  constexpr size_t word = sizeof(uint64_t);
  if (!memory || !memory->data || offset % word || target.size % word ||
      offset > memory->size || target.size > memory->size - offset)
    return Number(env, -EINVAL);
  const auto *source = reinterpret_cast<const uint64_t *>(
      static_cast<const uint8_t *>(memory->data) + offset);
  for (size_t at = 0; at < target.size; at += word) {
    uint64_t value = __atomic_load_n(source++, __ATOMIC_RELAXED);
    memcpy(target.data + at, &value, word);
  }
  return Number(env, 0);
}

Napi::Value Close(const Napi::CallbackInfo &info) {
  if (Memory *memory = MemoryArg(info, 0))
    memory->Unmap();
  return info.Env().Undefined();
}

} // namespace

void InitMapMemory(Napi::Object exports) {
  Export(exports, "memoryMap", Map);
  Export(exports, "memoryRead", Read);
  Export(exports, "memoryClose", Close);
}

} // namespace bpf_ts
