// A BPF ring buffer, waited for on a thread of its own and handed to the event
// loop in batches.
#include "feed.h"
#include "log.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

constexpr int kBatchFull = -ENOBUFS;

class Records : public Batch {
public:
  std::vector<napi_value> Arguments(Napi::Env env) override;

  std::vector<uint8_t> data;
  std::vector<uint32_t> offsets = {0}; // one more than records
};

std::vector<napi_value> Records::Arguments(Napi::Env env) {
  auto count = offsets.size() - 1;
  auto places = Napi::Uint32Array::New(env, offsets.size());
  if (places.IsEmpty())
    return {};
  std::copy(offsets.begin(), offsets.end(), places.Data());
  return {TakeBuffer(env, std::move(data)), places, Number(env, count)};
}

class Ring : public Feed {
public:
  Ring(FdRef map, size_t bytes_max)
      : map_(std::move(map)), bytes_max_(bytes_max) {}
  ~Ring() override { Release(); }

  int Open(); // 0 or a negative errno

private:
  static int OnRecord(void *context, void *data, size_t size);
  void Run() override;
  void Free() override { Release(); }
  void Release();

  FdRef map_;
  size_t bytes_max_;
  struct ring_buffer *buffer_ = nullptr;
  std::unique_ptr<Records> batch_;
};

void Ring::Release() {
  ring_buffer__free(buffer_);
  buffer_ = nullptr;
  map_.reset();
}

int Ring::Open() {
  errno = 0;
  buffer_ = ring_buffer__new(map_->get(), OnRecord, this, nullptr);
  return buffer_ ? OpenStop() : -errno;
}

int Ring::OnRecord(void *context, void *data, size_t size) {
  auto *ring = static_cast<Ring *>(context);
  auto *bytes = static_cast<uint8_t *>(data);
  Records *batch = ring->batch_.get();
  batch->data.insert(batch->data.end(), bytes, bytes + size);
  batch->offsets.push_back(static_cast<uint32_t>(batch->data.size()));
  return batch->data.size() >= ring->bytes_max_ ? kBatchFull : 0;
}

void Ring::Run() {
  while (Wait(ring_buffer__epoll_fd(buffer_))) {
    batch_ = std::make_unique<Records>();
    ring_buffer__consume(buffer_); // their number follows from the offsets
    if (batch_->offsets.size() > 1 && !Hand(std::move(batch_)))
      return;
  }
}

// (map, callback(data, offsets, count), bytes max) → { rc, log, handle }
Napi::Value Open(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  LogCapture capture;
  auto ring = std::make_shared<Ring>(FdArg(info, 0), U32Arg(info, 2));
  int rc = ring->Open();
  auto result = LoggedResult(env, rc, capture.Take());
  if (rc == 0)
    result.Set("handle",
               StartFeed(std::move(ring), info[1].As<Napi::Function>(),
                         "bpf-ts.ring"));
  return result;
}

} // namespace

void InitRingBuffer(Napi::Object exports) { Export(exports, "ringOpen", Open); }

} // namespace bpf_ts
