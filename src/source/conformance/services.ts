// Services in conformance cases: the actions that change them, and checks that ask about them.

import { type Address, parseAddress } from "../../base/ip.ts";
import { type Cluster, isSelectable, keyOf } from "../../model/cluster.ts";
import { type Frontend, frontendsOf } from "../../model/frontends.ts";
import { type Field, type Fields, fieldsOf, Issues, note, stringOf } from "../parse/fields.ts";
import { parseService } from "../parse/parse-service.ts";
import { parseSlice } from "../parse/slice.ts";
import { quote } from "../parse/text.ts";
import type { Behind, Cell, End } from "./case-types.ts";

const PREFIX = "svc:";

/** Kinds of objects that actions create, update and delete, with how they are read and where they are kept. */
export const SERVICE_KINDS = {
  Service: { apiVersion: "v1", parse: parseService, table: "services" },
  EndpointSlice: { apiVersion: "discovery.k8s.io/v1", parse: parseSlice, table: "slices" },
} as const;

export type ServiceKind = keyof typeof SERVICE_KINDS;

/** The object of an action where it is free of errors: a case is no place for what the API server refuses. */
export function serviceObject(field: Field, kind: ServiceKind) {
  const { apiVersion, parse } = SERVICE_KINDS[kind];
  const fields = fieldsOf(field);
  for (const [key, expected] of [
    ["kind", kind],
    ["apiVersion", apiVersion],
  ] as const) {
    const given = fields?.get(key);
    if (given?.value !== expected)
      note(given ?? { ...field, path: [...field.path, key] }, `expected ${expected}`);
  }
  const issues = new Issues();
  const object = parse({ ...field, issues, nullIsMissing: true });
  for (const issue of issues) field.issues.add(issue);
  return issues.errors === 0 ? object : undefined;
}

/** The cluster with or without an object of a kind. */
export function withObject(cluster: Cluster, kind: ServiceKind, key: string, object: unknown): Cluster {
  const { table } = SERVICE_KINDS[kind];
  const objects = new Map<string, unknown>([...cluster[table]]);
  if (object === undefined) objects.delete(key);
  else objects.set(key, object);
  return { ...cluster, [table]: objects };
}

/** What the check asks, but for its ends. */
interface Asked {
  readonly cluster: Cluster;
  readonly places: ReadonlyMap<string, readonly Address[]>;
  readonly from: readonly End[];
  readonly question: Omit<Cell, "from" | "to" | "loopback" | "behind">;
}

export const isService = (name: string): boolean => name.startsWith(PREFIX);

/**
 * The cells of a check whose `to` is a Service: one for every address of a client, every frontend of its family, and every
 * backend. `address` and `backend` of the check narrow them down. Without `address` only ClusterIPs are asked.
 */
export function serviceCells(field: Field, fields: Fields, asked: Asked): Cell[] {
  const to = fields.get("to") as Field;
  const name = String(to.value);
  const address = addressOf(fields.get("address"));
  const { protocol, port } = asked.question;
  const frontends = frontendsOf(asked.cluster, new Set()).filter(
    (frontend) =>
      PREFIX + frontend.service === name &&
      frontend.protocol === protocol &&
      frontend.port === port &&
      (address === undefined ? frontend.keepsSource : frontend.address.text === address),
  );
  const backendField = fields.get("backend");
  const backend = backendField && stringOf(backendField);
  const cells = asked.from.flatMap((from) =>
    frontends
      .filter((frontend) => frontend.address.family === from.address.family)
      .flatMap((frontend) => behindOf(frontend, asked))
      .filter(({ end }) =>
        backend === undefined ? end.pod !== from.pod || from.pod === undefined : end.name === backend,
      )
      .map((behind): Cell => ({ ...asked.question, from, to: endOf(name, behind), loopback: false, behind })),
  );
  if (cells.length === 0) note(field, `${quote(name)} leads nowhere on ${protocol}/${port}`);
  return cells;
}

function addressOf(field: Field | undefined): string | undefined {
  const text = field && stringOf(field);
  if (field === undefined || text === undefined) return undefined;
  const parsed = parseAddress(text);
  if (parsed.ok) return parsed.value.text;
  note(field, `${quote(text)} is not a valid address: ${parsed.reason}`);
  return undefined;
}

const endOf = (name: string, { frontend }: Behind): End => ({
  name,
  address: frontend.address,
  pod: undefined,
});

const behindOf = (frontend: Frontend, asked: Asked): Behind[] =>
  frontend.backends.map(({ address, port }) => ({ frontend, port, end: endAt(address, asked) }));

/** Who has an address: a pod that policies can select, another pod or a place, or nobody. */
function endAt(address: Address, { cluster, places }: Asked): End {
  const has = (addresses: readonly Address[]): boolean => addresses.some(({ text }) => text === address.text);
  const pods = [...cluster.pods.values()].filter(({ ips }) => has(ips));
  const pod = pods.find(isSelectable) ?? pods[0];
  const place = [...places].find(([, addresses]) => has(addresses))?.[0];
  return { name: pod === undefined ? (place ?? address.text) : keyOf(pod), address, pod };
}
