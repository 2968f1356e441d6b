// Filters of the clsact qdisc, for kernels without tcx.
#include "async.h"
#include "log.h"
#include "netlink.h"

#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

struct Place {
  int ifindex;
  bool egress;
  uint32_t handle;
  uint32_t priority;
};

// Four arguments from `first` on: ifindex, egress, handle, priority.
Place PlaceArgs(const Napi::CallbackInfo &info, size_t first) {
  return {static_cast<int>(U32Arg(info, first)), BoolArg(info, first + 1),
          U32Arg(info, first + 2), U32Arg(info, first + 3)};
}

enum bpf_tc_attach_point Point(const Place &place) {
  return place.egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
}

int DestroyQdisc(int ifindex) {
  LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex,
              .attach_point = static_cast<enum bpf_tc_attach_point>(
                  BPF_TC_INGRESS | BPF_TC_EGRESS));
  return bpf_tc_hook_destroy(&both);
}

int Attach(const Place &place, int program, bool replace) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = place.ifindex,
              .attach_point = Point(place));
  int created = bpf_tc_hook_create(&hook);
  if (created < 0 && created != -EEXIST)
    return created;
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program,
              .flags = replace ? static_cast<__u32>(BPF_TC_F_REPLACE) : 0,
              .handle = place.handle, .priority = place.priority);
  int rc = bpf_tc_attach(&hook, &options);
  if (rc < 0 && created == 0)
    DestroyQdisc(place.ifindex);
  return rc < 0 ? rc : created == 0 ? 1 : 0;
}

int Detach(const Place &place, bool remove_qdisc) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = place.ifindex,
              .attach_point = Point(place));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = place.handle,
              .priority = place.priority);
  int rc = bpf_tc_detach(&hook, &options);
  if (rc < 0 || !remove_qdisc)
    return rc;
  int filters = CountClsactFilters(place.ifindex);
  return filters == 0 ? DestroyQdisc(place.ifindex) : std::min(filters, 0);
}

Napi::Value Logged(Napi::Env env, std::function<int()> work) {
  auto log = std::make_shared<std::string>();
  auto rc = std::make_shared<int>(0);
  return RunAsync(
      env,
      [log, rc, work = std::move(work)] {
        LogCapture capture;
        *rc = work();
        *log = capture.Take();
      },
      [log, rc](Napi::Env env) { return LoggedResult(env, *rc, *log); });
}

// (program, ifindex, egress, handle, priority, replace) → promise of rc, log;
// the rc is 1 where the qdisc was created for it
Napi::Value AttachFilter(const Napi::CallbackInfo &info) {
  FdRef program = FdArg(info, 0);
  Place place = PlaceArgs(info, 1);
  bool replace = BoolArg(info, 5);
  return Logged(info.Env(), [program, place, replace] {
    return Attach(place, program->get(), replace);
  });
}

// (ifindex, egress, handle, priority, remove qdisc) → promise of rc, log
Napi::Value DetachFilter(const Napi::CallbackInfo &info) {
  Place place = PlaceArgs(info, 0);
  bool remove_qdisc = BoolArg(info, 4);
  return Logged(info.Env(),
                [place, remove_qdisc] { return Detach(place, remove_qdisc); });
}

// (ifindex) → promise of rc, log; the rc is 1 where there are filters
Napi::Value RemoveEmpty(const Napi::CallbackInfo &info) {
  int ifindex = static_cast<int>(U32Arg(info, 0));
  return Logged(info.Env(), [ifindex] {
    int filters = CountClsactFilters(ifindex);
    return filters == 0 ? DestroyQdisc(ifindex) : std::min(filters, 1);
  });
}

// (ifindex, egress, handle, priority) → program id or rc
Napi::Value FindFilter(const Napi::CallbackInfo &info) {
  Place place = PlaceArgs(info, 0);
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = place.ifindex,
              .attach_point = Point(place));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = place.handle,
              .priority = place.priority);
  LogCapture discard; // an absent filter is an answer, not a message
  int rc = bpf_tc_query(&hook, &options);
  double id = options.prog_id; // as double: unsigned would swallow the sign
  return Number(info.Env(), rc < 0 ? rc : id);
}

} // namespace

void InitClsact(Napi::Object exports) {
  Export(exports, "clsactAttach", AttachFilter);
  Export(exports, "clsactDetach", DetachFilter);
  Export(exports, "clsactFind", FindFilter);
  Export(exports, "clsactRemoveEmpty", RemoveEmpty);
}

} // namespace bpf_ts
