// Whole maps and many elements at once, off the event loop: the kernel's batch
// commands where the map type has them, one element at a time where not.
#include "async.h"

#include <bpf/bpf.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

namespace bpf_ts {

namespace {

constexpr int kErrnoNotSupported = 524; // the kernel's own ENOTSUPP
constexpr size_t kChunkBytes = 1 << 20;

struct Shape {
  size_t key;   // bytes
  size_t value; // bytes as read and written: all CPUs' values if per-CPU
  size_t entries_max;
  bool bounded; // the kernel walks it once, whatever others change meanwhile
  bool slots;   // an array of maps
};

struct Entries {
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  size_t count = 0;
  int rc = 0;
};

// Kernels without the command say EINVAL, map types without it ENOTSUPP.
bool LacksBatch(int rc) { return rc == -kErrnoNotSupported || rc == -EINVAL; }

void Grow(Entries *entries, const Shape &shape, size_t count) {
  entries->keys.resize(count * shape.key);
  entries->values.resize(count * shape.value);
}

// A walk by keys starts over when the current key is deleted. Without a
// bound, a busy map could be walked for ever.
bool Runaway(const Entries &entries, const Shape &shape) {
  return !shape.bounded && entries.count > shape.entries_max;
}

int ReadByBatch(int fd, const Shape &shape, Entries *entries) {
  size_t chunk = std::clamp<size_t>(kChunkBytes / (shape.key + shape.value), 64,
                                    std::max<size_t>(shape.entries_max, 64));
  std::vector<uint8_t> position(std::max<size_t>(shape.key, 8));
  std::vector<uint8_t> next(position.size());
  bool first = true;
  for (;;) {
    Grow(entries, shape, entries->count + chunk);
    __u32 count = static_cast<__u32>(chunk);
    int rc = bpf_map_lookup_batch(
        fd, first ? nullptr : position.data(), next.data(),
        entries->keys.data() + entries->count * shape.key,
        entries->values.data() + entries->count * shape.value, &count, nullptr);
    if (rc == -ENOSPC) { // a hash bucket holds more than a chunk
      chunk *= 2;
      continue;
    }
    if (rc < 0 && rc != -ENOENT)
      return rc;
    entries->count += count;
    if (rc == -ENOENT)
      return 0;
    if (Runaway(*entries, shape))
      return -EAGAIN;
    position.swap(next);
    first = false;
  }
}

int ReadByKey(int fd, const Shape &shape, Entries *entries) {
  std::vector<uint8_t> key(shape.key);
  std::vector<uint8_t> next(shape.key);
  int rc = bpf_map_get_next_key(fd, nullptr, next.data());
  while (rc == 0) {
    key.swap(next);
    if ((entries->count + 1) * shape.key > entries->keys.size())
      Grow(entries, shape, std::max<size_t>(64, entries->count * 2));
    uint8_t *value = entries->values.data() + entries->count * shape.value;
    rc = bpf_map_lookup_elem(fd, key.data(), value);
    if (rc == 0) {
      std::copy(key.begin(), key.end(),
                entries->keys.begin() + entries->count * shape.key);
      entries->count++;
    } else if (rc != -ENOENT) { // ENOENT: deleted since, or an empty slot
      return rc;
    }
    if (Runaway(*entries, shape))
      return -EAGAIN;
    rc = bpf_map_get_next_key(fd, key.data(), next.data());
  }
  return rc == -ENOENT ? 0 : rc;
}

// Slots from `first` up to, not including, `last` of an array of maps.
struct Span {
  int fd;
  __u32 first;
  __u32 last;
  Entries found;
  pthread_t thread;
  bool threaded;
};

void *ReadSpan(void *argument) {
  auto *span = static_cast<Span *>(argument);
  for (__u32 slot = span->first; slot < span->last; slot++) {
    __u32 id = 0;
    int rc = bpf_map_lookup_elem(span->fd, &slot, &id);
    if (rc == -ENOENT) // an empty slot
      continue;
    if (rc < 0) {
      span->found.rc = rc;
      break;
    }
    auto append = [](std::vector<uint8_t> *to, const __u32 &number) {
      auto *bytes = reinterpret_cast<const uint8_t *>(&number);
      to->insert(to->end(), bytes, bytes + sizeof(number));
    };
    append(&span->found.keys, slot);
    append(&span->found.values, id);
    span->found.count++;
  }
  return nullptr;
}

// On Linux 6.1 every look into a slot, empty or not, waits for an RCU grace
// period: 12 ms, half a minute for 2,048 slots. Many threads wait together.
void ReadSlots(int fd, const Shape &shape, Entries *entries) {
  constexpr size_t kSpanSlots = 32, kSpansMax = 64;
  size_t size = std::max(kSpanSlots, shape.entries_max / kSpansMax + 1);
  std::vector<Span> spans;
  for (size_t first = 0; first < shape.entries_max; first += size)
    spans.push_back(
        {fd,
         static_cast<__u32>(first),
         static_cast<__u32>(std::min(first + size, shape.entries_max)),
         {},
         {},
         false});
  for (Span &span : spans) {
    span.threaded = pthread_create(&span.thread, nullptr, ReadSpan, &span) == 0;
    if (!span.threaded) // for want of memory or of threads
      ReadSpan(&span);
  }
  for (Span &span : spans) {
    if (span.threaded)
      pthread_join(span.thread, nullptr);
    const Entries &found = span.found;
    entries->keys.insert(entries->keys.end(), found.keys.begin(),
                         found.keys.end());
    entries->values.insert(entries->values.end(), found.values.begin(),
                           found.values.end());
    entries->count += found.count;
    if (entries->rc == 0)
      entries->rc = found.rc;
  }
}

void ReadAll(int fd, const Shape &shape, Entries *entries) {
  if (shape.slots)
    return ReadSlots(fd, shape, entries);
  for (int attempt = 0; attempt < 4; attempt++) {
    entries->count = 0;
    entries->rc = ReadByBatch(fd, shape, entries);
    if (LacksBatch(entries->rc)) {
      entries->count = 0;
      entries->rc = ReadByKey(fd, shape, entries);
    }
    if (entries->rc != -EAGAIN && entries->rc != -EINTR)
      break;
  }
  Grow(entries, shape, entries->rc == 0 ? entries->count : 0);
}

// (map, key bytes, value bytes, entries max, bounded, slots)
Napi::Value ReadEntries(const Napi::CallbackInfo &info) {
  FdRef fd = FdArg(info, 0);
  Shape shape = {U32Arg(info, 1), U32Arg(info, 2), U32Arg(info, 3),
                 BoolArg(info, 4), BoolArg(info, 5)};
  auto entries = std::make_shared<Entries>();
  return RunAsync(
      info.Env(),
      [fd, shape, entries] { ReadAll(fd->get(), shape, entries.get()); },
      [entries](Napi::Env env) -> Napi::Value {
        if (entries->rc < 0)
          return Number(env, entries->rc);
        auto result = Napi::Object::New(env);
        result.Set("count", Number(env, entries->count));
        result.Set("keys", TakeBuffer(env, std::move(entries->keys)));
        result.Set("values", TakeBuffer(env, std::move(entries->values)));
        return result;
      });
}

struct Batch {
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  size_t key_size;
  size_t value_size;
  __u32 count;
  uint64_t flags;
  __u32 done = 0;
  int rc = 0;
};

int UpdateAll(int fd, Batch *batch) {
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = batch->flags);
  batch->done = batch->count;
  int rc = bpf_map_update_batch(fd, batch->keys.data(), batch->values.data(),
                                &batch->done, &options);
  if (rc == 0)
    return 0;
  // The count comes back only from kernels that got as far as the loop.
  if (!LacksBatch(rc))
    return rc;
  for (batch->done = 0; batch->done < batch->count; batch->done++) {
    rc = bpf_map_update_elem(
        fd, batch->keys.data() + batch->done * batch->key_size,
        batch->values.data() + batch->done * batch->value_size, batch->flags);
    if (rc < 0)
      return rc;
  }
  return 0;
}

// One share of the elements, for one thread.
struct Share {
  const std::function<int(__u32)> *work;
  __u32 first;
  __u32 step;
  __u32 count;
  __u32 done;
  int rc;
  pthread_t thread;
  bool threaded;
};

void *RunShare(void *argument) {
  auto *share = static_cast<Share *>(argument);
  for (__u32 i = share->first; i < share->count && share->rc == 0;
       i += share->step) {
    int rc = (*share->work)(i);
    if (rc == 0)
      share->done++;
    else if (rc != -ENOENT)
      share->rc = rc;
  }
  return nullptr;
}

// A write of a slot of an array of maps waits for an RCU grace period: many
// threads wait together. ENOENT counts as neither done nor failed.
int SideBySide(__u32 from, __u32 count, __u32 *done,
               const std::function<int(__u32)> &work) {
  constexpr __u32 kThreadsMax = 64;
  __u32 threads = std::min(count - from, kThreadsMax);
  std::vector<Share> shares;
  for (__u32 i = 0; i < threads; i++)
    shares.push_back({&work, from + i, threads, count, 0, 0, {}, false});
  for (Share &share : shares) {
    share.threaded = threads > 1 && pthread_create(&share.thread, nullptr,
                                                   RunShare, &share) == 0;
    if (!share.threaded)
      RunShare(&share);
  }
  int rc = 0;
  for (Share &share : shares) {
    if (share.threaded)
      pthread_join(share.thread, nullptr);
    *done += share.done;
    if (rc == 0)
      rc = share.rc;
  }
  return rc;
}

int DeleteOneByOne(int fd, Batch *batch, __u32 from) {
  return SideBySide(from, batch->count, &batch->done, [fd, batch](__u32 i) {
    return bpf_map_delete_elem(fd, batch->keys.data() + i * batch->key_size);
  });
}

// The batch command stops at the first absent key; step over it and go on.
int DeleteAll(int fd, Batch *batch) {
  __u32 from = 0;
  while (from < batch->count) {
    __u32 count = batch->count - from;
    int rc = bpf_map_delete_batch(
        fd, batch->keys.data() + from * batch->key_size, &count, nullptr);
    if (LacksBatch(rc))
      return DeleteOneByOne(fd, batch, from);
    batch->done += count;
    if (rc == 0)
      return 0;
    if (rc != -ENOENT)
      return rc;
    from += count + 1;
  }
  return 0;
}

Napi::Value BatchResult(Napi::Env env, const Batch &batch) {
  auto result = Napi::Object::New(env);
  result.Set("rc", Number(env, batch.rc));
  result.Set("done", Number(env, batch.done));
  return result;
}

Napi::Value RunBatch(Napi::Env env, FdRef fd, std::shared_ptr<Batch> batch,
                     int (*run)(int, Batch *)) {
  return RunAsync(
      env, [fd, batch, run] { batch->rc = run(fd->get(), batch.get()); },
      [batch](Napi::Env env) { return BatchResult(env, *batch); });
}

// (map, keys, values, count, flags) → promise of { rc, done }; count > 0
Napi::Value UpdateBatch(const Napi::CallbackInfo &info) {
  auto batch = std::make_shared<Batch>();
  batch->keys = BytesCopy(info, 1);
  batch->values = BytesCopy(info, 2);
  batch->count = std::max<__u32>(1, U32Arg(info, 3));
  batch->key_size = batch->keys.size() / batch->count;
  batch->value_size = batch->values.size() / batch->count;
  batch->flags = U64Arg(info, 4);
  return RunBatch(info.Env(), FdArg(info, 0), batch, UpdateAll);
}

// (map, keys, count) → promise of { rc, done }; count > 0
Napi::Value DeleteBatch(const Napi::CallbackInfo &info) {
  auto batch = std::make_shared<Batch>();
  batch->keys = BytesCopy(info, 1);
  batch->count = std::max<__u32>(1, U32Arg(info, 2));
  batch->key_size = batch->keys.size() / batch->count;
  return RunBatch(info.Env(), FdArg(info, 0), batch, DeleteAll);
}

// (map, keys, inner map...) → promise of { rc, done }: a key for each inner
// map, whose descriptor must stay open until the call is through.
Napi::Value SetInners(const Napi::CallbackInfo &info) {
  constexpr size_t kInnersFrom = 2;
  auto batch = std::make_shared<Batch>();
  auto inners = std::make_shared<std::vector<FdRef>>();
  for (size_t i = kInnersFrom; i < info.Length(); i++)
    inners->push_back(FdArg(info, i));
  batch->keys = BytesCopy(info, 1);
  batch->count = static_cast<__u32>(inners->size());
  batch->key_size = batch->keys.size() / std::max<__u32>(1, batch->count);
  FdRef fd = FdArg(info, 0);
  return RunAsync(
      info.Env(),
      [fd, batch, inners] {
        batch->rc = SideBySide(
            0, batch->count, &batch->done, [fd, batch, inners](__u32 i) {
              __u32 inner = static_cast<__u32>((*inners)[i]->get());
              return bpf_map_update_elem(
                  fd->get(), batch->keys.data() + i * batch->key_size, &inner,
                  BPF_ANY);
            });
      },
      [batch](Napi::Env env) { return BatchResult(env, *batch); });
}

// (keys, values, map...) → promise of { rc, done }: an element for each map,
// all of one size. A map may come several times.
Napi::Value UpdateEach(const Napi::CallbackInfo &info) {
  constexpr size_t kMapsFrom = 2;
  auto batch = std::make_shared<Batch>();
  auto maps = std::make_shared<std::vector<FdRef>>();
  for (size_t i = kMapsFrom; i < info.Length(); i++)
    maps->push_back(FdArg(info, i));
  batch->keys = BytesCopy(info, 0);
  batch->values = BytesCopy(info, 1);
  batch->count = static_cast<__u32>(maps->size());
  batch->key_size = batch->keys.size() / std::max<__u32>(1, batch->count);
  batch->value_size = batch->values.size() / std::max<__u32>(1, batch->count);
  return RunAsync(
      info.Env(),
      [batch, maps] {
        for (__u32 i = 0; i < batch->count && batch->rc == 0; i++) {
          batch->rc = bpf_map_update_elem(
              (*maps)[i]->get(), batch->keys.data() + i * batch->key_size,
              batch->values.data() + i * batch->value_size, BPF_ANY);
          batch->done += batch->rc == 0;
        }
      },
      [batch](Napi::Env env) { return BatchResult(env, *batch); });
}

} // namespace

void InitMapBulk(Napi::Object exports) {
  Export(exports, "mapEntries", ReadEntries);
  Export(exports, "mapUpdateBatch", UpdateBatch);
  Export(exports, "mapDeleteBatch", DeleteBatch);
  Export(exports, "mapSetInners", SetInners);
  Export(exports, "mapUpdateEach", UpdateEach);
}

} // namespace bpf_ts
