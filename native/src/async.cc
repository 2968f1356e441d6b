// The one AsyncWorker of the addon.
#include "async.h"

#include <utility>

namespace bpf_ts {

namespace {

class Task : public Napi::AsyncWorker {
public:
  Task(Napi::Env env, std::function<void()> work,
       std::function<Napi::Value(Napi::Env)> finish)
      : Napi::AsyncWorker(env, "bpf-ts"), work_(std::move(work)),
        finish_(std::move(finish)), deferred_(env) {}

  void Execute() override { work_(); }
  void OnOK() override { deferred_.Resolve(finish_(Env())); }
  Napi::Promise Promise() const { return deferred_.Promise(); }

private:
  std::function<void()> work_;
  std::function<Napi::Value(Napi::Env)> finish_;
  Napi::Promise::Deferred deferred_;
};

} // namespace

Napi::Value RunAsync(Napi::Env env, std::function<void()> work,
                     std::function<Napi::Value(Napi::Env)> finish) {
  auto *task = new Task(env, std::move(work), std::move(finish));
  auto promise = task->Promise();
  task->Queue(); // deletes itself when done
  return promise;
}

Napi::Value RunAsync(Napi::Env env, std::function<int()> work) {
  auto rc = std::make_shared<int>(0);
  return RunAsync(
      env, [rc, work = std::move(work)] { *rc = work(); },
      [rc](Napi::Env env) { return Number(env, *rc); });
}

} // namespace bpf_ts
