// What a step of a conformance case expects: its tables and checks, read from untrusted values, become cells.

import type { Address, Family } from "../../base/ip.ts";
import type { Cluster } from "../../model/cluster.ts";
import { PROTOCOLS, type Protocol } from "../../model/protocol.ts";
import {
  booleanOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  note,
  quote,
  stringOf,
} from "../parse/fields.ts";
import { isService, serviceCells } from "./case-actions.ts";
import { listOf, PROTOCOL_AND_PORT, required } from "./case-cluster.ts";
import type { Cell, End, Resolvable, Side, UnnamedCell } from "./case-types.ts";

/** Where the names of endpoints lead at this step. */
export interface Endpoints {
  readonly cluster: Cluster;
  readonly places: ReadonlyMap<string, readonly Address[]>;
  readonly dns: readonly Resolvable[];
  /** The families that the step probes. */
  readonly families: readonly Family[];
}

/** Everything of a cell but its ends. */
type Question = Omit<UnnamedCell, "from" | "to" | "loopback" | "behind">;

const EXPECTED_FIELDS = [
  "pods",
  "endpoints",
  "tables",
  "ingressTables",
  "egressTables",
  "sourceLoopback",
  "checks",
];
const TABLES: readonly (readonly [string, Side])[] = [
  ["tables", "both"],
  ["ingressTables", "ingress"],
  ["egressTables", "egress"],
];
const CHECK_FIELDS = [
  ...["from", "to", "protocol", "port", "verdict"],
  ...["sourceVerdict", "basis", "optional", "connection", "evaluator", "reason", "address", "backend"],
];
const CHECK_FIELDS_SHOWN = 5;
const PORT_MAX = 65_535;

/** The cells of a step, one for each pair of addresses of one family. What cannot be read is left out, with an issue. */
export function parseExpected(field: Field, endpoints: Endpoints): readonly Cell[] {
  const fields = fieldsOf(field, EXPECTED_FIELDS);
  const names = fields?.get("endpoints") ?? fields?.get("pods");
  const order = listOf(names).map((item) => endpointAt(item, endpoints));
  const tables = TABLES.flatMap(([key, side]) => {
    const table = fields?.get(key);
    if (table !== undefined && names === undefined)
      note(child(field, "pods"), "is missing; it is the order of the tables");
    return table === undefined ? [] : parseTables(table, side, order);
  });
  const checks = listOf(fields?.get("checks")).flatMap((item) => parseCheck(item, endpoints));
  const namesOf = new Map(endpoints.dns.map(({ address, names }) => [address.text, names]));
  const cells = [...tables, ...checks].map((cell) => ({
    ...cell,
    names: namesOf.get(cell.to.address.text) ?? [],
  }));
  if (fields !== undefined && cells.length === 0) note(field, "expects nothing; expected tables or checks");
  return cells;
}

/** A name with its ends, one for each address of the step's families. */
interface Endpoint {
  readonly name: string;
  readonly ends: readonly End[];
}

function endpointAt(field: Field, { cluster, places, families }: Endpoints): Endpoint | undefined {
  const name = stringOf(field);
  if (name === undefined) return undefined;
  const pod = cluster.pods.get(name);
  const addresses = pod?.ips ?? places.get(name);
  if (addresses === undefined) {
    note(
      field,
      `${quote(name)} is not there; expected a pod (namespace/name), node:NAME or ext:NAME of this step`,
    );
    return undefined;
  }
  const ends = addresses
    .filter(({ family }) => families.includes(family))
    .map((address) => ({ name, address, pod }));
  return { name, ends };
}

/** `tables`, or the ones of one side: by protocol and port, a row for every source and in it a character for every destination. */
function parseTables(
  field: Field,
  side: Side,
  order: readonly (Endpoint | undefined)[],
): readonly UnnamedCell[] {
  const tables = [...(fieldsOf(field) ?? [])];
  return tables.flatMap(([key, table]) => {
    const traffic = parseTraffic(table, key);
    const rows = listOf(table);
    if (rows.length !== order.length) note(table, `has ${rows.length} rows for ${order.length} endpoints`);
    if (traffic === undefined) return [];
    return rows.flatMap((row, index) => parseRow(row, { from: order[index], order, side, ...traffic }));
  });
}

interface Traffic {
  readonly protocol: Protocol;
  readonly port: number;
}

function parseTraffic(field: Field, key: string): Traffic | undefined {
  const [, protocol, digits] = PROTOCOL_AND_PORT.exec(key) ?? [];
  const port = Number(digits);
  if (protocol !== undefined && port <= PORT_MAX) return { protocol: protocol as Protocol, port };
  note(field, `${quote(key)} is not a protocol and a port; expected one such as "TCP/80"`);
  return undefined;
}

interface Row extends Traffic {
  readonly from: Endpoint | undefined;
  readonly order: readonly (Endpoint | undefined)[];
  readonly side: Side;
}

const EXPECTED: ReadonlyMap<string, Cell["expected"] | undefined> = new Map([
  [".", "allowed"],
  ["X", "blocked"],
  ["L", "allowed"],
  ["?", "open"],
  ["-", undefined],
]);

function parseRow(field: Field, { from, order, side, protocol, port }: Row): readonly UnnamedCell[] {
  const text = stringOf(field);
  const wrong = text === undefined ? undefined : flawOfRow(text, from, order);
  if (wrong !== undefined) note(field, wrong);
  if (text === undefined || wrong !== undefined || from === undefined) return [];
  return order.flatMap((to, index) => {
    const expected = EXPECTED.get(text.charAt(index));
    if (expected === undefined || to === undefined) return [];
    return pairs(field, from, to).map((ends) => ({ ...ends, ...PLAIN, side, protocol, port, expected }));
  });
}

function flawOfRow(
  text: string,
  from: Endpoint | undefined,
  order: readonly (Endpoint | undefined)[],
): string | undefined {
  if (text.length !== order.length) return `has ${text.length} characters for ${order.length} endpoints`;
  const unknown = [...text].find((character) => !EXPECTED.has(character));
  if (unknown !== undefined) {
    return `${quote(unknown)} is not . (allowed), X (blocked), L (itself), ? (open) or - (none)`;
  }
  const other = order.find((to, index) => text.charAt(index) === "L" && to?.name !== from?.name);
  return other && `L is a pod to itself, not ${from?.name} to ${other.name}`;
}

/** What only checks can set for a cell. */
const PLAIN = { optional: false, beyondPolicy: false, connection: undefined, behind: undefined, reason: "" };

type Ends = Pick<Cell, "from" | "to" | "loopback">;

/** Every pair of addresses of one family. Where there is none there is nothing to probe, which is a warning. */
function pairs(field: Field, from: Endpoint, to: Endpoint): readonly Ends[] {
  const found = from.ends.flatMap((source) =>
    to.ends
      .filter((target) => target.address.family === source.address.family)
      .map((target) => ({
        from: source,
        to: target,
        loopback: source.pod !== undefined && source.pod === target.pod,
      })),
  );
  if (found.length === 0)
    note(
      field,
      `${from.name} and ${to.name} have no addresses of one family that is probed; nothing is compared`,
      "warning",
    );
  return found;
}

function parseCheck(field: Field, endpoints: Endpoints): readonly UnnamedCell[] {
  const fields = fieldsOf(field, CHECK_FIELDS, CHECK_FIELDS_SHOWN);
  const question = fields && parseQuestion(field, fields);
  const fromField = required(field, fields, "from");
  const toField = required(field, fields, "to");
  const protocol = fields?.get("protocol")?.value;
  const ofProtocol = endpoints.families.filter((family) => family === ICMP_FAMILY.get(protocol));
  const families = ofProtocol.length > 0 ? ofProtocol : endpoints.families;
  const from = fromField && endpointAt(fromField, { ...endpoints, families });
  if (typeof toField?.value === "string" && isService(toField.value))
    return from && fields && question
      ? serviceCells(field, fields, { ...endpoints, from: from.ends, question })
      : [];
  const to = toField && endpointAt(toField, { ...endpoints, families });
  if (question === undefined || from === undefined || to === undefined) return [];
  return pairs(field, from, to).map((ends) => ({ ...question, ...ends, behind: undefined }));
}

/** In a dual-stack case, ICMP is that of IPv4; where there is but one family, it is that one's under either name. */
const ICMP_FAMILY: ReadonlyMap<unknown, Family> = new Map([
  ["ICMP", 4],
  ["ICMPv6", 6],
]);
const CELL_PROTOCOLS: ReadonlyMap<string, Cell["protocol"]> = new Map([
  ...PROTOCOLS.map((name): [string, Protocol] => [name, name]),
  ["ICMP", "ICMP"],
  ["ICMPv6", "ICMP"],
]);

function parseQuestion(field: Field, fields: Fields): Question | undefined {
  const protocol = oneOf(required(field, fields, "protocol"), CELL_PROTOCOLS);
  const portField = required(field, fields, "port");
  const port = portField && probePortOf(portField);
  const expected = oneOf(required(field, fields, "verdict"), VERDICTS);
  oneOf(fields.get("sourceVerdict"), VERDICTS);
  oneOf(fields.get("basis"), BASES);
  const optionalField = fields.get("optional");
  const optional = (optionalField && booleanOf(optionalField)) ?? false;
  const beyondPolicy = oneOf(fields.get("evaluator"), EVALUATORS) ?? false;
  const connection = connectionOf(fields.get("connection"));
  const reasonField = fields.get("reason");
  const reason = (reasonField && stringOf(reasonField)) ?? "";
  if (protocol === undefined || port === undefined || expected === undefined) return undefined;
  return {
    side: "both",
    protocol,
    port: protocol === "ICMP" ? 0 : port,
    expected,
    optional,
    beyondPolicy,
    connection,
    reason,
  };
}

const VERDICTS: ReadonlyMap<string, "allowed" | "blocked"> = new Map([
  ["allowed", "allowed"],
  ["blocked", "blocked"],
]);
const BASES: ReadonlyMap<string, string> = new Map([
  ["stated", "stated"],
  ["derived", "derived"],
]);
const EVALUATORS: ReadonlyMap<string, true> = new Map([["skip", true]]);

/** The value for the text; undefined where the field is missing, and with an issue where the text is none of them. */
function oneOf<T>(field: Field | undefined, values: ReadonlyMap<string, T>): T | undefined {
  const text = field && stringOf(field);
  if (field === undefined || text === undefined) return undefined;
  if (!values.has(text)) note(field, `${quote(text)} is not one of ${[...values.keys()].join(", ")}`);
  return values.get(text);
}

/** A port to probe: ICMP has none and uses 0. */
function probePortOf(field: Field): number | undefined {
  const { value } = field;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= PORT_MAX) return value;
  note(field, "must be a number from 0 to 65535");
  return undefined;
}

function connectionOf(field: Field | undefined): Cell["connection"] {
  const text = field && stringOf(field);
  const [, use, id] = /^(open|reuse):(.+)$/.exec(text ?? "") ?? [];
  if (use !== undefined && id !== undefined) return { use: use as "open" | "reuse", id };
  if (field !== undefined && text !== undefined) note(field, `${quote(text)} is not open:ID or reuse:ID`);
  return undefined;
}
