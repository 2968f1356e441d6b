// Dumps of what each CPU keeps for itself: peers and flows that it saw lately, and its room for the packet at hand.

import { left, right } from "../table.ts";
import type { NamesView } from "../view.ts";
import { type Dump, dumpOf, known, meaningText, peersOf } from "./dump.ts";
import { isIcmp, type Place, protocolText, socketText } from "./flows.ts";

export interface RecentPeerRecord {
  readonly cpu: number;
  readonly address: string;
  readonly identity: number;
  /** In which it was found; in another one it is looked for again. */
  readonly generation: number;
}

export interface RecentFlowRecord extends Place {
  readonly cpu: number;
  /** IP protocol number. */
  readonly protocol: number;
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly generation: number;
  /** Of the kernel's clock (jiffies), in which the flow was refreshed. */
  readonly tick: bigint;
}

/** How full known_addresses is: each bit that is set sends some strangers to `addresses` in vain. */
export interface KnownRecord {
  readonly bits: number;
  readonly set: number;
}

export interface ScratchRecord {
  readonly cpu: number;
  /** Words that are not zero. */
  readonly words: number;
}

export const recentPeersDump = (records: readonly RecentPeerRecord[], names?: NamesView): Dump =>
  dumpOf(records, {
    columns: [
      right("CPU"),
      left("ADDRESS"),
      right("IDENTITY"),
      right("GENERATION"),
      ...["POD", "MATCHES"].map(left),
    ],
    rows: ({ cpu, address, identity, generation }) => [
      [
        String(cpu),
        address,
        String(identity),
        String(generation),
        names?.addresses[address] ?? "",
        meaningText(peersOf(identity, names) ?? []),
      ],
    ],
    json: (record) => ({
      ...record,
      ...known("pod", names?.addresses[record.address]),
      ...known("matches", peersOf(record.identity, names)),
    }),
    pods: ({ address }) => [names?.addresses[address]],
  });

export const recentFlowsDump = (records: readonly RecentFlowRecord[], names?: NamesView): Dump => {
  const podOf = ({ ifindex }: Place): string | undefined => names?.endpoints[String(ifindex)];
  return dumpOf(records, {
    columns: [
      right("CPU"),
      ...["PROTOCOL", "LOCAL", "REMOTE"].map(left),
      right("GENERATION"),
      right("TICK"),
      left("POD"),
    ],
    rows: (flow) => [
      [
        String(flow.cpu),
        protocolText(flow.protocol),
        socketText(flow.protocol, flow.local, flow.localPort),
        socketText(flow.protocol, flow.remote, flow.remotePort),
        String(flow.generation),
        String(flow.tick),
        podOf(flow) ?? flow.interface ?? `interface ${flow.ifindex}`,
      ],
    ],
    json: (flow) => ({
      ...flow,
      remotePort: isIcmp(flow.protocol) ? Number(flow.remotePort !== 0) : flow.remotePort,
      protocol: protocolText(flow.protocol),
      protocolNumber: flow.protocol,
      ...known("pod", podOf(flow)),
    }),
    pods: (flow) => [podOf(flow)],
  });
};

export const scratchDump = (records: readonly ScratchRecord[]): Dump =>
  dumpOf(records, {
    columns: [right("CPU"), right("WORDS")],
    rows: ({ cpu, words }) => [[String(cpu), String(words)]],
    json: (record) => record,
  });

export const knownDump = (record: KnownRecord): Dump =>
  dumpOf([record], {
    columns: [right("BITS"), right("SET")],
    rows: ({ bits, set }) => [[String(bits), String(set)]],
    json: (each) => each,
  });
