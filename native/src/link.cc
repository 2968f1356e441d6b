// tcx and XDP links, by bpf(2) itself: libbpf 1.1 has no tcx.
#include "async.h"
#include "compat.h"
#include "tcx.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cstring>
#include <utility>

namespace bpf_ts {

namespace {

// (program, ifindex, attach type, flags) → promise of handle or rc
Napi::Value Create(const Napi::CallbackInfo &info) {
  FdRef program = FdArg(info, 0);
  LinkCreateAttr attr = {};
  attr.target_ifindex = U32Arg(info, 1);
  attr.attach_type = U32Arg(info, 2);
  attr.flags = U32Arg(info, 3);
  auto made = std::make_shared<FdRef>();
  return RunAsync(
      info.Env(),
      [program, attr, made]() mutable {
        attr.prog_fd = static_cast<__u32>(program->get());
        *made = std::make_shared<Fd>(Bpf(BPF_LINK_CREATE, &attr));
      },
      [made](Napi::Env env) { return WrapFd(env, std::move(*made)); });
}

Napi::Value Update(const Napi::CallbackInfo &info) {
  FdRef link = FdArg(info, 0);
  FdRef program = FdArg(info, 1);
  return RunAsync(info.Env(), [link, program] {
    return bpf_link_update(link->get(), program->get(), nullptr);
  });
}

Napi::Value Detach(const Napi::CallbackInfo &info) {
  FdRef link = FdArg(info, 0);
  return RunAsync(info.Env(), [link] { return bpf_link_detach(link->get()); });
}

// { id, type, programId, ifindex, attachType }; the last two are 0 for links
// that are neither tcx nor XDP, and ifindex is 0 when the device has gone.
Napi::Value Info(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  struct bpf_link_info raw = {};
  __u32 size = sizeof(raw);
  int rc = bpf_obj_get_info_by_fd(FdArg(info, 0)->get(), &raw, &size);
  if (rc < 0)
    return Number(env, rc);
  TcxLinkInfo device = {};
  if (raw.type == kLinkTypeTcx)
    std::memcpy(&device, &raw.xdp, sizeof(device));
  else if (raw.type == BPF_LINK_TYPE_XDP)
    device = {raw.xdp.ifindex, BPF_XDP};
  auto result = Napi::Object::New(env);
  result.Set("id", Number(env, raw.id));
  result.Set("type", Number(env, raw.type));
  result.Set("programId", Number(env, raw.prog_id));
  result.Set("ifindex", Number(env, device.ifindex));
  result.Set("attachType", Number(env, device.attach_type));
  return result;
}

// (ifindex, attach type) → { programIds, linkIds, revision } or rc; a program
// attached without a link has link id 0.
Napi::Value QueryTcx(const Napi::CallbackInfo &info) {
  auto env = info.Env();
  ProgQueryAttr attr;
  std::vector<__u32> ids;
  int rc = QueryPrograms(U32Arg(info, 0), U32Arg(info, 1), &attr, &ids);
  if (rc < 0)
    return Number(env, rc);
  auto programs = Napi::Array::New(env);
  auto links = Napi::Array::New(env);
  for (__u32 i = 0; i < attr.count; i++) {
    programs.Set(i, Number(env, ids[i]));
    links.Set(i, Number(env, ids[ids.size() / 2 + i]));
  }
  auto result = Napi::Object::New(env);
  result.Set("programIds", programs);
  result.Set("linkIds", links);
  result.Set("revision", Number(env, attr.revision));
  return result;
}

} // namespace

int QueryPrograms(uint32_t ifindex, uint32_t attach_type, ProgQueryAttr *attr,
                  std::vector<__u32> *ids) {
  // Programs may be added between the two calls, hence the loop.
  for (__u32 room = 16;; room *= 2) {
    ids->assign(size_t{room} * 2, 0);
    *attr = {};
    attr->target_ifindex = ifindex;
    attr->attach_type = attach_type;
    attr->count = room;
    attr->prog_ids = Pointer(ids->data());
    attr->link_ids = Pointer(ids->data() + room);
    int rc = Bpf(BPF_PROG_QUERY, attr);
    if (rc != -ENOSPC || room >= 4096)
      return rc;
  }
}

void InitLink(Napi::Object exports) {
  Export(exports, "linkCreate", Create);
  Export(exports, "linkUpdate", Update);
  Export(exports, "linkDetach", Detach);
  Export(exports, "linkInfo", Info);
  Export(exports, "queryTcx", QueryTcx);
}

} // namespace bpf_ts
