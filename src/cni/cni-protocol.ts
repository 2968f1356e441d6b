// What the CNI plugin sends (the runtime's variables and the network configuration), parsed into what Weir needs of it, and
// the errors that it is answered with.

import { messageOf } from "../base/errors.ts";
import { type Address, parseAddress } from "../base/ip.ts";
import { parseHardware } from "../base/mac-address.ts";

/** What all commands of a container have in common. */
export interface Attached {
  readonly containerId: string;
  readonly ifname: string;
}

export interface AddRequest extends Attached {
  readonly network: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly addresses: readonly Address[];
  /** The MAC address of the sandbox's end, where the preceding plugins have reported one. */
  readonly hardware?: string;
  /** Interfaces of the node that the preceding plugins have reported, in order. */
  readonly hostLinks: readonly string[];
  /** Indexes of the interface and of its other end, or why the plugin could not read them. */
  readonly ends: { readonly ifindex: number; readonly peer: number } | { readonly error: string };
  readonly timeoutMs: number;
}

export interface GcRequest {
  readonly network: string;
  readonly valid: readonly Attached[];
}

type Fields = Readonly<Record<string, unknown>>;

const TIMEOUT_MS_MAX = 600_000;

function wrong(field: string, expected: string, code: number = CNI_CODE.invalidConfig): never {
  throw new CniError(code, `${field}: expected ${expected}`);
}

function objectAt(value: unknown, field: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  return wrong(field, "an object");
}

/** A missing list is an empty one, as Go writes it. */
function listAt(value: unknown, field: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : wrong(field, "a list");
}

function stringAt(value: unknown, field: string): string {
  return typeof value === "string" ? value : wrong(field, "a string");
}

/** The body of any request. Errors, here and below: CniError. */
export function bodyOf(text: string): Fields {
  try {
    return objectAt(JSON.parse(text), "request");
  } catch (thrown) {
    if (thrown instanceof CniError) throw thrown;
    throw new CniError(CNI_CODE.decodingFailure, "the request is not JSON", messageOf(thrown));
  }
}

/** The CNI specification's syntax of container ids; no runtime has longer ones than this. */
const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,255}$/;
const INTERFACE = /^(?!\.{1,2}$)[^/:\s\p{Cc}]{1,15}$/u;

export function attachedIn(body: Fields): Attached {
  const variable = (value: unknown, name: string, pattern: RegExp, expected: string): string =>
    typeof value === "string" && pattern.test(value)
      ? value
      : wrong(name, expected, CNI_CODE.invalidEnvironment);
  const { containerId, ifname } = body;
  return {
    containerId: variable(
      containerId,
      "CNI_CONTAINERID",
      CONTAINER_ID,
      "letters, digits, '_', '.' or '-', at most 256",
    ),
    ifname: variable(ifname, "CNI_IFNAME", INTERFACE, "an interface's name, at most 15 bytes"),
  };
}

const networkIn = (config: Fields): string =>
  config["name"] === undefined ? "" : stringAt(config["name"], "name");

export function addIn(body: Fields): AddRequest {
  const attached = attachedIn(body);
  const config = objectAt(body["config"], "config");
  const previous = objectAt(config["prevResult"], "prevResult");
  const interfaces = listAt(previous["interfaces"], "prevResult.interfaces").map(interfaceAt);
  const addresses = addressesOf(previous["ips"], attached.ifname, interfaces);
  if (addresses.length === 0) wrong("prevResult.ips", `an address of ${attached.ifname}`);
  const hardware = interfaces.find(({ name, inside }) => inside && name === attached.ifname)?.hardware;
  const { timeoutMs } = body;
  const inTime = Number.isInteger(timeoutMs) && Number(timeoutMs) >= 1 && Number(timeoutMs) <= TIMEOUT_MS_MAX;
  return {
    ...attached,
    ...podOf(body["args"]),
    network: networkIn(config),
    addresses,
    ...(hardware === undefined ? {} : { hardware }),
    hostLinks: interfaces.flatMap(({ name, inside }) => (inside ? [] : [name])),
    ends: endsOf(body["link"]),
    timeoutMs: inTime ? Number(timeoutMs) : wrong("timeoutMs", `1 to ${TIMEOUT_MS_MAX}`),
  };
}

interface Interface {
  readonly name: string;
  /** In a sandbox: one without is the node's own. */
  readonly inside: boolean;
  readonly hardware: string | undefined;
}

function interfaceAt(value: unknown, at: number): Interface {
  const field = `prevResult.interfaces[${at}]`;
  const { name, mac, sandbox = "" } = objectAt(value, field);
  // Not every plugin reports one, and no pod fails for it: the kernel's data of the link counts then.
  const hardware = typeof mac === "string" ? parseHardware(mac) : undefined;
  return {
    name: stringAt(name, `${field}.name`),
    inside: stringAt(sandbox, `${field}.sandbox`) !== "",
    hardware: hardware?.ok === true ? hardware.value : undefined,
  };
}

/** Those of the interface, and those that the preceding plugins have assigned to none. */
function addressesOf(ips: unknown, ifname: string, interfaces: readonly Interface[]): readonly Address[] {
  const found = new Map<string, Address>();
  for (const [at, value] of listAt(ips, "prevResult.ips").entries()) {
    const field = `prevResult.ips[${at}]`;
    const { address, interface: index } = objectAt(value, field);
    const text = stringAt(address, `${field}.address`);
    const [, host = ""] = /^([^/]+)\/\d{1,3}$/.exec(text) ?? [];
    const parsed = parseAddress(host);
    if (!parsed.ok) return wrong(`${field}.address`, `an address with its prefix length, not ${text}`);
    const owner = index === undefined || index === null ? undefined : interfaces[Number(index)];
    if (typeof index === "number" && owner === undefined)
      wrong(`${field}.interface`, "the index of one of the interfaces");
    if (owner === undefined || (owner.inside && owner.name === ifname))
      found.set(parsed.value.text, parsed.value);
  }
  return [...found.values()];
}

function endsOf(value: unknown): AddRequest["ends"] {
  const { ifindex, peer, error } = objectAt(value, "link");
  if (error !== undefined) return { error: stringAt(error, "link.error") };
  const isIndex = (each: unknown): each is number => Number.isInteger(each) && Number(each) >= 0;
  if (!isIndex(ifindex) || !isIndex(peer)) return wrong("link", "ifindex and peer, or error");
  return { ifindex, peer };
}

/** CNI_ARGS: "KEY=VALUE;KEY=VALUE". Kubernetes' runtimes name the pod there. */
function podOf(value: unknown): { namespace: string; name: string; uid?: string } {
  const text = stringAt(value, "CNI_ARGS");
  const pairs = new Map<string, string>();
  for (const pair of text.split(";")) {
    const at = pair.indexOf("=");
    if (at > 0) pairs.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const named = (key: string): string => {
    const given = pairs.get(key) ?? "";
    // RFC 1123, as the API server checks it: nothing else may become a part of a key.
    if (/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(given)) return given;
    return wrong(`CNI_ARGS, ${key}`, "the name of a Kubernetes object", CNI_CODE.invalidEnvironment);
  };
  const uid = pairs.get("K8S_POD_UID") ?? "";
  return {
    namespace: named("K8S_POD_NAMESPACE"),
    name: named("K8S_POD_NAME"),
    ...(uid === "" ? {} : { uid }),
  };
}

export function gcIn(body: Fields): GcRequest {
  const config = objectAt(body["config"], "config");
  const valid = config["cni.dev/valid-attachments"];
  // Without the list everything would be taken for garbage.
  if (valid === undefined) return wrong("cni.dev/valid-attachments", "a list");
  return {
    network: networkIn(config),
    valid: listAt(valid, "cni.dev/valid-attachments").map((each, at) => {
      const field = `cni.dev/valid-attachments[${at}]`;
      const { containerID, ifname } = objectAt(each, field);
      return {
        containerId: stringAt(containerID, `${field}.containerID`),
        ifname: stringAt(ifname, `${field}.ifname`),
      };
    }),
  };
}

/** Codes of the CNI specification (section 5, "Error"); from 100 on they are the plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  invalidEnvironment: 4,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  /** Weir cannot enforce on the pod's interface. */
  notEnforceable: 110,
  /** CHECK: what was reported as enforced is not. */
  notInForce: 111,
} as const;

export class CniError extends Error {
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: number, message: string, details?: string) {
    super(message);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}

export const laterError = (message: string, details?: string): CniError =>
  new CniError(CNI_CODE.tryAgainLater, message, details);
