// An opened BPF object: describing it, setting it up, loading it, and handing
// out its maps and programs.
#include "async.h"
#include "log.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

// Lives as long as the JavaScript handle or a load that is under way.
struct Object {
  std::vector<uint8_t> image;   // what libbpf was opened on, if bytes
  std::vector<FdRef> templates; // inner maps, which libbpf only borrows
  struct bpf_object *object = nullptr;
  ~Object() { bpf_object__close(object); }
};
using ObjectRef = std::shared_ptr<Object>;

constexpr napi_type_tag kObjectTag = {0x6270662d74730002, 0x6f626a6563740002};

ObjectRef *Slot(const Napi::CallbackInfo &info) {
  if (!info[0].IsExternal())
    return nullptr;
  auto external = info[0].As<Napi::External<ObjectRef>>();
  return external.CheckTypeTag(&kObjectTag) ? external.Data() : nullptr;
}

struct bpf_object *ObjectArg(const Napi::CallbackInfo &info) {
  ObjectRef *slot = Slot(info);
  return slot && *slot ? (*slot)->object : nullptr;
}

// By its index in the object: a map that replaces another takes its name too,
// so names are not stable.
struct bpf_map *MapArg(const Napi::CallbackInfo &info) {
  struct bpf_object *object = ObjectArg(info);
  uint32_t index = U32Arg(info, 1);
  struct bpf_map *map =
      object ? bpf_object__next_map(object, nullptr) : nullptr;
  while (map && index-- > 0)
    map = bpf_object__next_map(object, map);
  return map;
}

struct bpf_program *ProgramArg(const Napi::CallbackInfo &info) {
  struct bpf_object *object = ObjectArg(info);
  return object ? bpf_object__find_program_by_name(object,
                                                   StringArg(info, 1).c_str())
                : nullptr;
}

Napi::Value DescribeMaps(Napi::Env env, struct bpf_object *object) {
  auto list = Napi::Array::New(env);
  struct bpf_map *map;
  bpf_object__for_each_map(map, object) {
    auto spec = Napi::Object::New(env);
    spec.Set("name", bpf_map__name(map));
    spec.Set("type", Number(env, bpf_map__type(map)));
    spec.Set("keySize", Number(env, bpf_map__key_size(map)));
    spec.Set("valueSize", Number(env, bpf_map__value_size(map)));
    spec.Set("maxEntries", Number(env, bpf_map__max_entries(map)));
    spec.Set("flags", Number(env, bpf_map__map_flags(map)));
    list.Set(list.Length(), spec);
  }
  return list;
}

Napi::Value DescribePrograms(Napi::Env env, struct bpf_object *object) {
  auto list = Napi::Array::New(env);
  struct bpf_program *program;
  bpf_object__for_each_program(program, object) {
    auto spec = Napi::Object::New(env);
    spec.Set("name", bpf_program__name(program));
    spec.Set("section", bpf_program__section_name(program));
    spec.Set("type", Number(env, bpf_program__type(program)));
    spec.Set("autoload", bpf_program__autoload(program));
    list.Set(list.Length(), spec);
  }
  return list;
}

// (path | bytes, name) → { rc, log, handle }
Napi::Value Open(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  auto owner = std::make_shared<Object>();
  LogCapture capture;
  std::string name = StringArg(info, 1);
  LIBBPF_OPTS(bpf_object_open_opts, options,
              .object_name = name.empty() ? nullptr : name.c_str());
  errno = 0;
  if (info[0].IsString()) {
    owner->object = bpf_object__open_file(StringArg(info, 0).c_str(), &options);
  } else {
    owner->image = BytesCopy(info, 0);
    owner->object = bpf_object__open_mem(owner->image.data(),
                                         owner->image.size(), &options);
  }
  int rc = owner->object ? 0 : -errno;
  auto result = LoggedResult(env, rc, capture.Take());
  if (rc == 0) {
    result.Set("handle",
               WrapExternal(env, new ObjectRef(std::move(owner)), kObjectTag,
                            [](Napi::Env, ObjectRef *ref) { delete ref; }));
  }
  return result;
}

Napi::Value Describe(const Napi::CallbackInfo &info) {
  struct bpf_object *object = ObjectArg(info);
  if (!object)
    return Number(info.Env(), -EBADF);
  auto result = Napi::Object::New(info.Env());
  result.Set("maps", DescribeMaps(info.Env(), object));
  result.Set("programs", DescribePrograms(info.Env(), object));
  return result;
}

Napi::Value BtfBytes(const Napi::CallbackInfo &info) {
  struct bpf_object *object = ObjectArg(info);
  struct btf *btf = object ? bpf_object__btf(object) : nullptr;
  __u32 size = 0;
  const void *raw = btf ? btf__raw_data(btf, &size) : nullptr;
  return raw ? CopyBuffer(info.Env(), raw, size) : Number(info.Env(), -ENOENT);
}

Napi::Value GetData(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  size_t size = 0;
  const void *data = map ? bpf_map__initial_value(map, &size) : nullptr;
  return data ? CopyBuffer(info.Env(), data, size)
              : Number(info.Env(), -ENOENT);
}

Napi::Value SetData(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  Bytes bytes = BytesArg(info, 2);
  int rc =
      map ? bpf_map__set_initial_value(map, bytes.data, bytes.size) : -ENOENT;
  return Number(info.Env(), rc);
}

Napi::Value SetMaxEntries(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  int rc = map ? bpf_map__set_max_entries(map, U32Arg(info, 2)) : -ENOENT;
  return Number(info.Env(), rc);
}

Napi::Value SetAutoload(const Napi::CallbackInfo &info) {
  struct bpf_program *program = ProgramArg(info);
  int rc =
      program ? bpf_program__set_autoload(program, BoolArg(info, 2)) : -ENOENT;
  return Number(info.Env(), rc);
}

Napi::Value ReuseMap(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  int rc = map ? bpf_map__reuse_fd(map, FdArg(info, 2)->get()) : -ENOENT;
  return Number(info.Env(), rc);
}

Napi::Value SetInnerMap(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  FdRef inner = FdArg(info, 2);
  int rc = map ? bpf_map__set_inner_map_fd(map, inner->get()) : -ENOENT;
  if (rc == 0)
    (*Slot(info))->templates.push_back(inner);
  return Number(info.Env(), rc);
}

// (handle, verifier log always) → promise of { rc, log }
Napi::Value Load(const Napi::CallbackInfo &info) {
  ObjectRef *slot = Slot(info);
  ObjectRef owner = slot ? *slot : nullptr;
  bool always = BoolArg(info, 1);
  if (owner && always) {
    struct bpf_program *program;
    bpf_object__for_each_program(program, owner->object)
        bpf_program__set_log_level(program, 1);
  }
  struct Outcome {
    int rc = -EBADF;
    std::string log;
  };
  auto outcome = std::make_shared<Outcome>();
  return RunAsync(
      info.Env(),
      [owner, always, outcome] {
        if (!owner)
          return;
        LogCapture capture(always);
        outcome->rc = bpf_object__load(owner->object);
        outcome->log = capture.Take();
      },
      [outcome](Napi::Env env) {
        return LoggedResult(env, outcome->rc, outcome->log);
      });
}

Napi::Value DupFd(Napi::Env env, int fd) {
  if (fd < 0)
    return Number(env, fd);
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return WrapFd(env, copy < 0 ? -errno : copy);
}

Napi::Value GetMap(const Napi::CallbackInfo &info) {
  struct bpf_map *map = MapArg(info);
  return DupFd(info.Env(), map ? bpf_map__fd(map) : -ENOENT);
}

Napi::Value GetProgram(const Napi::CallbackInfo &info) {
  struct bpf_program *program = ProgramArg(info);
  return DupFd(info.Env(), program ? bpf_program__fd(program) : -ENOENT);
}

Napi::Value Close(const Napi::CallbackInfo &info) {
  if (ObjectRef *slot = Slot(info))
    slot->reset();
  return info.Env().Undefined();
}

} // namespace

void InitObject(Napi::Object exports) {
  InstallLogCapture();
  Export(exports, "objectOpen", Open);
  Export(exports, "objectDescribe", Describe);
  Export(exports, "objectBtf", BtfBytes);
  Export(exports, "objectGetData", GetData);
  Export(exports, "objectSetData", SetData);
  Export(exports, "objectSetMaxEntries", SetMaxEntries);
  Export(exports, "objectSetAutoload", SetAutoload);
  Export(exports, "objectReuseMap", ReuseMap);
  Export(exports, "objectSetInnerMap", SetInnerMap);
  Export(exports, "objectLoad", Load);
  Export(exports, "objectMap", GetMap);
  Export(exports, "objectProgram", GetProgram);
  Export(exports, "objectClose", Close);
}

} // namespace bpf_ts
