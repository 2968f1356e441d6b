// Dump of the frontends of Services: what a port of an address is to policies.

import { type Address, compareAddresses } from "../../base/ip.ts";
import type { NamesView } from "../api-views.ts";
import { left, right } from "../table.ts";
import { type Dump, dumpOf, known } from "./map-dump.ts";

export interface ServiceRecord {
  readonly address: Address;
  /** On the port line. */
  readonly place: number;
  /** As in "TCP/80". */
  readonly port: string;
  readonly identity: number;
  /** As names have it. */
  readonly key: string;
}

export function servicesDump(records: readonly ServiceRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => compareAddresses(a.address, b.address) || a.place - b.place);
  return dumpOf(sorted, {
    columns: [left("ADDRESS"), left("PORT"), right("IDENTITY"), left("SERVICE")],
    rows: ({ address, port, identity, key }) => [
      [address.text, port, String(identity), names?.services[key] ?? ""],
    ],
    json: ({ address, port, identity, key }) => ({
      address: address.text,
      port,
      identity,
      ...known("service", names?.services[key]),
    }),
  });
}
