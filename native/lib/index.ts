// bpf-ts: typed libbpf for Node.js. What is exported here is the whole interface.
export { attachedPrograms, type Hook } from "./attached.ts";
export { Btf } from "./btf.ts";
export type { BtfKind, BtfMember, BtfType, BtfVariable } from "./btf-decode.ts";
export { MapFlag, MapType, ProgramType, UpdateFlag } from "./constants.ts";
export { isOpenForWriting, type PeerCredentials, peerCredentials } from "./descriptor.ts";
export { BpfError, type OwnCode } from "./error.ts";
export { FileLock } from "./file-lock.ts";
export { BpfLink, deviceName, findClsact, type LinkInfo, removeEmptyClsact } from "./link.ts";
export type { ClsactSpec, Direction, LinkSpec, TcxSpec, XdpSpec } from "./link-spec.ts";
export { BpfMap, type MapCreateSpec, type MapEntries, type MapInfo } from "./map.ts";
export type { MapMemory } from "./map-memory.ts";
export {
  dumpAddresses,
  dumpForwarding,
  dumpLinks,
  dumpNeighbours,
  dumpRoutes,
  type Netns,
  netnsId,
} from "./net.ts";
export {
  LinkFlag,
  LinkType,
  NeighbourState,
  type NetAddress,
  type NetEvent,
  type NetHop,
  type NetLink,
  type NetNeighbour,
  type NetRoute,
  RouteProtocol,
  RouteTable,
  RouteType,
} from "./net-types.ts";
export { NetWatch, type NetWatchOptions } from "./net-watch.ts";
export { BpfObject, type MapSpec, type OpenOptions, type ProgramSpec } from "./object.ts";
export { BpfProgram, type ProgramInfo, type TestRunOptions, type TestRunResult } from "./program.ts";
export { type RingBatch, RingBuffer, type RingOptions } from "./ringbuf.ts";
export {
  type KernelFeature,
  kernelFeature,
  libbpfVersion,
  listLinks,
  listMaps,
  listPrograms,
  netnsCookie,
  possibleCpus,
} from "./system.ts";
export { hasTcx, queryTc, type TcxQuery } from "./tcx.ts";
export { makeVeth, removeLink } from "./veth.ts";
