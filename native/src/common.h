// What every file of the addon shares: owned descriptors, argument readers and
// the shapes of results.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace bpf_ts {

// Owns one file descriptor. Shared between the JavaScript handle and the
// operations that run on it, so that a close in between cannot pull the number
// away from under a system call.
class Fd {
public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd();
  Fd(const Fd &) = delete;
  Fd &operator=(const Fd &) = delete;
  int get() const { return fd_; }

private:
  int fd_;
};

using FdRef = std::shared_ptr<Fd>;

// A new handle for JavaScript, or the negative errno as a number.
Napi::Value WrapFd(Napi::Env env, int fd);
Napi::Value WrapFd(Napi::Env env, FdRef fd);

// What JavaScript holds of an object of ours; it is deleted by `finalize`.
// Empty (and the object deleted) where the environment is going down.
template <typename T, typename Finalizer>
Napi::Value WrapExternal(Napi::Env env, T *object, const napi_type_tag &tag,
                         Finalizer finalize) {
  auto external = Napi::External<T>::New(env, object, finalize);
  if (external.IsEmpty())
    finalize(env, object);
  else
    external.TypeTag(&tag);
  return external;
}

// The descriptor of a handle argument; empty if closed or not a handle.
FdRef FdArg(const Napi::CallbackInfo &info, size_t index);

// Bytes borrowed from JavaScript: valid during the call only. A length of zero
// gives a null pointer, which means "no key" to the kernel.
struct Bytes {
  uint8_t *data;
  size_t size;
};
Bytes BytesArg(const Napi::CallbackInfo &info, size_t index);

// A copy for work on another thread: JavaScript may change or detach its own.
std::vector<uint8_t> BytesCopy(const Napi::CallbackInfo &info, size_t index);

std::string StringArg(const Napi::CallbackInfo &info, size_t index);
uint32_t U32Arg(const Napi::CallbackInfo &info, size_t index);
uint64_t U64Arg(const Napi::CallbackInfo &info, size_t index);
bool BoolArg(const Napi::CallbackInfo &info, size_t index);

// A Buffer over the vector's memory.
Napi::Value TakeBuffer(Napi::Env env, std::vector<uint8_t> &&bytes);
Napi::Value CopyBuffer(Napi::Env env, const void *data, size_t size);
Napi::Value Number(Napi::Env env, double value);

// { rc, log }: the result of a call on which libbpf has something to say.
Napi::Object LoggedResult(Napi::Env env, int rc, const std::string &log);

inline uint64_t Pointer(const void *pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

template <typename Function>
void Export(Napi::Object exports, const char *name, Function function) {
  exports.Set(name, Napi::Function::New(exports.Env(), function, name));
}

void InitAttached(Napi::Object exports);
void InitBtf(Napi::Object exports);
void InitClsact(Napi::Object exports);
void InitFeed(Napi::Object exports);
void InitLink(Napi::Object exports);
void InitMap(Napi::Object exports);
void InitMapBulk(Napi::Object exports);
void InitMapMemory(Napi::Object exports);
void InitObject(Napi::Object exports);
void InitProgram(Napi::Object exports);
void InitRingBuffer(Napi::Object exports);
void InitRoute(Napi::Object exports);
void InitRouteWatch(Napi::Object exports);
void InitSystem(Napi::Object exports);
void InitDescriptor(Napi::Object exports);
void InitVeth(Napi::Object exports);

} // namespace bpf_ts
