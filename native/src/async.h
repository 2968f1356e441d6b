// Runs blocking work on libuv's thread pool and resolves a promise with what
// it made.
#pragma once

#include "common.h"

#include <functional>

namespace bpf_ts {

// `work` runs on another thread and must not touch JavaScript; `finish` runs
// on the event loop afterwards and makes the promise's value. They share what
// they need through captured shared pointers.
Napi::Value RunAsync(Napi::Env env, std::function<void()> work,
                     std::function<Napi::Value(Napi::Env)> finish);

// The same where the result is only a number: 0 or more, or a negative errno.
Napi::Value RunAsync(Napi::Env env, std::function<int()> work);

} // namespace bpf_ts
