// Ports, as NetworkPolicyPort and ContainerPort have them.

import type { Protocol } from "../../model/cluster.ts";
import type { PortMatch } from "../../model/network-policy.ts";
import { PROTOCOLS, PROTOCOLS_TEXT } from "../../model/protocol.ts";
import { child, type Field, fieldsOf, kindOf, note, stringOf } from "./fields.ts";
import { portName } from "./syntax.ts";
import { quote } from "./text.ts";

const PORT_FIELDS = ["protocol", "port", "endPort"];
const PORT_MAX = 65_535;

/** ValidateNetworkPolicyPort: undefined where anything in it is wrong. */
export function parsePort(field: Field): PortMatch | undefined {
  const fields = fieldsOf(field, PORT_FIELDS);
  if (fields === undefined) return undefined;
  const protocol = protocolOf(fields.get("protocol"));
  const port = fields.get("port");
  const endPort = fields.get("endPort");
  if (port === undefined) {
    if (endPort !== undefined) note(child(field, "port"), "is missing; endPort needs it");
    return protocol && endPort === undefined
      ? { kind: "range", protocol, first: 0, last: PORT_MAX }
      : undefined;
  }
  if (typeof port.value === "string") return namedPort(port, endPort, protocol);
  const first = portNumberOf(port, "a number from 1 to 65535 or a port's name");
  const last = endPort === undefined ? first : portNumberOf(endPort, "a number from 1 to 65535");
  if (first === undefined || last === undefined) return undefined;
  if (endPort !== undefined && last < first) {
    note(endPort, `${last} is less than port ${first}`);
    return undefined;
  }
  return protocol && { kind: "range", protocol, first, last };
}

function namedPort(
  port: Field,
  endPort: Field | undefined,
  protocol: Protocol | undefined,
): PortMatch | undefined {
  if (endPort !== undefined) note(endPort, "needs a port that is a number, not a name");
  const name = portNameOf(port);
  return name === undefined || endPort !== undefined || protocol === undefined
    ? undefined
    : { kind: "name", protocol, name };
}

/** TCP where it is missing. */
export function protocolOf(field: Field | undefined): Protocol | undefined {
  if (field === undefined) return "TCP";
  const text = stringOf(field);
  const protocol = PROTOCOLS.find((known) => known === text);
  if (text !== undefined && protocol === undefined) {
    note(field, `${quote(text)} is not a protocol; expected ${PROTOCOLS_TEXT}`);
  }
  return protocol;
}

export function portNumberOf(field: Field, expected = "a number from 1 to 65535"): number | undefined {
  const { value } = field;
  if (typeof value !== "number") {
    note(field, `must be ${expected}, not ${kindOf(value)}`);
  } else if (Number.isNaN(value)) {
    // What manifests/scalars.ts makes of 0123, 1_000 and the like.
    note(field, `must be ${expected}, in plain decimal notation`);
  } else if (!Number.isInteger(value) || value < 1 || value > PORT_MAX) {
    note(field, `${value} is not ${expected}`);
  } else {
    return value;
  }
  return undefined;
}

export function portNameOf(field: Field): string | undefined {
  const text = stringOf(field);
  const expected = text === undefined ? undefined : portName(text);
  if (text === undefined || expected === undefined) return text;
  const number = /^[0-9]+$/.test(text) ? "; write a number without quotes" : "";
  note(field, `${quote(text)} is not ${expected}${number}`);
  return undefined;
}
