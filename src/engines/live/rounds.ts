// Divides cells into passes: in each, every Service's address leads to one backend, so that a cell can name the one it means.

import type { Rewrite } from "../../lab/service-nat.ts";
import { frontendKey } from "../../model/frontends.ts";
import type { Cell } from "../../source/conformance/case-types.ts";

export interface Round {
  /** Indices of the step's cells. */
  readonly cells: readonly number[];
  readonly rewrites: readonly Rewrite[];
}

/** Cells without a Service are in the first one. */
export function roundsOf(cells: readonly Cell[]): Round[] {
  const rounds: { cells: number[]; rewrites: Rewrite[] }[] = [{ cells: [], rewrites: [] }];
  const targets = new Map<string, string[]>();
  for (const [index, { behind }] of cells.entries()) {
    if (behind === undefined) {
      rounds[0]?.cells.push(index);
      continue;
    }
    const { frontend, end, port } = behind;
    const key = frontendKey(frontend);
    const known = targets.get(key) ?? [];
    const target = `${end.address.text} ${port}`;
    const isNew = !known.includes(target);
    if (isNew) targets.set(key, [...known, target]);
    const at = isNew ? known.length : known.indexOf(target);
    rounds[at] ??= { cells: [], rewrites: [] };
    rounds[at].cells.push(index);
    if (!isNew) continue;
    rounds[at].rewrites.push({
      address: frontend.address.text,
      protocol: frontend.protocol === "TCP" ? "tcp" : frontend.protocol === "UDP" ? "udp" : "sctp",
      port: frontend.port,
      to: { address: end.address.text, port },
      masquerade: false,
    });
  }
  return rounds;
}
