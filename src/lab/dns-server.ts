// A DNS server for labs: serves one zone over UDP and TCP.

import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { addressBytes, parseAddress } from "../base/ip.ts";
import { DNS_TYPE, type DnsRecord, dnsAnswer, dnsOverTcp, questionOf } from "./dns-message.ts";
import type { Zone } from "./pod-protocol.ts";

const PORT = 53;
const TTL_SECONDS = 1;
const NO_SUCH_NAME = 0x8003;
const TRUNCATED = 0x8200;
/** Of a message over UDP, that clients of this lab take; longer ones are truncated. */
const DATAGRAM_MAX = 1_232;

/** The answer to a question; undefined if it is none. */
export function answerFrom(zone: Zone, message: Uint8Array): Buffer | undefined {
  const question = questionOf(message);
  if (question === undefined) return undefined;
  const addresses = zone[question.name.toLowerCase()];
  if (addresses === undefined) return dnsAnswer({ ...question, records: [], flags: NO_SUCH_NAME });
  const records = addresses.flatMap((text): DnsRecord[] => {
    const parsed = parseAddress(text);
    if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
    const type = parsed.value.family === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA;
    return type === question.type
      ? [{ type, ttl: TTL_SECONDS, data: Uint8Array.from(addressBytes(parsed.value)) }]
      : [];
  });
  return dnsAnswer({ ...question, records });
}

/** What is too long for a datagram has no records, so that the client repeats its question over TCP. */
function datagramOf(message: Uint8Array, answer: Uint8Array): Uint8Array {
  const question = questionOf(message);
  if (answer.length <= DATAGRAM_MAX || question === undefined) return answer;
  return dnsAnswer({ ...question, records: [], flags: TRUNCATED });
}

/** Each resolves once it listens. */
export const dnsServers = (address: string, zone: Zone): Promise<void>[] => [
  new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.once("error", reject);
    socket.on("message", (message, peer) => {
      const answer = answerFrom(zone, message);
      if (answer !== undefined) socket.send(datagramOf(message, answer), peer.port, peer.address);
    });
    socket.bind(PORT, address, () => resolve());
  }),
  new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      let received = Buffer.alloc(0);
      socket.on("error", () => socket.destroy());
      socket.on("data", (data: Buffer) => {
        received = Buffer.concat([received, data]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE()) {
          const end = 2 + received.readUInt16BE();
          const answer = answerFrom(zone, received.subarray(2, end));
          received = received.subarray(end);
          if (answer !== undefined) socket.write(dnsOverTcp(answer));
        }
      });
    });
    server.once("error", reject);
    server.listen({ host: address, port: PORT }, () => resolve());
  }),
];
