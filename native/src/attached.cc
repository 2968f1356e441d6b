// Which programs are attached to many devices at once: tcx, filters of the
// clsact qdisc, and XDP.
#include "async.h"
#include "compat.h"
#include "netlink.h"
#include "tcx.h"

#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace bpf_ts {

namespace {

// A place as JavaScript encodes it: the device, and one of these.
enum PlaceKind : uint32_t {
  kTcxIngress,
  kTcxEgress,
  kClsactIngress,
  kClsactEgress,
  kXdp,
};

// Program ids in the order in which packets meet them, or a negative errno.
struct Found {
  int rc = 0;
  std::vector<uint32_t> ids;
};

template <typename Use>
void EachAttribute(const void *first, int size, Use use) {
  auto *attribute = static_cast<const struct rtattr *>(first);
  for (; RTA_OK(attribute, size); attribute = RTA_NEXT(attribute, size))
    use(attribute->rta_type & NLA_TYPE_MASK, RTA_DATA(attribute),
        static_cast<int>(RTA_PAYLOAD(attribute)));
}

uint32_t U32(const void *data, int size) {
  uint32_t value = 0;
  if (size >= static_cast<int>(sizeof(value)))
    memcpy(&value, data, sizeof(value));
  return value;
}

Found FindTcx(uint32_t ifindex, uint32_t attach_type) {
  ProgQueryAttr attr;
  std::vector<__u32> ids;
  Found found;
  found.rc = QueryPrograms(ifindex, attach_type, &attr, &ids);
  if (found.rc >= 0)
    found.ids.assign(ids.begin(), ids.begin() + attr.count);
  return found;
}

// Filters of other kinds than BPF count as program 0. The kernel walks chains
// and priorities in the order in which packets go through them; chains after
// the first are met only by packets that a filter sends there.
Found FindClsact(int socket, uint32_t ifindex, uint32_t minor) {
  struct tcmsg body = {};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(ifindex);
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, minor);
  Found found;
  Request request(RTM_GETTFILTER, NLM_F_DUMP, &body, sizeof(body));
  found.rc = Ask(socket, request, [&](const struct nlmsghdr *message) {
    if (message->nlmsg_type != RTM_NEWTFILTER ||
        message->nlmsg_len < NLMSG_LENGTH(sizeof(struct tcmsg)))
      return;
    auto *filter = static_cast<const struct tcmsg *>(NLMSG_DATA(message));
    uint32_t chain = 0, program = 0;
    bool has_options = false, is_bpf = false;
    EachAttribute(
        TCA_RTA(filter),
        static_cast<int>(NLMSG_PAYLOAD(message, sizeof(struct tcmsg))),
        [&](int type, const void *data, int size) {
          if (type == TCA_CHAIN)
            chain = U32(data, size);
          // It comes before the options, whose numbers mean something else
          // for each kind.
          if (type == TCA_KIND)
            is_bpf = size == 4 && memcmp(data, "bpf", 4) == 0;
          if (type != TCA_OPTIONS)
            return;
          has_options = true;
          EachAttribute(data, size, [&](int option, const void *bytes, int n) {
            if (is_bpf && option == TCA_BPF_ID)
              program = U32(bytes, n);
          });
        });
    // Without a handle it is the head of a list of filters.
    if (chain == 0 && has_options && filter->tcm_handle != 0)
      found.ids.push_back(program);
  });
  // EINVAL: the device has no clsact qdisc.
  if (found.rc == -EINVAL)
    found.rc = 0;
  return found;
}

Found FindXdp(int socket, uint32_t ifindex) {
  struct ifinfomsg body = {};
  body.ifi_family = AF_UNSPEC;
  body.ifi_index = static_cast<int>(ifindex);
  Found found;
  Request request(RTM_GETLINK, 0, &body, sizeof(body));
  request.Add(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  found.rc = Ask(socket, request, [&](const struct nlmsghdr *message) {
    if (message->nlmsg_type != RTM_NEWLINK ||
        message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
      return;
    auto *link = static_cast<const struct ifinfomsg *>(NLMSG_DATA(message));
    uint32_t native = 0, generic = 0, hardware = 0;
    EachAttribute(
        IFLA_RTA(link),
        static_cast<int>(NLMSG_PAYLOAD(message, sizeof(struct ifinfomsg))),
        [&](int type, const void *data, int size) {
          if (type != IFLA_XDP)
            return;
          EachAttribute(data, size, [&](int which, const void *bytes, int n) {
            if (which == IFLA_XDP_DRV_PROG_ID)
              native = U32(bytes, n);
            else if (which == IFLA_XDP_SKB_PROG_ID)
              generic = U32(bytes, n);
            else if (which == IFLA_XDP_HW_PROG_ID)
              hardware = U32(bytes, n);
          });
        });
    for (uint32_t id : {hardware, native, generic})
      if (id != 0)
        found.ids.push_back(id);
  });
  return found;
}

Found Find(int socket, uint32_t ifindex, uint32_t kind) {
  switch (kind) {
  case kTcxIngress:
    return FindTcx(ifindex, kAttachTcxIngress);
  case kTcxEgress:
    return FindTcx(ifindex, kAttachTcxEgress);
  case kClsactIngress:
    return FindClsact(socket, ifindex, TC_H_MIN_INGRESS);
  case kClsactEgress:
    return FindClsact(socket, ifindex, TC_H_MIN_EGRESS);
  case kXdp:
    return FindXdp(socket, ifindex);
  }
  return {-EINVAL, {}};
}

// (places: bytes of pairs of u32, ifindex and kind) → promise of an array with
// the ids of each place or a negative errno, or of one rc for all.
Napi::Value AttachedPrograms(const Napi::CallbackInfo &info) {
  std::vector<uint8_t> places = BytesCopy(info, 0);
  auto results = std::make_shared<std::vector<Found>>();
  auto failure = std::make_shared<int>(0);
  return RunAsync(
      info.Env(),
      [places, results, failure] {
        // One socket for all: opening one costs as much as a question.
        Fd socket(OpenRoute(""));
        if (socket.get() < 0) {
          *failure = socket.get();
          return;
        }
        for (size_t at = 0; at + 8 <= places.size(); at += 8) {
          uint32_t place[2];
          memcpy(place, places.data() + at, sizeof(place));
          results->push_back(Find(socket.get(), place[0], place[1]));
        }
      },
      [results, failure](Napi::Env env) -> Napi::Value {
        if (*failure < 0)
          return Number(env, *failure);
        auto all = Napi::Array::New(env, results->size());
        for (uint32_t i = 0; i < results->size(); i++) {
          const Found &found = (*results)[i];
          if (found.rc < 0) {
            all.Set(i, Number(env, found.rc));
            continue;
          }
          auto ids = Napi::Array::New(env, found.ids.size());
          for (uint32_t j = 0; j < found.ids.size(); j++)
            ids.Set(j, Number(env, found.ids[j]));
          all.Set(i, ids);
        }
        return all;
      });
}

} // namespace

void InitAttached(Napi::Object exports) {
  Export(exports, "attachedPrograms", AttachedPrograms);
}

} // namespace bpf_ts
