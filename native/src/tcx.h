// The query of tcx attachments, for the files that ask for it.
#pragma once

#include "compat.h"

#include <vector>

namespace bpf_ts {

// Fills `attr`; of `ids` the first half are ids of programs, the second half
// those of their links. A negative errno on failure.
int QueryPrograms(uint32_t ifindex, uint32_t attach_type, ProgQueryAttr *attr,
                  std::vector<__u32> *ids);

} // namespace bpf_ts
