// Limits of connections, over real sockets: peers are loopback addresses, one of them trusted.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type ConnectionLimits, limitConnections } from "../../../src/observe/connection-limits.ts";

const TRUSTED = "127.0.0.9";
const [A, B, C] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];

const sockets: Socket[] = [];
const servers: Server[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** One end of a connection that was tried. */
interface Client {
  readonly socket: Socket;
  /** All data until the other end closed. */
  readonly closed: Promise<string>;
  isOpen(): boolean;
}

async function open(limits: ConnectionLimits) {
  const server = createServer();
  const limited = limitConnections(server, {
    limits,
    peerOf: ({ remoteAddress }) => remoteAddress,
    isTrusted: (peer) => peer === TRUSTED,
    refusal: (reason) => `refused: ${reason}`,
  });
  server.on("connection", (socket) => {
    socket.on("error", () => undefined);
    // A client that is not refused is notified that it was accepted.
    if (socket.writable) socket.write("hello ");
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const from = async (localAddress: string): Promise<Client> => {
    const socket = connect({ port, host: "127.0.0.1", localAddress });
    sockets.push(socket);
    let text = "";
    let isOpen = true;
    const heard = new Promise<void>((resolve) => {
      socket.on("data", (chunk) => {
        text += chunk.toString();
        resolve();
      });
      socket.on("close", () => resolve());
    });
    const closed = new Promise<string>((resolve) => {
      socket.on("close", () => {
        isOpen = false;
        resolve(text);
      });
    });
    socket.on("error", () => undefined);
    await heard;
    return { socket, closed, isOpen: () => isOpen };
  };
  return { limited, from };
}

describe("one peer", () => {
  it("gets as many as it may have, is refused more, and gets one again when one has ended", async () => {
    const { limited, from } = await open({ perPeer: 2, perTrustedPeer: 3, total: 10 });
    const first = await from(A);
    await from(A);
    expect(await (await from(A)).closed).toMatch(/refused: 127\.0\.0\.2 has 2 connections already/);
    expect(await (await from(A)).closed).toMatch(/refused/);
    expect(limited.refused()).toBe(2);
    const other = await from(B);
    expect(other.isOpen()).toBe(true);
    first.socket.destroy();
    await first.closed;
    await expect.poll(async () => (await from(A)).isOpen(), { timeout: 10_000 }).toBe(true);
  });

  it("that is trusted has a share of its own", async () => {
    const { from } = await open({ perPeer: 1, perTrustedPeer: 3, total: 10 });
    for (let count = 0; count < 3; count += 1) expect((await from(TRUSTED)).isOpen()).toBe(true);
    expect(await (await from(TRUSTED)).closed).toMatch(/has 3 connections already/);
  });
});

describe("all together", () => {
  it("the oldest of the peer with the most is closed for a new one", async () => {
    const { limited, from } = await open({ perPeer: 3, perTrustedPeer: 3, total: 4 });
    const b = await from(B);
    const [a1, a2, a3] = [await from(A), await from(A), await from(A)];
    const c = await from(C);
    expect(await a1.closed).toBe("hello ");
    expect([a2, a3, b, c].map((client) => client.isOpen())).toEqual([true, true, true, true]);
    expect(limited.refused()).toBe(1);
    const c2 = await from(C);
    await a2.closed;
    expect([a3, b, c, c2].map((client) => client.isOpen())).toEqual([true, true, true, true]);
  });

  it("a trusted peer's are never closed for that, and it is always accepted", async () => {
    const { from } = await open({ perPeer: 4, perTrustedPeer: 4, total: 4 });
    const trusted = [await from(TRUSTED), await from(TRUSTED), await from(TRUSTED)];
    const a = await from(A);
    const b = await from(B);
    await a.closed;
    trusted.push(await from(TRUSTED));
    await b.closed;
    expect(await (await from(A)).closed).toMatch(/refused: there are 4 connections already/);
    expect(trusted.every((client) => client.isOpen())).toBe(true);
  });
});
