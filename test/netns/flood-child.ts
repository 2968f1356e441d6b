// In a namespace: sends two datagrams from each of some sockets to each of some ports, `ADDRESS SOCKETS FIRST-PORT PORTS`.

import { createSocket, type Socket } from "node:dgram";

const [address = "", ...numbers] = process.argv.slice(2);
const [sockets = 0, first = 0, ports = 0] = numbers.map(Number);
/** In flight at once: fewer than a CPU's queue of received packets holds. */
const AT_ONCE = 200;

const send = (socket: Socket, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.send("x", port, address, (error) => (error === null ? resolve() : reject(error)));
  });

for (let count = 0; count < sockets; count += 1) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  for (let from = 0; from < ports; from += AT_ONCE) {
    const many = Array.from({ length: Math.min(AT_ONCE, ports - from) }, (_, at) => first + from + at);
    // A full table evicts flows with only one packet first, and keeps the older ones.
    await Promise.all(many.map((port) => send(socket, port)));
    await Promise.all(many.map((port) => send(socket, port)));
  }
  socket.close();
}
