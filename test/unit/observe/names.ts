// Names that an agent could have, for dumps of given records; and a dump as lines.

import type { NamesView } from "../../../src/observe/api-views.ts";
import type { Dump } from "../../../src/observe/dump/map-dump.ts";
import { tableTexts } from "../../../src/observe/text-output.ts";

export const NAMES: NamesView = {
  endpoints: { "7": "alpha/nginx", "9": "beta/hammer" },
  addresses: { "10.63.48.10": "alpha/nginx", "fd63::a": "beta/hammer" },
  services: {},
  identities: {
    "3": ["alpha/test-network-policy ingress[0].from"],
    "5": ["alpha/test-network-policy egress[0].to", "alpha/test-network-policy ingress[0].from"],
    "6": ["alpha/test-network-policy egress[0].to"],
  },
  cidrs: {
    "10.0.0.0/8": ["alpha/test-network-policy egress[0].to[0]: in the block"],
    "10.63.48.0/22": ["alpha/test-network-policy ingress[0].from[0]: in the block"],
    "10.63.48.4/32": ["alpha/test-network-policy ingress[0].from[0]: excepted"],
  },
  policies: {
    "1": { of: ["ingress of alpha/nginx"], from: ["alpha/alpha-deny", "alpha/test-network-policy"] },
  },
  rows: {},
  classes: {},
};

const WHOLE = { headers: true, window: Number.POSITIVE_INFINITY };

export const linesOf = ({ columns, entries }: Dump): string[] =>
  [
    ...tableTexts(
      columns,
      [...entries].flatMap(({ rows }) => [...rows()]),
      WHOLE,
    ),
  ]
    .join("")
    .trimEnd()
    .split("\n");

export function jsonOf({ entries, single }: Dump): unknown {
  const values = [...entries].map(({ json }) => json());
  return single ? values[0] : values;
}
