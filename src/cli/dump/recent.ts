// Reading what each CPU keeps for itself. Slots that were never used are left out.

import { addressOfV4, addressOfV6, interfaceOf } from "../../datapath/codec.ts";
import type {
  KnownRecord,
  RecentFlowRecord,
  RecentPeerRecord,
  ScratchRecord,
} from "../../observe/dump/recent.ts";
import { interfaceNames } from "../interfaces.ts";
import type { Kernel } from "../kernel.ts";

export async function readRecentPeers({ table }: Kernel): Promise<RecentPeerRecord[]> {
  const [v4, v6] = await Promise.all([
    table("recent_peers_v4").read({ skipZero: true }),
    table("recent_peers_v6").read({ skipZero: true }),
  ]);
  return [
    ...ofEachCpu(v4, ({ generation }) => generation !== 0).map(({ cpu, address, ...rest }) => ({
      cpu,
      address: addressOfV4(address).text,
      ...rest,
    })),
    ...ofEachCpu(v6, ({ generation }) => generation !== 0).map(({ cpu, address, ...rest }) => ({
      cpu,
      address: addressOfV6(address).text,
      ...rest,
    })),
  ].sort((a, b) => a.cpu - b.cpu);
}

export async function readRecentFlows({ table }: Kernel): Promise<RecentFlowRecord[]> {
  const [v4, v6] = await Promise.all([
    table("recent_flows_v4").read({ skipZero: true }),
    table("recent_flows_v6").read({ skipZero: true }),
  ]);
  const names = interfaceNames();
  const flowOf = (
    { cpu, tick, generation }: { readonly cpu: number; readonly tick: bigint; readonly generation: number },
    key: { readonly interface: number; readonly localPort: number; readonly remotePort: number },
    [local, remote]: readonly [local: string, remote: string],
  ): RecentFlowRecord => {
    const { ifindex, protocol } = interfaceOf(key.interface);
    const name = names.get(ifindex);
    const { localPort, remotePort } = key;
    const place = name === undefined ? { ifindex } : { ifindex, interface: name };
    return { cpu, ...place, protocol, local, localPort, remote, remotePort, generation, tick };
  };
  return [
    ...ofEachCpu(v4, isFlow).map((flow) =>
      flowOf(flow, flow.key, [addressOfV4(flow.key.local).text, addressOfV4(flow.key.remote).text]),
    ),
    ...ofEachCpu(v6, isFlow).map((flow) =>
      flowOf(flow, flow.key, [addressOfV6(flow.key.local).text, addressOfV6(flow.key.remote).text]),
    ),
  ].sort((a, b) => a.cpu - b.cpu);
}

const isFlow = ({ key }: { readonly key: { readonly interface: number } }): boolean => key.interface !== 0;

export async function readKnown({ table }: Kernel): Promise<KnownRecord> {
  const words = (await table("known_addresses").read()).map(([, { word }]) => word);
  const set = words.reduce((sum, word) => sum + word.toString(2).replaceAll("0", "").length, 0);
  return { bits: words.length * 64, set };
}

export async function readScratch({ table }: Kernel): Promise<ScratchRecord[]> {
  const entries = await table("scratch").read();
  return entries.flatMap(([, cpus]) =>
    cpus.map(({ words }, cpu) => ({ cpu, words: words.filter((word) => word !== 0n).length })),
  );
}

/** The values of all CPUs one by one, as far as they are in use. */
const ofEachCpu = <T extends object>(
  entries: readonly (readonly [unknown, readonly T[]])[],
  isUsed: (value: T) => boolean,
): (T & { readonly cpu: number })[] =>
  entries.flatMap(([, values]) => values.flatMap((value, cpu) => (isUsed(value) ? [{ ...value, cpu }] : [])));
