// Owned descriptors, argument readers and result builders.
#include "common.h"

#include <unistd.h>

#include <utility>

namespace bpf_ts {

namespace {

struct Handle {
  FdRef fd;
};

// Marks our handles, so that no other module's External passes for one.
constexpr napi_type_tag kHandleTag = {0x6270662d74730001, 0x68616e646c650001};

Napi::Value CloseHandle(const Napi::CallbackInfo &info) {
  if (info[0].IsExternal()) {
    auto external = info[0].As<Napi::External<Handle>>();
    if (external.CheckTypeTag(&kHandleTag))
      external.Data()->fd.reset();
  }
  return info.Env().Undefined();
}

} // namespace

Fd::~Fd() {
  if (fd_ >= 0)
    ::close(fd_);
}

Napi::Value WrapFd(Napi::Env env, int fd) {
  if (fd < 0)
    return Number(env, fd);
  return WrapFd(env, std::make_shared<Fd>(fd));
}

Napi::Value WrapFd(Napi::Env env, FdRef fd) {
  if (fd->get() < 0)
    return Number(env, fd->get());
  return WrapExternal(env, new Handle{std::move(fd)}, kHandleTag,
                      [](Napi::Env, Handle *handle) { delete handle; });
}

FdRef FdArg(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsExternal())
    return std::make_shared<Fd>(-1);
  auto external = info[index].As<Napi::External<Handle>>();
  if (!external.CheckTypeTag(&kHandleTag) || !external.Data()->fd)
    return std::make_shared<Fd>(-1);
  return external.Data()->fd;
}

Bytes BytesArg(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsTypedArray())
    return {nullptr, 0};
  auto array = info[index].As<Napi::Uint8Array>();
  size_t size = array.ByteLength();
  return {size == 0 ? nullptr : array.Data(), size};
}

std::vector<uint8_t> BytesCopy(const Napi::CallbackInfo &info, size_t index) {
  Bytes bytes = BytesArg(info, index);
  return std::vector<uint8_t>(bytes.data, bytes.data + bytes.size);
}

std::string StringArg(const Napi::CallbackInfo &info, size_t index) {
  return info[index].IsString() ? info[index].As<Napi::String>().Utf8Value()
                                : std::string();
}

uint32_t U32Arg(const Napi::CallbackInfo &info, size_t index) {
  return info[index].IsNumber() ? info[index].As<Napi::Number>().Uint32Value()
                                : 0;
}

uint64_t U64Arg(const Napi::CallbackInfo &info, size_t index) {
  return info[index].IsNumber()
             ? static_cast<uint64_t>(
                   info[index].As<Napi::Number>().Int64Value())
             : 0;
}

bool BoolArg(const Napi::CallbackInfo &info, size_t index) {
  return info[index].IsBoolean() && info[index].As<Napi::Boolean>().Value();
}

Napi::Value TakeBuffer(Napi::Env env, std::vector<uint8_t> &&bytes) {
  if (bytes.empty())
    return Napi::Buffer<uint8_t>::New(env, 0);
  auto *owned = new std::vector<uint8_t>(std::move(bytes));
  return Napi::Buffer<uint8_t>::NewOrCopy(
      env, owned->data(), owned->size(),
      [](Napi::Env, uint8_t *, std::vector<uint8_t> *vector) { delete vector; },
      owned);
}

Napi::Value CopyBuffer(Napi::Env env, const void *data, size_t size) {
  return Napi::Buffer<uint8_t>::Copy(env, static_cast<const uint8_t *>(data),
                                     size);
}

Napi::Value Number(Napi::Env env, double value) {
  return Napi::Number::New(env, value);
}

Napi::Object LoggedResult(Napi::Env env, int rc, const std::string &log) {
  auto result = Napi::Object::New(env);
  result.Set("rc", Number(env, rc));
  result.Set("log", Napi::String::New(env, log));
  return result;
}

namespace {

Napi::Object Init(Napi::Env, Napi::Object exports) {
  Export(exports, "closeHandle", CloseHandle);
  InitAttached(exports);
  InitBtf(exports);
  InitClsact(exports);
  InitFeed(exports);
  InitLink(exports);
  InitMap(exports);
  InitMapBulk(exports);
  InitMapMemory(exports);
  InitObject(exports);
  InitProgram(exports);
  InitRingBuffer(exports);
  InitRoute(exports);
  InitRouteWatch(exports);
  InitSystem(exports);
  InitDescriptor(exports);
  InitVeth(exports);
  return exports;
}

} // namespace

NODE_API_MODULE(bpf_ts, Init)

} // namespace bpf_ts
