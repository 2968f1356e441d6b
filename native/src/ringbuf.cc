// A BPF ring buffer, waited for on a thread of its own and handed to the event
// loop in batches.
#include "ringbuf.h"
#include "log.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

constexpr int kBatchFull = -ENOBUFS;

} // namespace

void Deliver(Napi::Env env, Napi::Function callback, RingRef *ring,
             Batch *batch) {
  std::unique_ptr<Batch> owned(batch);
  if (env == nullptr || (*ring)->stopping())
    return; // the environment is going down, or the ring was closed
  Napi::HandleScope scope(env);
  auto count = owned->offsets.size() - 1;
  auto offsets = Napi::Uint32Array::New(env, owned->offsets.size());
  if (offsets.IsEmpty())
    return; // a worker thread that is being terminated makes no objects
  std::copy(owned->offsets.begin(), owned->offsets.end(), offsets.Data());
  callback.Call(
      {TakeBuffer(env, std::move(owned->data)), offsets, Number(env, count)});
  if (env.IsExceptionPending()) {
    Napi::Error error = env.GetAndClearPendingException();
    napi_fatal_exception(env, error.Value());
  }
  (*ring)->Delivered();
}

Ring::~Ring() { Free(); }

void Ring::Free() {
  ring_buffer__free(buffer_);
  buffer_ = nullptr;
  stop_.reset();
  map_.reset();
}

int Ring::Open() {
  errno = 0;
  buffer_ = ring_buffer__new(map_->get(), OnRecord, this, nullptr);
  if (!buffer_)
    return -errno;
  stop_ = std::make_shared<Fd>(eventfd(0, EFD_CLOEXEC));
  return stop_->get() < 0 ? -errno : 0;
}

void Ring::Start(Callback callback) {
  callback_ = callback;
  thread_ = std::thread([this] { Run(); });
}

void Ring::Stop() {
  if (!thread_.joinable())
    return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  delivered_.notify_one();
  eventfd_write(stop_->get(), 1);
  thread_.join();
  if (!callback_gone_)
    callback_.Release();
  Free(); // now, not when the event loop gets to drop the callback
}

void Ring::Delivered() {
  {
    std::lock_guard lock(mutex_);
    pending_ = false;
  }
  delivered_.notify_one();
}

void Ring::SetRef(Napi::Env env, bool on) {
  if (!thread_.joinable())
    return;
  if (on)
    callback_.Ref(env);
  else
    callback_.Unref(env);
}

int Ring::OnRecord(void *context, void *data, size_t size) {
  auto *ring = static_cast<Ring *>(context);
  auto *bytes = static_cast<uint8_t *>(data);
  Batch *batch = ring->batch_.get();
  batch->data.insert(batch->data.end(), bytes, bytes + size);
  batch->offsets.push_back(static_cast<uint32_t>(batch->data.size()));
  return batch->data.size() >= ring->bytes_max_ ? kBatchFull : 0;
}

bool Ring::Hand() {
  std::unique_lock lock(mutex_);
  if (stopping_)
    return false;
  pending_ = true;
  lock.unlock();
  Batch *batch = batch_.release();
  if (callback_.NonBlockingCall(batch) != napi_ok) {
    delete batch;
    callback_gone_ = true; // that answer also released our hold on it
    return false;
  }
  lock.lock();
  delivered_.wait(lock, [this] { return !pending_ || stopping_; });
  return !stopping_;
}

void Ring::Run() {
  struct pollfd events[] = {{ring_buffer__epoll_fd(buffer_), POLLIN, 0},
                            {stop_->get(), POLLIN, 0}};
  for (;;) {
    if (poll(events, 2, -1) < 0 && errno != EINTR)
      return;
    batch_ = std::make_unique<Batch>();
    ring_buffer__consume(buffer_); // how many they were, the offsets tell
    if (stopping_ || (batch_->offsets.size() > 1 && !Hand()))
      return;
  }
}

namespace {

constexpr napi_type_tag kRingTag = {0x6270662d74730003, 0x72696e6762756603};

Ring *RingArg(const Napi::CallbackInfo &info) {
  if (!info[0].IsExternal())
    return nullptr;
  auto external = info[0].As<Napi::External<RingRef>>();
  return external.CheckTypeTag(&kRingTag) ? external.Data()->get() : nullptr;
}

void StopAtExit(void *ring) { static_cast<Ring *>(ring)->Stop(); }

void StopAndForget(Napi::Env env, const RingRef &ring) {
  napi_remove_env_cleanup_hook(env, StopAtExit, ring.get());
  ring->Stop();
}

// (map, callback(data, offsets, count), bytes max) → { rc, log, handle }
Napi::Value Open(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  LogCapture capture;
  auto ring = std::make_shared<Ring>(FdArg(info, 0), U32Arg(info, 2));
  int rc = ring->Open();
  auto result = LoggedResult(env, rc, capture.Take());
  if (rc < 0)
    return result;
  ring->Start(Callback::New(
      env, info[1].As<Napi::Function>(), "bpf-ts.ring", 0, 1, new RingRef(ring),
      [](Napi::Env, void *, RingRef *context) { delete context; },
      static_cast<void *>(nullptr)));
  // Added after the callback's own hook, so it runs before it.
  napi_add_env_cleanup_hook(env, StopAtExit, ring.get());
  result.Set("handle", WrapExternal(env, new RingRef(std::move(ring)), kRingTag,
                                    [](Napi::Env env, RingRef *ref) {
                                      StopAndForget(env, *ref);
                                      delete ref;
                                    }));
  return result;
}

Napi::Value SetRef(const Napi::CallbackInfo &info) {
  if (Ring *ring = RingArg(info))
    ring->SetRef(info.Env(), BoolArg(info, 1));
  return info.Env().Undefined();
}

Napi::Value Close(const Napi::CallbackInfo &info) {
  if (RingArg(info))
    StopAndForget(info.Env(), *info[0].As<Napi::External<RingRef>>().Data());
  return info.Env().Undefined();
}

} // namespace

void InitRingBuffer(Napi::Object exports) {
  Export(exports, "ringOpen", Open);
  Export(exports, "ringSetRef", SetRef);
  Export(exports, "ringClose", Close);
}

} // namespace bpf_ts
