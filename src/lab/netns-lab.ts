// A small node for policies: network namespaces behind veth pairs, routed by the root namespace, with real sockets.

import { createServer, type Server } from "node:net";
import { assert, present } from "../base/assert.ts";
import { codeOf, OperationError } from "../base/errors.ts";
import { type ForwardingPaths, forwardNodeWide, stopForwardingNodeWide } from "./forwarding.ts";
import {
  addressesOf,
  checkPrefix,
  conflicts,
  cutWire,
  linkName,
  makeWires,
  netnsName,
  removeWires,
  unmakeWires,
  type Wire,
} from "./netns-links.ts";
import { PodProcess } from "./pod-process-client.ts";
import type { Outcome, Probe, ProcessConfig, Sample, Zone } from "./pod-protocol.ts";
import { type Rewrite, rewrite } from "./service-nat.ts";
import { Teardown } from "./teardown.ts";

/** A pod, or any host with an address; the manifests decide which. */
export interface EndpointSpec {
  readonly name: string;
  /** One or more of either family, routed to this endpoint and unique. */
  readonly addresses: readonly string[];
  /** Ports of web servers that answer with the endpoint's name. */
  readonly http?: readonly number[];
  /** Ports of TCP and UDP servers that send back what they get. */
  readonly tcp?: readonly number[];
  readonly udp?: readonly number[];
  /** Names that its DNS server answers for, each with its addresses. */
  readonly dns?: Zone;
}

export interface LabOptions {
  /** Begins the name of everything the lab makes; one lab of a prefix at a time. At most 11 characters. */
  readonly prefix: string;
  readonly endpoints: readonly EndpointSpec[];
  /** For a lab in a private network namespace: a directory for its records that it shares with no other lab. */
  readonly forwarding?: ForwardingPaths;
}

/** As the sender of a probe: the node itself, outside of every namespace. */
export const NODE = "node";

interface Endpoint {
  readonly wire: Wire | undefined;
  readonly process: PodProcess;
}

/**
 * Opens a lab. What an earlier one of the same prefix left behind (it was killed) is removed first.
 * @throws OperationError where the prefix is in use, an address is not free, or the kernel refuses
 */
export async function openLab(options: LabOptions): Promise<Lab> {
  checkPrefix(options.prefix);
  const teardown = new Teardown();
  try {
    const lock = await lockPrefix(options.prefix);
    teardown.defer(() => lock.close());
    removeWires(options.prefix);
    teardown.defer(() => stopForwardingNodeWide(options.prefix, options.forwarding));
    forwardNodeWide(options.prefix, options.forwarding);
    teardown.defer(() => removeWires(options.prefix));
    const lab = new Lab(options.prefix, teardown);
    await lab.add(options.endpoints);
    return lab;
  } catch (thrown) {
    teardown.close();
    throw thrown;
  }
}

/** An abstract Unix socket: the kernel frees its name when the process dies, whatever it dies of. */
function lockPrefix(prefix: string): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const reason = codeOf(error) === "EADDRINUSE" ? "another process has it open" : error.message;
      reject(new OperationError(reason, { operation: "open", object: `lab ${prefix}`, cause: error }));
    });
    server.listen(`\0weir-lab-${prefix}`, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** An open lab. `close()` is idempotent and synchronous, and runs by itself when the process ends. */
export class Lab {
  readonly prefix: string;
  readonly #teardown: Teardown;
  readonly #endpoints = new Map<string, Endpoint>();
  #lastIndex = 0;
  #node: Promise<Endpoint> | undefined;
  #rewrites = false;

  /** For `openLab`. */
  constructor(prefix: string, teardown: Teardown) {
    this.prefix = prefix;
    this.#teardown = teardown;
  }

  /** Adds endpoints; resolves when their servers listen. @throws OperationError */
  async add(specs: readonly EndpointSpec[]): Promise<void> {
    const made = specs.map((spec) => {
      this.#lastIndex += 1;
      assert(!this.#endpoints.has(spec.name) && spec.name !== NODE, `a free name in the lab: ${spec.name}`);
      const netns = netnsName(this.prefix, this.#lastIndex, spec.name);
      const link = linkName(this.prefix, this.#lastIndex);
      return { spec, wire: { netns, link, addresses: addressesOf(spec.addresses) } };
    });
    const taken = conflicts(made.flatMap(({ wire }) => wire.addresses));
    if (taken.length > 0) {
      throw new OperationError(taken.join("; "), { operation: "open", object: `lab ${this.prefix}` });
    }
    makeWires(made.map(({ wire }) => wire));
    await Promise.all(made.map(async ({ spec, wire }) => this.#start(spec.name, wire, configOf(spec))));
  }

  async #start(name: string, wire: Wire | undefined, config: ProcessConfig): Promise<Endpoint> {
    const process = PodProcess.spawn(wire?.netns, config);
    this.#teardown.defer(() => process.close());
    await process.ready();
    const endpoint = { wire, process };
    this.#endpoints.set(name, endpoint);
    return endpoint;
  }

  /** Namespace, host-side link and addresses of an endpoint. */
  wire(name: string): Wire {
    return present(this.#endpoints.get(name)?.wire, `endpoint ${name}`);
  }

  /** One probe from an endpoint, or from NODE. Its outcome is what happened; only a broken lab throws. */
  async probe(from: string, probe: Probe): Promise<Outcome> {
    const reply = await (await this.#process(from)).command({ command: "probe", probe });
    assert(reply.reply === "outcome", "the outcome of a probe");
    return reply.outcome;
  }

  /** Opens a TCP connection to an echo server and keeps it; its number, or why it failed. */
  async open(from: string, probe: Probe): Promise<number | Outcome> {
    const reply = await (await this.#process(from)).command({ command: "open", probe });
    if (reply.reply === "outcome") return reply.outcome;
    assert(reply.reply === "opened", "a flow");
    return reply.flow;
  }

  /** One round trip on a connection of `open`, of a few bytes or as many as are given. */
  async say(from: string, flow: number, timeoutMs: number, bytes = 0): Promise<Outcome> {
    const reply = await (await this.#process(from)).command({ command: "say", flow, timeoutMs, bytes });
    assert(reply.reply === "outcome", "the outcome of a round trip");
    return reply.outcome;
  }

  async shut(from: string, flow: number): Promise<void> {
    await (await this.#process(from)).command({ command: "shut", flow });
  }

  /** Probes again and again; the function returned ends that and gives the samples, once the last has its outcome. */
  async watch(from: string, probe: Probe, everyMs: number): Promise<() => Promise<readonly Sample[]>> {
    const process = await this.#process(from);
    const reply = await process.command({ command: "watch", probe, everyMs });
    assert(reply.reply === "watching", "a watch");
    return async () => {
      const ended = await process.command({ command: "unwatch", watch: reply.watch });
      assert(ended.reply === "samples", "the samples of a watch");
      return ended.samples;
    };
  }

  /** Takes an endpoint's link away, as when a pod dies under the agent; its process stays, unreachable. */
  cut(name: string): void {
    cutWire(this.wire(name));
  }

  /** Takes endpoints away with all that is theirs: links, namespaces, processes. Their names are free again. */
  remove(names: readonly string[]): void {
    const wires = names.map((name) => this.wire(name));
    for (const name of names) {
      this.#endpoints.get(name)?.process.close();
      this.#endpoints.delete(name);
    }
    unmakeWires(wires);
  }

  /**
   * Rewrites destinations on the way through the node, as kube-proxy does; these rules take the place of those before.
   * @throws OperationError
   */
  rewrite(rewrites: readonly Rewrite[]): void {
    if (!this.#rewrites && rewrites.length === 0) return;
    if (!this.#rewrites) this.#teardown.defer(() => rewrite(this.prefix, []));
    this.#rewrites = true;
    rewrite(this.prefix, rewrites);
  }

  /** Undone by `close`, or when the process ends, before anything of the lab is taken away. Must be synchronous. */
  defer(undo: () => void): void {
    this.#teardown.defer(undo);
  }

  close(): void {
    this.#teardown.close();
  }

  async #process(name: string): Promise<PodProcess> {
    if (name === NODE) {
      this.#node ??= this.#start(NODE, undefined, { name, addresses: [], http: [], tcp: [], udp: [] });
      return (await this.#node).process;
    }
    return present(this.#endpoints.get(name), `endpoint ${name}`).process;
  }
}

const configOf = (spec: EndpointSpec): ProcessConfig => ({
  name: spec.name,
  addresses: spec.addresses,
  http: spec.http ?? [],
  tcp: spec.tcp ?? [],
  udp: spec.udp ?? [],
  ...(spec.dns && { dns: spec.dns }),
});
