// The state that a ring buffer's thread and the event loop share.
#pragma once

#include "common.h"

#include <bpf/libbpf.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace bpf_ts {

struct Batch {
  std::vector<uint8_t> data;
  std::vector<uint32_t> offsets = {0}; // one more than records
};

class Ring;
using RingRef = std::shared_ptr<Ring>;

void Deliver(Napi::Env env, Napi::Function callback, RingRef *ring,
             Batch *batch);
using Callback = Napi::TypedThreadSafeFunction<RingRef, Batch, Deliver>;

// One batch is under way at a time: while JavaScript is busy, records wait in
// the kernel's buffer (and are refused there when it is full), not in ours.
class Ring {
public:
  Ring(FdRef map, size_t bytes_max)
      : map_(std::move(map)), bytes_max_(bytes_max) {}
  ~Ring();

  int Open(); // 0 or a negative errno
  void Start(Callback callback);
  void Stop(); // idempotent; after it nothing is delivered any more
  void Delivered();
  void SetRef(Napi::Env env, bool on);
  bool stopping() const { return stopping_; }

private:
  static int OnRecord(void *context, void *data, size_t size);
  void Free();
  bool Hand(); // gives batch_ to the event loop; false when it is time to end
  void Run();

  FdRef map_;
  size_t bytes_max_;
  FdRef stop_; // an eventfd that ends the thread's waiting
  struct ring_buffer *buffer_ = nullptr;
  std::unique_ptr<Batch> batch_;
  Callback callback_;
  bool callback_gone_ = false; // written by the thread, read after its end
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable delivered_;
  bool pending_ = false;
  std::atomic<bool> stopping_ = false;
};

} // namespace bpf_ts
