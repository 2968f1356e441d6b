// What `exec` needs of a kubelet, and no more: the API server passes a WebSocket on to it, and it runs the command of the pod
// that is asked for. Without a node's container runtime, a pod here is a function that runs its command on this machine.

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";

/** Runs a command of the container, without the program's name, to its end: its exit status. */
export type Container = (args: readonly string[], streams: ContainerStreams) => Promise<number>;

export interface ContainerStreams {
  readonly stdout: (data: Buffer) => void;
  readonly stderr: (data: Buffer) => void;
  /** Aborted when the connection is closed: then the command's standard input ends, and nothing else happens to it. */
  readonly closed: AbortSignal;
}

export interface Kubelet {
  readonly port: number;
  /** Cuts the connections of all commands. */
  disconnect(): void;
  close(): void;
}

interface Socket {
  send(data: Buffer): void;
  close(): void;
  terminate(): void;
  on(event: "close", listener: () => void): void;
}

/** The package has no types; it is the client library's own. */
interface WebSockets {
  readonly WebSocketServer: new (options: {
    readonly server: unknown;
    readonly handleProtocols: (offered: ReadonlySet<string>) => string | false;
  }) => {
    on(event: "connection", listener: (socket: Socket, request: { readonly url?: string }) => void): void;
  };
}

const PROTOCOL = "v4.channel.k8s.io";
const [STDOUT, STDERR, STATUS] = [1, 2, 3];

const framed = (channel: number, data: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from([channel]), Buffer.from(data)]);

/** `pods` by `namespace/name`. The certificate is the API server's: it does not check a kubelet's. */
export async function openKubelet(
  certificate: string,
  key: string,
  pods: ReadonlyMap<string, Container>,
): Promise<Kubelet> {
  const { WebSocketServer } = (await import("ws" as string)) as unknown as WebSockets;
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
  const sockets = new WebSocketServer({
    server,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  });
  const open = new Set<Socket>();
  sockets.on("connection", (socket, request) => {
    open.add(socket);
    const closed = new AbortController();
    socket.on("close", () => {
      open.delete(socket);
      closed.abort();
    });
    const url = new URL(request.url ?? "", "https://kubelet");
    const [, , namespace, name] = url.pathname.split("/");
    const [program, ...args] = url.searchParams.getAll("command");
    const streams: ContainerStreams = {
      stdout: (data) => socket.send(framed(STDOUT ?? 1, data)),
      stderr: (data) => socket.send(framed(STDERR ?? 2, data)),
      closed: closed.signal,
    };
    void run(pods.get(`${namespace}/${name}`), program, args, streams).then((status) => {
      socket.send(framed(STATUS ?? 3, JSON.stringify(statusOf(status))));
      socket.close();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const disconnect = (): void => {
    for (const socket of open) socket.terminate();
  };
  return {
    port: (server.address() as AddressInfo).port,
    disconnect,
    close() {
      disconnect();
      server.close();
      server.closeAllConnections();
    },
  };
}

async function run(
  container: Container | undefined,
  program: string | undefined,
  args: readonly string[],
  streams: ContainerStreams,
): Promise<number> {
  if (container !== undefined && program === "weir") return container(args, streams);
  streams.stderr(Buffer.from(`no container runs ${program}\n`));
  return 126;
}

/** As k8s.io/kubernetes/pkg/kubelet/cri/streaming/remotecommand writes it. */
const statusOf = (status: number) =>
  status === 0
    ? { metadata: {}, status: "Success" }
    : {
        metadata: {},
        status: "Failure",
        message: `command terminated with non-zero exit code: exit status ${status}`,
        reason: "NonZeroExitCode",
        details: { causes: [{ reason: "ExitCode", message: String(status) }] },
      };
