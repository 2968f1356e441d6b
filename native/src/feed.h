// A thread that waits for something of the kernel's and hands it to the event
// loop in batches.
#pragma once

#include "common.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace bpf_ts {

class Batch {
public:
  virtual ~Batch() = default;
  // What the callback is called with. Empty where the environment is going
  // down and makes no objects any more.
  virtual std::vector<napi_value> Arguments(Napi::Env env) = 0;
};

class Feed;
using FeedRef = std::shared_ptr<Feed>;

void Deliver(Napi::Env env, Napi::Function callback, FeedRef *feed,
             Batch *batch);
using Callback = Napi::TypedThreadSafeFunction<FeedRef, Batch, Deliver>;

// One batch is under way at a time: while JavaScript is busy, what comes waits
// in the kernel's buffer (and is refused there when it is full), not in ours.
class Feed {
public:
  virtual ~Feed() = default;

  void Stop(); // idempotent; after it nothing is delivered any more
  void Delivered();
  void SetRef(Napi::Env env, bool on);
  bool stopping() const { return stopping_; }

protected:
  // Runs on the thread until it is stopped.
  virtual void Run() = 0;
  // Gives back what the kernel holds for it; the thread has ended.
  virtual void Free() = 0;

  int OpenStop(); // 0 or a negative errno
  // Waits until there is something to read, or it is time to end: then false.
  bool Wait(int descriptor);
  // Gives a batch to the event loop; false when it is time to end.
  bool Hand(std::unique_ptr<Batch> batch);

private:
  friend Napi::Value StartFeed(FeedRef feed, Napi::Function callback,
                               const char *name);

  FdRef stop_; // an eventfd that ends the thread's waiting
  Callback callback_;
  bool callback_gone_ = false; // written by the thread, read after its end
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable delivered_;
  bool pending_ = false;
  std::atomic<bool> stopping_ = false;
};

// Starts the thread and gives back what JavaScript holds of it.
Napi::Value StartFeed(FeedRef feed, Napi::Function callback, const char *name);

} // namespace bpf_ts
