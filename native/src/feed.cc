// What all feeds have in common: the thread, the hand-over and the end.
#include "feed.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

void Deliver(Napi::Env env, Napi::Function callback, FeedRef *feed,
             Batch *batch) {
  std::unique_ptr<Batch> owned(batch);
  if (env == nullptr || (*feed)->stopping())
    return; // the environment is going down, or the feed was closed
  Napi::HandleScope scope(env);
  std::vector<napi_value> arguments = owned->Arguments(env);
  if (arguments.empty())
    return; // a worker thread that is being terminated makes no objects
  callback.Call(arguments);
  if (env.IsExceptionPending()) {
    Napi::Error error = env.GetAndClearPendingException();
    napi_fatal_exception(env, error.Value());
  }
  (*feed)->Delivered();
}

int Feed::OpenStop() {
  stop_ = std::make_shared<Fd>(eventfd(0, EFD_CLOEXEC));
  return stop_->get() < 0 ? -errno : 0;
}

void Feed::Stop() {
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
  stop_.reset();
}

void Feed::Delivered() {
  {
    std::lock_guard lock(mutex_);
    pending_ = false;
  }
  delivered_.notify_one();
}

void Feed::SetRef(Napi::Env env, bool on) {
  if (!thread_.joinable())
    return;
  if (on)
    callback_.Ref(env);
  else
    callback_.Unref(env);
}

bool Feed::Wait(int descriptor) {
  struct pollfd events[] = {{descriptor, POLLIN, 0}, {stop_->get(), POLLIN, 0}};
  while (!stopping_) {
    int ready = poll(events, 2, -1);
    if (ready < 0 && errno != EINTR)
      return false;
    if (ready > 0 && !stopping_)
      return true;
  }
  return false;
}

bool Feed::Hand(std::unique_ptr<Batch> batch) {
  std::unique_lock lock(mutex_);
  if (stopping_)
    return false;
  pending_ = true;
  lock.unlock();
  if (callback_.NonBlockingCall(batch.get()) != napi_ok) {
    callback_gone_ = true; // that answer also released our hold on it
    return false;
  }
  static_cast<void>(batch.release()); // Deliver has it now
  lock.lock();
  delivered_.wait(lock, [this] { return !pending_ || stopping_; });
  return !stopping_;
}

namespace {

constexpr napi_type_tag kFeedTag = {0x6270662d74730003, 0x6665656400000001};

Feed *FeedArg(const Napi::CallbackInfo &info) {
  if (!info[0].IsExternal())
    return nullptr;
  auto external = info[0].As<Napi::External<FeedRef>>();
  return external.CheckTypeTag(&kFeedTag) ? external.Data()->get() : nullptr;
}

void StopAtExit(void *feed) { static_cast<Feed *>(feed)->Stop(); }

void StopAndForget(Napi::Env env, Feed *feed) {
  napi_remove_env_cleanup_hook(env, StopAtExit, feed);
  feed->Stop();
}

Napi::Value SetRef(const Napi::CallbackInfo &info) {
  if (Feed *feed = FeedArg(info))
    feed->SetRef(info.Env(), BoolArg(info, 1));
  return info.Env().Undefined();
}

Napi::Value Close(const Napi::CallbackInfo &info) {
  if (Feed *feed = FeedArg(info))
    StopAndForget(info.Env(), feed);
  return info.Env().Undefined();
}

} // namespace

Napi::Value StartFeed(FeedRef feed, Napi::Function callback, const char *name) {
  auto env = callback.Env();
  feed->callback_ = Callback::New(
      env, callback, name, 0, 1, new FeedRef(feed),
      [](Napi::Env, void *, FeedRef *context) { delete context; },
      static_cast<void *>(nullptr));
  feed->thread_ = std::thread([held = feed.get()] { held->Run(); });
  // Added after the callback's own hook, so it runs before it.
  napi_add_env_cleanup_hook(env, StopAtExit, feed.get());
  return WrapExternal(env, new FeedRef(std::move(feed)), kFeedTag,
                      [](Napi::Env env, FeedRef *ref) {
                        StopAndForget(env, ref->get());
                        delete ref;
                      });
}

void InitFeed(Napi::Object exports) {
  Export(exports, "feedSetRef", SetRef);
  Export(exports, "feedClose", Close);
}

} // namespace bpf_ts
