// The servers and probes of one network namespace, over real sockets.

import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns";
import { createServer as createHttpServer, get } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { addressOf } from "../base/ip.ts";
import { addressesIn, DNS_TYPE, dnsOverTcp, dnsQuestion } from "./dns-message.ts";
import { dnsServers } from "./dns-server.ts";
import type { Outcome, Probe, ProcessConfig } from "./pod-protocol.ts";

const RESEND_MS = 100;
const DNS_PORT = 53;

/** Never rejects: what goes wrong is the outcome. */
export async function run(probe: Probe): Promise<Outcome> {
  if (probe.lookup === undefined) return runTo(probe);
  const startedAt = performance.now();
  const found = await (probe.lookup.tcp === true ? lookUpOverTcp : lookUp)(probe, probe.lookup);
  if (found.result !== "reached" || found.text === undefined) return found;
  const timeoutMs = Math.max(1, probe.timeoutMs - (performance.now() - startedAt));
  return runTo({ ...probe, address: found.text, timeoutMs });
}

/** The resolver's first address, as the text of the outcome; repeated every 200 ms. */
const lookUp = (
  { address, timeoutMs }: Probe,
  { name, resolver: server }: NonNullable<Probe["lookup"]>,
): Promise<Outcome> =>
  attempt(timeoutMs, (attempt) => {
    const resolver = new Resolver({ timeout: 200, tries: Math.ceil(timeoutMs / 200) });
    resolver.setServers([server.includes(":") ? `[${server}]` : server]);
    const done = (error: Error | null, addresses: readonly string[]): void => {
      if (error !== null) attempt.failed(error);
      else attempt.reached(addresses[0]);
    };
    if (address.includes(":")) resolver.resolve6(name, done);
    else resolver.resolve4(name, done);
    return () => resolver.cancel();
  });

/** The same over TCP, in a connection of its own. */
const lookUpOverTcp = (
  { address, timeoutMs }: Probe,
  { name, resolver: host }: NonNullable<Probe["lookup"]>,
): Promise<Outcome> =>
  attempt(timeoutMs, (attempt) => {
    const type = address.includes(":") ? DNS_TYPE.AAAA : DNS_TYPE.A;
    let received: Buffer = Buffer.alloc(0);
    const socket = connect({ host, port: DNS_PORT }, () =>
      socket.write(dnsOverTcp(dnsQuestion({ id: 1, name, type }))),
    );
    socket.on("error", attempt.failed);
    socket.on("data", (data) => {
      received = Buffer.concat([received, data]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE()) return;
      const [first] = addressesIn(received.subarray(2));
      if (first === undefined) attempt.failed(new Error("ENODATA"));
      else
        attempt.reached(
          addressOf(first.length === 4 ? 4 : 6, BigInt(`0x${Buffer.from(first).toString("hex")}`)).text,
        );
    });
    socket.on("end", () => attempt.failed(new Error("closed before the answer")));
    return () => socket.destroy();
  });

function runTo(probe: Probe): Promise<Outcome> {
  switch (probe.kind) {
    case "http":
      return fetchRoot(probe);
    case "tcp":
      return connectAndEcho(probe);
    case "udp":
      return echoDatagram(probe);
    case "icmp":
      return ping(probe);
  }
}

export interface Attempt {
  reached(text?: string): void;
  failed(thrown: Error): void;
}

/**
 * Starts something that has `timeoutMs` to report to its attempt; the first report counts. `start` returns what ends it.
 */
export function attempt(timeoutMs: number, start: (attempt: Attempt) => () => void): Promise<Outcome> {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let end: (() => void) | undefined;
    let over = false;
    const finish = (outcome: Outcome): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      // `start` may report before it returns.
      if (end === undefined) queueMicrotask(() => end?.());
      else end();
      resolve(outcome);
    };
    // On a machine that stalls, a timer fires before the event loop has looked at an answer that is already there;
    // one more turn of the loop lets it look.
    const timer = setTimeout(
      () => setImmediate(() => setImmediate(() => finish({ result: "silent" }))),
      timeoutMs,
    );
    end = start({
      reached: (text) => {
        const afterMs = Math.round((performance.now() - startedAt) * 10) / 10;
        finish({ result: "reached", afterMs, ...(text === undefined ? {} : { text }) });
      },
      failed: (thrown) => finish(failure(thrown)),
    });
  });
}

/** ETIMEDOUT is the kernel giving up on a silent peer, ETIMEOUT a client of DNS. */
function failure(thrown: Error): Outcome {
  const code = "code" in thrown && typeof thrown.code === "string" ? thrown.code : thrown.message;
  return code === "ETIMEDOUT" || code === "ETIMEOUT"
    ? { result: "silent" }
    : { result: "failed", reason: code };
}

/** A unique text of at least so many bytes. */
const words = (bytes = 0): string => `weir ${Math.random().toString(36).slice(2)}\n`.padStart(bytes, "-");

export const socketOptions = (probe: Probe) => ({
  host: probe.address,
  port: probe.port ?? 0,
  ...(probe.source === undefined ? {} : { localAddress: probe.source }),
});

/** One round trip on an open connection to an echo server. */
export function echoOnce(socket: Socket, timeoutMs: number, bytes?: number): Promise<Outcome> {
  const said = words(bytes);
  let received = "";
  return attempt(timeoutMs, (attempt) => {
    const onData = (data: Buffer): void => {
      received += data.toString("latin1");
      // Earlier words that were late may come first.
      if (received.endsWith(said)) attempt.reached();
    };
    const onClose = (): void => attempt.failed(new Error("closed"));
    socket.on("data", onData).on("error", attempt.failed).on("close", onClose);
    if (socket.destroyed) attempt.failed(new Error("closed"));
    else socket.write(said);
    return () => {
      socket.off("data", onData).off("error", attempt.failed).off("close", onClose);
    };
  });
}

const connectAndEcho = (probe: Probe): Promise<Outcome> =>
  attempt(probe.timeoutMs, (attempt) => {
    const said = words(probe.bytes);
    let received = "";
    const socket = connect(socketOptions(probe), () => socket.write(said));
    socket.setNoDelay(true);
    socket.on("error", attempt.failed);
    socket.on("data", (data) => {
      received += data.toString("latin1");
      if (received === said) attempt.reached();
      else if (!said.startsWith(received)) attempt.failed(new Error("not an echo server"));
    });
    socket.on("end", () => attempt.failed(new Error("closed before the echo")));
    return () => socket.destroy();
  });

const fetchRoot = (probe: Probe): Promise<Outcome> =>
  attempt(probe.timeoutMs, (attempt) => {
    // One connection a probe: a reused one would be an established flow.
    const request = get({ ...socketOptions(probe), path: "/", agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("error", attempt.failed);
      response.on("end", () => {
        if (response.statusCode === 200) attempt.reached(body.trim());
        else attempt.failed(new Error(`HTTP ${response.statusCode}`));
      });
    });
    request.on("error", attempt.failed);
    return () => request.destroy();
  });

const echoDatagram = (probe: Probe): Promise<Outcome> =>
  attempt(probe.timeoutMs, (attempt) => {
    const said = words(probe.bytes);
    const socket = createSocket(probe.address.includes(":") ? "udp6" : "udp4");
    let resend: NodeJS.Timeout | undefined;
    const send = (): void => socket.send(said, (error) => error !== null && attempt.failed(error));
    socket.on("error", attempt.failed);
    socket.on("message", (message) => {
      if (message.toString("latin1") === said) attempt.reached();
    });
    socket.once("connect", () => {
      send();
      if (probe.once !== true) resend = setInterval(send, RESEND_MS);
    });
    // A connected socket receives ICMP errors, and datagrams of its peer only.
    socket.bind({ port: 0, ...(probe.source === undefined ? {} : { address: probe.source }) }, () =>
      socket.connect(probe.port ?? 0, probe.address),
    );
    return () => {
      clearInterval(resend);
      socket.close();
    };
  });

/** Node has no raw sockets, so iputils' ping sends the request. Its exit status 1 is "no reply". */
const ping = (probe: Probe): Promise<Outcome> =>
  new Promise((resolve) => {
    const startedAt = performance.now();
    const source = probe.source === undefined ? [] : ["-I", probe.source];
    const seconds = (probe.timeoutMs / 1000).toFixed(3);
    execFile(
      "ping",
      ["-n", "-q", "-c", "1", "-W", seconds, ...source, probe.address],
      (error, stdout, stderr) => {
        if (error === null)
          resolve({ result: "reached", afterMs: Math.round(performance.now() - startedAt) });
        else if (error.code === 1 && !/errors/.test(stdout)) resolve({ result: "silent" });
        else
          resolve({
            result: "failed",
            reason: (stderr || stdout || error.message).trim().replaceAll(/\s*\n\s*/g, "; "),
          });
      },
    );
  });

// The servers of one namespace: web, TCP echo and UDP echo, on each of its addresses.

/** Resolves once every server listens; rejects with the first that cannot. */
export async function listen(config: ProcessConfig): Promise<void> {
  const starts: Promise<void>[] = [];
  for (const address of config.addresses) {
    for (const port of config.http) starts.push(listenOn(webServer(config.name), address, port));
    for (const port of config.tcp) starts.push(listenOn(createServer(echo), address, port));
    // A datagram's answer must come from the address it was sent to, so each address has its own socket.
    for (const port of config.udp) starts.push(echoDatagrams(address, port));
    if (config.dns !== undefined) starts.push(...dnsServers(address, config.dns));
  }
  await Promise.all(starts);
}

const webServer = (name: string): Server =>
  createHttpServer((_request, response) => {
    response.setHeader("content-type", "text/plain");
    response.setHeader("connection", "close");
    response.end(`${name}\n`);
  });

function echo(socket: Socket): void {
  socket.setNoDelay(true);
  // The client is free to vanish; the server has nothing to save.
  socket.on("error", () => socket.destroy());
  socket.pipe(socket);
}

const listenOn = (server: Server, host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => resolve());
  });

const echoDatagrams = (address: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.once("error", reject);
    socket.on("message", (message, peer) => socket.send(message, peer.port, peer.address));
    socket.bind(port, address, () => resolve());
  });
