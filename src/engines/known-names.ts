// What pods have resolved, as the programs would have stored it after the answers.

import { mostSpecific } from "../base/domain-name.ts";
import type { Address } from "../base/ip.ts";
import { domainNumberOf, namedAddressKeyOf } from "../datapath/domain-names.ts";
import type { Tables } from "../datapath/typed-maps.ts";
import { NAME_SLOTS, type NamedAddress } from "../gen/layout.ts";
import type { Resolvable } from "../source/conformance/case-types.ts";
import { domainsOf, type State } from "../state/desired-state.ts";

/** An address that an endpoint has resolved from these names. */
export interface Resolved {
  readonly ifindex: number;
  readonly remote: Address;
  readonly names?: readonly string[];
}

/** For as long as a test runs. */
const EXPIRES = 2n ** 63n;

/** These take the place of all that were known. Errors: OperationError. */
export async function learnNames(
  { names }: Pick<Tables, "names">,
  state: State,
  all: readonly Resolved[],
): Promise<void> {
  // Nothing depends on them.
  if (state.names.size === 0) return;
  const domains = domainsOf(state.names);
  const known = all.flatMap((each) => {
    const patterns = new Set((each.names ?? []).flatMap((name) => mostSpecific(domains, name) ?? []));
    const endpoint = state.endpoints.get(each.ifindex);
    if (patterns.size === 0 || endpoint === undefined) return [];
    const numbers = [...patterns].map(domainNumberOf);
    const slots = Array.from({ length: NAME_SLOTS }, (_, at) => ({
      pattern: numbers[at] ?? 0n,
      expires: numbers[at] === undefined ? 0n : EXPIRES,
    }));
    const key = namedAddressKeyOf(endpoint.incarnation, each.remote);
    return [[key, { slots, entered: 0n } as unknown as NamedAddress] as const];
  });
  await names.deleteBatch((await names.read()).map(([key]) => key));
  await names.writeBatch(known);
}

/** What each endpoint has resolved, if all have resolved all names. */
export const resolvedByAll = (state: State, dns: readonly Resolvable[]): readonly Resolved[] =>
  [...state.endpoints.keys()].flatMap((ifindex) =>
    dns.map(({ address, names }) => ({ ifindex, remote: address, names })),
  );
