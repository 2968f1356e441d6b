// The one question to rtnetlink that libbpf has no call for.
#pragma once

namespace bpf_ts {

// How many filters hang on a device's clsact qdisc, both directions together;
// 0 also where there is no such qdisc. A negative errno on failure.
int CountClsactFilters(int ifindex);

} // namespace bpf_ts
