// What the kernel says of a descriptor of the process: the peer of a Unix socket, and whether a file is being written.
import { checkInteger } from "./check.ts";
import { errno, kernelError, type Site, unwrap } from "./error.ts";
import { native } from "./native.ts";

/** The process that connected to a Unix socket, as it was then; `pid` is 0 where it is in no namespace of ours. */
export type PeerCredentials = { readonly pid: number; readonly uid: number; readonly gid: number };

/** Of the connected Unix socket with this descriptor (SO_PEERCRED). */
export function peerCredentials(fd: number): PeerCredentials {
  const site: Site = { operation: "descriptor.peerCredentials", object: `descriptor ${fd}` };
  checkInteger(site, "fd", fd, { max: 0x7fffffff });
  const [pid = 0, uid = 0, gid = 0] = unwrap(site, native.peerCredentials(fd));
  return { pid, uid, gid };
}

/** A file system without leases, or a file of another user without CAP_LEASE. */
const UNKNOWN: ReadonlySet<number> = new Set([
  errno.EINVAL,
  errno.EACCES,
  errno.EPERM,
  errno.ENOLCK,
  errno.EOPNOTSUPP,
]);

/**
 * Whether any process of the machine has the regular file open for writing, or mapped so. `fd` is open for reading alone.
 * Undefined if the kernel cannot say: it takes a lease (fcntl(2), F_SETLEASE), which not every file system has, and which
 * for another user's file needs CAP_LEASE. Answers at once; a writer that opens the file meanwhile waits for
 * microseconds.
 */
export function isOpenForWriting(fd: number): boolean | undefined {
  const site: Site = { operation: "descriptor.isOpenForWriting", object: `descriptor ${fd}` };
  checkInteger(site, "fd", fd, { max: 0x7fffffff });
  const rc = native.openForWriting(fd);
  if (rc >= 0) return rc === 1;
  if (UNKNOWN.has(-rc)) return undefined;
  throw kernelError(site, rc);
}
