// The servers of one namespace: web, TCP echo and UDP echo, on each of its addresses.

import { createSocket } from "node:dgram";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import type { ProcessConfig } from "./pod-protocol.ts";

/** Resolves once every server listens; rejects with the first that cannot. */
export async function listen(config: ProcessConfig): Promise<void> {
  const starts: Promise<void>[] = [];
  for (const address of config.addresses) {
    for (const port of config.http) starts.push(listenOn(webServer(config.name), address, port));
    for (const port of config.tcp) starts.push(listenOn(createServer(echo), address, port));
    // A datagram's answer must come from the address it was sent to, so each address has its own socket.
    for (const port of config.udp) starts.push(echoDatagrams(address, port));
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
