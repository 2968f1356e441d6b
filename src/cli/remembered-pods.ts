// Names of pods where no agent answers: the last one has recorded which pods each interface has.

import { rememberedOwners } from "../agent/interface-history.ts";
import { messageOf } from "../base/errors.ts";
import type { EndpointRow } from "../observe/endpoints-table.ts";
import { keptPath } from "./cni-paths.ts";
import type { Context } from "./environment.ts";

export interface NamedRows {
  readonly rows: readonly EndpointRow[];
  /** Every row has a name. */
  readonly isComplete: boolean;
  /** Why there are none; "" without a reason to report. */
  readonly why: string;
}

/** Only for interfaces that are still the same ones. Never throws. */
export function withRememberedPods({ settings }: Context, rows: readonly EndpointRow[]): NamedRows {
  try {
    const owners = rememberedOwners(keptPath(settings));
    const named = rows.map((row): EndpointRow => {
      const owner = row.ifindex === undefined ? undefined : owners.get(row.ifindex);
      if (owner === undefined || owner.link !== row.interface) return row;
      const [first, ...rivals] = owner.pods;
      if (first === undefined) return row;
      return { ...row, ...first, ...(rivals.length === 0 ? {} : { rivals: rivals.map(podText) }) };
    });
    return { rows: named, isComplete: named.every(({ name }) => name !== undefined), why: "" };
  } catch (thrown) {
    return { rows, isComplete: false, why: ` (${messageOf(thrown)})` };
  }
}

const podText = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;
