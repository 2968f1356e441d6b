// Maps, one element at a time.
#include "async.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

// { type, name, keySize, valueSize, maxEntries, flags }, inner map handle
Napi::Value Create(const Napi::CallbackInfo &info) {
  auto spec = info[0].As<Napi::Object>();
  auto number = [&spec](const char *name) {
    return spec.Get(name).As<Napi::Number>().Uint32Value();
  };
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = number("flags"));
  FdRef inner = FdArg(info, 1);
  if (inner->get() >= 0)
    options.inner_map_fd = inner->get();
  std::string name = spec.Get("name").As<Napi::String>().Utf8Value();
  int fd = bpf_map_create(static_cast<enum bpf_map_type>(number("type")),
                          name.c_str(), number("keySize"), number("valueSize"),
                          number("maxEntries"), &options);
  return WrapFd(info.Env(), fd);
}

Napi::Value Info(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  struct bpf_map_info raw = {};
  __u32 size = sizeof(raw);
  int rc = bpf_obj_get_info_by_fd(FdArg(info, 0)->get(), &raw, &size);
  if (rc < 0)
    return Number(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("id", Number(env, raw.id));
  result.Set("name", raw.name);
  result.Set("type", Number(env, raw.type));
  result.Set("keySize", Number(env, raw.key_size));
  result.Set("valueSize", Number(env, raw.value_size));
  result.Set("maxEntries", Number(env, raw.max_entries));
  result.Set("flags", Number(env, raw.map_flags));
  result.Set("extra", Number(env, raw.map_extra));
  result.Set("btfId", Number(env, raw.btf_id));
  result.Set("btfKeyTypeId", Number(env, raw.btf_key_type_id));
  result.Set("btfValueTypeId", Number(env, raw.btf_value_type_id));
  return result;
}

Napi::Value Lookup(const Napi::CallbackInfo &info) {
  return Number(info.Env(), bpf_map_lookup_elem(FdArg(info, 0)->get(),
                                                BytesArg(info, 1).data,
                                                BytesArg(info, 2).data));
}

Napi::Value Update(const Napi::CallbackInfo &info) {
  return Number(info.Env(), bpf_map_update_elem(
                                FdArg(info, 0)->get(), BytesArg(info, 1).data,
                                BytesArg(info, 2).data, U64Arg(info, 3)));
}

Napi::Value Delete(const Napi::CallbackInfo &info) {
  return Number(info.Env(), bpf_map_delete_elem(FdArg(info, 0)->get(),
                                                BytesArg(info, 1).data));
}

Napi::Value NextKey(const Napi::CallbackInfo &info) {
  return Number(info.Env(), bpf_map_get_next_key(FdArg(info, 0)->get(),
                                                 BytesArg(info, 1).data,
                                                 BytesArg(info, 2).data));
}

Napi::Value UpdateAsync(const Napi::CallbackInfo &info) {
  FdRef fd = FdArg(info, 0);
  return RunAsync(info.Env(), [fd, key = BytesCopy(info, 1),
                               value = BytesCopy(info, 2),
                               flags = U64Arg(info, 3)] {
    return bpf_map_update_elem(fd->get(), key.empty() ? nullptr : key.data(),
                               value.data(), flags);
  });
}

Napi::Value DeleteAsync(const Napi::CallbackInfo &info) {
  FdRef fd = FdArg(info, 0);
  return RunAsync(info.Env(), [fd, key = BytesCopy(info, 1)] {
    return bpf_map_delete_elem(fd->get(), key.data());
  });
}

// (map, key, inner map) → promise of rc. The inner map's descriptor is the
// value, so it must not be closed before the call is through.
Napi::Value SetInner(const Napi::CallbackInfo &info) {
  FdRef fd = FdArg(info, 0);
  FdRef inner = FdArg(info, 2);
  return RunAsync(info.Env(), [fd, inner, key = BytesCopy(info, 1)] {
    __u32 value = static_cast<__u32>(inner->get());
    return bpf_map_update_elem(fd->get(), key.data(), &value, BPF_ANY);
  });
}

Napi::Value Freeze(const Napi::CallbackInfo &info) {
  return Number(info.Env(), bpf_map_freeze(FdArg(info, 0)->get()));
}

} // namespace

void InitMap(Napi::Object exports) {
  Export(exports, "mapCreate", Create);
  Export(exports, "mapInfo", Info);
  Export(exports, "mapLookup", Lookup);
  Export(exports, "mapUpdate", Update);
  Export(exports, "mapDelete", Delete);
  Export(exports, "mapNextKey", NextKey);
  Export(exports, "mapUpdateAsync", UpdateAsync);
  Export(exports, "mapDeleteAsync", DeleteAsync);
  Export(exports, "mapSetInner", SetInner);
  Export(exports, "mapFreeze", Freeze);
}

} // namespace bpf_ts
