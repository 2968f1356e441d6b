// `weir get reachability`: what this node's workloads may receive and send, with one line for each side and set of ports.

import type { ReachabilityView, ReachSide } from "../model/reachability-view.ts";
import { left, right, someOf, type Table } from "./text-output.ts";

const PEERS_SHOWN_MAX = 4;

/** `textOf` names a set of ports by its index. `wide`: all peers. */
export function reachabilityTable(
  view: ReachabilityView,
  textOf: (ports: number) => string,
  wide: boolean,
): Table {
  return {
    columns: [
      left("NAMESPACE"),
      left("WORKLOAD"),
      right("PODS"),
      left("DIRECTION"),
      left("PEERS"),
      left("PORTS"),
    ],
    rows: sorted(view).flatMap((side) => rowsOf(view, side, { textOf, wide })),
  };
}

const sorted = ({ sides }: ReachabilityView): readonly ReachSide[] =>
  [...sides].sort((a, b) => a.workload - b.workload || (a.direction > b.direction ? -1 : 1));

function rowsOf(
  { workloads }: ReachabilityView,
  side: ReachSide,
  { textOf, wide }: { readonly textOf: (ports: number) => string; readonly wide: boolean },
): string[][] {
  const { namespace = "", name = "" } = workloads[side.workload] ?? {};
  const direction = side.audit === true ? `${side.direction} (audit)` : side.direction;
  const row = (peers: string, ports: string): string[] => [
    namespace,
    name,
    String(side.pods),
    direction,
    peers,
    ports,
  ];
  if (side.open === true) return [row("any (not isolated)", "all")];
  const listed = new Set(side.peers.map(([peer]) => peer));
  const rest = listed.size === 0 ? "any" : "any other";
  const all = [
    ...side.peers.map(([peer, ...ports]) => ({ peer: peerText(workloads[peer]), ports })),
    { peer: rest, ports: side.others },
  ];
  const byPorts = Map.groupBy(all, ({ ports: [every, some] }) => portsText(textOf(every), textOf(some)));
  // "any other" is meant without those that are denied, so they are named.
  const [every, some] = side.others;
  if (portsText(textOf(every), textOf(some)) === "nothing") byPorts.delete("nothing");
  if (byPorts.size === 0) return [row("none", "nothing")];
  return [...byPorts].map(([ports, peers]) =>
    row(
      someOf(
        peers.map(({ peer }) => peer),
        wide ? Number.POSITIVE_INFINITY : PEERS_SHOWN_MAX,
        ",",
      ),
      ports,
    ),
  );
}

const peerText = (workload: ReachabilityView["workloads"][number] | undefined): string =>
  workload === undefined || workload.namespace === ""
    ? (workload?.name ?? "")
    : `${workload.namespace}/${workload.name}`;

const portsText = (every: string, some: string): string => (every === some ? some : `${some} (some pods)`);
