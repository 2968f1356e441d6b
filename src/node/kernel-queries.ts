// Small queries of the kernel: the user at the other end of a Unix socket, and whether a file is being written.

import type { Socket } from "node:net";
import { peerCredentials } from "bpf-ts";

export { isOpenForWriting } from "bpf-ts";
// The user at the other end of a connection to a Unix socket.

/** "uid 1000": the user whose process connected; undefined where the connection has ended. */
export function userOf(socket: Socket): string | undefined {
  // No public interface of Node has a socket's descriptor.
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null };
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  return `uid ${peerCredentials(fd).uid}`;
}

// Whether a file is being written.
