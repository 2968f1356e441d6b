// Which host-side interface is whose: pods to links of this node, by annotation, network namespace, or the pod's address.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { assertNever } from "../base/assert.ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { type Attachment, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";

/** A network interface of the node, as `ip -details -json link` shows it. */
export interface Link {
  readonly ifindex: number;
  readonly ifname: string;
  /** Interface index of the other end of a veth, in its own namespace. */
  readonly link_index?: number;
  readonly link_type?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

export interface PodInterface {
  readonly pod: Pod;
  readonly ifindex: number;
  readonly name: string;
}

export interface Resolved {
  readonly found: readonly PodInterface[];
  /** Keys of pods that should have an interface here and have none. */
  readonly missing: readonly string[];
  readonly problems: readonly Problem[];
}

const run = promisify(execFile);

/** Runs an iproute2 command and returns its JSON. An empty answer is an empty list. */
async function ip(program: "ip" | "bridge", args: readonly string[]): Promise<unknown[]> {
  try {
    const { stdout } = await run(program, ["-json", ...args], { maxBuffer: 64 << 20 });
    return stdout.trim() === "" ? [] : (JSON.parse(stdout) as unknown[]);
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    const reason =
      codeOf(error) === "ENOENT"
        ? "the program is not installed (package iproute2)"
        : stderr || messageOf(error);
    throw new OperationError(reason, {
      operation: "run",
      object: `${program} ${args.join(" ")}`,
      cause: error,
    });
  }
}

const listLinks = async (): Promise<Link[]> => (await ip("ip", ["-details", "link", "show"])) as Link[];

interface NamespaceLink extends Link {
  readonly addr_info?: readonly { readonly local?: string }[];
}

/** Interfaces that may be a pod's: anything but the loopback device and bridges, which carry the traffic of others. */
function unsuitable(link: Link): string | undefined {
  if (link.link_type === "loopback") return "is the loopback device";
  if (link.linkinfo?.info_kind === "bridge") return "is a bridge, which carries the traffic of others too";
  return undefined;
}

type Answer = { readonly link: Link } | { readonly reason: string } | "elsewhere";

/** The host side of the veth into a named network namespace: the one that carries an address of the pod, else the only one. */
async function inNamespace(name: string, pod: Pod, links: readonly Link[]): Promise<Answer> {
  let inner: NamespaceLink[];
  try {
    inner = (await ip("ip", ["-netns", name, "-details", "address", "show"])) as NamespaceLink[];
  } catch (error) {
    return { reason: `network namespace ${name} cannot be read: ${messageOf(error)}` };
  }
  const own = new Set(pod.ips.map((address) => address.text));
  const pairs = inner.flatMap((end) => {
    const link = links.find((each) => each.ifindex === end.link_index && each.link_index === end.ifindex);
    return link === undefined ? [] : [{ end, link }];
  });
  const withAddress = pairs.filter(({ end }) =>
    end.addr_info?.some(({ local }) => local !== undefined && own.has(local)),
  );
  const candidates = withAddress.length > 0 ? withAddress : pairs;
  const [only, second] = candidates;
  if (only === undefined)
    return { reason: `network namespace ${name} has no veth whose other end is on this node` };
  if (second !== undefined)
    return { reason: `network namespace ${name} has several veths and none carries an address of the pod` };
  return { link: only.link };
}

/** The interface that the node reaches the pod's address through: a route's device, or the port of a bridge. */
async function byAddress(pod: Pod, links: readonly Link[]): Promise<Answer> {
  for (const address of pod.ips) {
    const routes = (await ip("ip", ["route", "get", address.text]).catch(() => [])) as {
      dev?: string;
      gateway?: string;
      type?: string;
    }[];
    const route = routes[0];
    if (route?.dev === undefined || route.gateway !== undefined || route.type === "local") continue;
    const link = links.find((each) => each.ifname === route.dev);
    if (link?.linkinfo?.info_kind === "veth") return { link };
    if (link?.linkinfo?.info_kind === "bridge") {
      const port = await bridgePort(link.ifname, address.text, links);
      if (port !== undefined) return { link: port };
    }
  }
  return "elsewhere";
}

async function bridgePort(
  bridge: string,
  address: string,
  links: readonly Link[],
): Promise<Link | undefined> {
  const neighbours = (await ip("ip", ["neighbour", "show", address, "dev", bridge])) as { lladdr?: string }[];
  const mac = neighbours[0]?.lladdr;
  if (mac === undefined) return undefined;
  const entries = (await ip("bridge", ["fdb", "show", "br", bridge])) as { mac?: string; ifname?: string }[];
  const port = entries.find((entry) => entry.mac === mac && entry.ifname !== bridge);
  return links.find((link) => link.ifname === port?.ifname && link.linkinfo?.info_kind === "veth");
}

async function resolve(
  pod: Pod,
  attachment: Attachment | undefined,
  links: readonly Link[],
): Promise<Answer> {
  if (attachment === undefined) return byAddress(pod, links);
  switch (attachment.kind) {
    case "link": {
      const link = links.find((each) => each.ifname === attachment.name);
      if (link === undefined) return { reason: `interface ${attachment.name} does not exist` };
      const why = unsuitable(link);
      return why === undefined ? { link } : { reason: `interface ${attachment.name} ${why}` };
    }
    case "netns":
      return inNamespace(attachment.name, pod, links);
    default:
      return assertNever(attachment, "attachment");
  }
}

const ANNOTATION = { link: "weir.dev/interface", netns: "weir.dev/netns" } as const;

/** What to say where a pod's interface is not to be had. */
function problemOf(pod: Pod, reason: string): Problem {
  const path =
    pod.attachment === undefined
      ? {}
      : { path: `metadata.annotations["${ANNOTATION[pod.attachment.kind]}"]` };
  return {
    severity: "error",
    object: `Pod ${keyOf(pod)}`,
    ...path,
    reason,
    effect: "the pod is not enforced",
  };
}

/**
 * Finds the interface of every pod. A pod whose address leads to no veth of this node and that names none is taken for a
 * pod of another node. Where two pods claim one interface the first in key order has it. Errors: OperationError where
 * the tables of the kernel cannot be read at all.
 */
export async function resolveInterfaces(pods: Iterable<Pod>): Promise<Resolved> {
  const links = await listLinks();
  const found = new Map<number, PodInterface>();
  const missing: string[] = [];
  const problems: Problem[] = [];
  const refuse = (pod: Pod, reason: string) => {
    missing.push(keyOf(pod));
    problems.push(problemOf(pod, reason));
  };
  const sorted = [...pods].filter(isSelectable).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const answers = await Promise.all(sorted.map((pod) => resolve(pod, pod.attachment, links)));
  for (const [index, pod] of sorted.entries()) {
    const answer = answers[index] as Answer;
    if (answer === "elsewhere") continue;
    if ("reason" in answer) {
      refuse(pod, answer.reason);
      continue;
    }
    const owner = found.get(answer.link.ifindex);
    if (owner !== undefined)
      refuse(pod, `interface ${answer.link.ifname} is already that of pod ${keyOf(owner.pod)}`);
    else found.set(answer.link.ifindex, { pod, ifindex: answer.link.ifindex, name: answer.link.ifname });
  }
  return { found: [...found.values()], missing, problems };
}
