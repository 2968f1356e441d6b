// Loaded programs: their info, and test runs.
#include "async.h"

#include <bpf/bpf.h>

#include <cstdio>
#include <utility>

namespace bpf_ts {

namespace {

std::string Hex(const __u8 *bytes, size_t count) {
  std::string text;
  char digits[3];
  for (size_t i = 0; i < count; i++) {
    snprintf(digits, sizeof(digits), "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

Napi::Value MapIds(Napi::Env env, int fd, __u32 count) {
  std::vector<__u32> ids(count);
  struct bpf_prog_info raw = {};
  raw.nr_map_ids = count;
  raw.map_ids = Pointer(ids.data());
  __u32 size = sizeof(raw);
  int rc = count ? bpf_obj_get_info_by_fd(fd, &raw, &size) : 0;
  auto list = Napi::Array::New(env);
  for (__u32 i = 0; rc == 0 && i < count; i++)
    list.Set(i, Number(env, ids[i]));
  return list;
}

Napi::Value Info(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  FdRef fd = FdArg(info, 0);
  struct bpf_prog_info raw = {};
  __u32 size = sizeof(raw);
  int rc = bpf_obj_get_info_by_fd(fd->get(), &raw, &size);
  if (rc < 0)
    return Number(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("id", Number(env, raw.id));
  result.Set("name", raw.name);
  result.Set("type", Number(env, raw.type));
  result.Set("tag", Hex(raw.tag, sizeof(raw.tag)));
  result.Set("jitedSize", Number(env, raw.jited_prog_len));
  result.Set("translatedSize", Number(env, raw.xlated_prog_len));
  result.Set("verifiedInstructions", Number(env, raw.verified_insns));
  result.Set("loadTime", Number(env, raw.load_time));
  result.Set("btfId", Number(env, raw.btf_id));
  result.Set("runTimeNs", Number(env, raw.run_time_ns));
  result.Set("runCount", Number(env, raw.run_cnt));
  result.Set("mapIds", MapIds(env, fd->get(), raw.nr_map_ids));
  return result;
}

struct TestRun {
  FdRef fd;
  std::vector<uint8_t> data;
  std::vector<uint8_t> context;
  std::vector<uint8_t> data_out;
  std::vector<uint8_t> context_out;
  __u32 repeat;
  __u32 flags;
  __u32 cpu;
  __u32 result = 0;
  __u32 duration = 0;
  int rc = 0;
};

uint8_t *OrNull(std::vector<uint8_t> *bytes) {
  return bytes->empty() ? nullptr : bytes->data();
}

void Run(TestRun *run) {
  run->context_out.resize(run->context.size());
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = OrNull(&run->data),
              .data_out = OrNull(&run->data_out),
              .data_size_in = static_cast<__u32>(run->data.size()),
              .data_size_out = static_cast<__u32>(run->data_out.size()),
              .ctx_in = OrNull(&run->context),
              .ctx_out = OrNull(&run->context_out),
              .ctx_size_in = static_cast<__u32>(run->context.size()),
              .ctx_size_out = static_cast<__u32>(run->context_out.size()),
              .repeat = static_cast<int>(run->repeat), .flags = run->flags,
              .cpu = run->cpu);
  run->rc = bpf_prog_test_run_opts(run->fd->get(), &options);
  if (run->rc < 0)
    return;
  run->result = options.retval;
  run->duration = options.duration;
  run->data_out.resize(
      std::min<size_t>(run->data_out.size(), options.data_size_out));
  run->context_out.resize(
      std::min<size_t>(run->context_out.size(), options.ctx_size_out));
}

Napi::Value RunResult(Napi::Env env, TestRun *run) {
  if (run->rc < 0)
    return Number(env, run->rc);
  auto result = Napi::Object::New(env);
  result.Set("result", Number(env, run->result));
  result.Set("dataOut", TakeBuffer(env, std::move(run->data_out)));
  result.Set("contextOut", TakeBuffer(env, std::move(run->context_out)));
  result.Set("duration", Number(env, run->duration));
  return result;
}

// (program, data, context, { repeat, dataOutSize, flags, cpu })
std::shared_ptr<TestRun> ReadTestRun(const Napi::CallbackInfo &info) {
  auto options = info[3].As<Napi::Object>();
  auto number = [&options](const char *name) {
    return options.Get(name).As<Napi::Number>().Uint32Value();
  };
  auto run = std::make_shared<TestRun>();
  run->fd = FdArg(info, 0);
  run->data = BytesCopy(info, 1);
  run->context = BytesCopy(info, 2);
  run->data_out.resize(number("dataOutSize"));
  run->repeat = number("repeat");
  run->flags = number("flags");
  run->cpu = number("cpu");
  return run;
}

Napi::Value TestRunSync(const Napi::CallbackInfo &info) {
  auto run = ReadTestRun(info);
  Run(run.get());
  return RunResult(info.Env(), run.get());
}

Napi::Value TestRunAsync(const Napi::CallbackInfo &info) {
  auto run = ReadTestRun(info);
  return RunAsync(
      info.Env(), [run] { Run(run.get()); },
      [run](Napi::Env env) { return RunResult(env, run.get()); });
}

} // namespace

void InitProgram(Napi::Object exports) {
  Export(exports, "programInfo", Info);
  Export(exports, "programTestRun", TestRunSync);
  Export(exports, "programTestRunAsync", TestRunAsync);
}

} // namespace bpf_ts
