// Connection limits of a listener: one for each peer and one in total, so that no peer keeps the others out.

import type { Server, Socket } from "node:net";

export interface ConnectionLimits {
  /** Connections of one peer. */
  readonly perPeer: number;
  /** Connections of one trusted peer. */
  readonly perTrustedPeer: number;
  /** Connections of all peers together. */
  readonly total: number;
}

export interface PeerOptions {
  readonly limits: ConnectionLimits;
  /** Name of the peer; undefined if the connection has ended already. */
  readonly peerOf: (socket: Socket) => string | undefined;
  /** Peers whose connections are never closed to free a slot. */
  readonly isTrusted: (peer: string) => boolean;
  /** Sent to a refused connection before it is closed. */
  readonly refusal: (reason: string) => string;
}

export interface LimitedConnections {
  /** Number of connections refused, or closed to free a slot, since the start. */
  refused(): number;
}

/**
 * Limits the connections of a server. A peer at its limit gets no further connection. Above the total limit,
 * the oldest connection of the peer with the most is closed, so that a new client is served no matter how
 * many connections others hold.
 */
export function limitConnections(server: Server, options: PeerOptions): LimitedConnections {
  const { limits, peerOf, isTrusted, refusal } = options;
  /** For each peer, the oldest first. */
  const open = new Map<string, Set<Socket>>();
  let total = 0;
  let refused = 0;
  const forget = (peer: string, socket: Socket): void => {
    const sockets = open.get(peer);
    if (sockets?.delete(socket) !== true) return;
    total -= 1;
    if (sockets.size === 0) open.delete(peer);
  };
  const refuse = (socket: Socket, reason: string): void => {
    refused += 1;
    socket.end(refusal(reason));
    socket.destroySoon();
  };
  /** Closes a connection of the peer with the most. Returns whether a slot is free now. */
  const makeRoom = (): boolean => {
    const candidates = [...open].filter(([peer]) => !isTrusted(peer));
    const most = candidates.reduce((max, [, { size }]) => Math.max(max, size), 0);
    const [peer, sockets] = candidates.find(([, { size }]) => size === most) ?? [];
    const [oldest] = sockets ?? [];
    if (peer === undefined || oldest === undefined) return false;
    refused += 1;
    // Before its "close" event, so that the slot is free now.
    forget(peer, oldest);
    oldest.destroy();
    return true;
  };
  server.on("connection", (socket: Socket) => {
    const peer = peerOf(socket);
    if (peer === undefined) {
      socket.destroy();
      return;
    }
    const max = isTrusted(peer) ? limits.perTrustedPeer : limits.perPeer;
    if ((open.get(peer)?.size ?? 0) >= max) {
      refuse(socket, `${peer} has ${max} connections already, the maximum per peer`);
      return;
    }
    if (total >= limits.total && !makeRoom()) {
      refuse(socket, `there are ${limits.total} connections already, the maximum in total`);
      return;
    }
    const sockets = open.get(peer) ?? new Set();
    open.set(peer, sockets.add(socket));
    total += 1;
    socket.once("close", () => forget(peer, socket));
  });
  return { refused: () => refused };
}
