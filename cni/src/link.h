// Which interface of the node is the other end of a pod's: queried from the
// kernel inside the pod's network namespace.
#pragma once

#include <string>

namespace weir {

struct Link {
  // Null where both indexes are known.
  const char *error = nullptr;
  int error_number = 0;
  // Of the interface itself, in the namespace.
  int ifindex = 0;
  // Of its other end, in whichever namespace that is.
  int peer = 0;
};

// Takes the calling process into the namespace for good: sockets with a path
// are not bound to it, and nothing else comes after.
Link LinkIn(const std::string &netns, const std::string &interface);

} // namespace weir
