// Sends a numbered datagram every millisecond to an echo server, and reports when the answers begin and when they end.
//
//   node beat-child.ts ADDRESS PORT
//
// Writes lines of JSON: {"open": T} with the time at which the first answered datagram was sent, {"shut": T} with that of the
// last. Times are milliseconds since the epoch, with fractions. Ends with its stdin.

import { createSocket } from "node:dgram";

/** Silence of this length counts as an end: much longer than an answer takes, shorter than a test waits. */
const SILENCE_MS = 120;
const BEAT_MS = 1;
/** Send times of the newest datagrams, by number. */
const REMEMBERED = 4096;

const [address = "", port = ""] = process.argv.slice(2);
const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
const sentAt = new Float64Array(REMEMBERED);
const now = (): number => performance.timeOrigin + performance.now();
const say = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

let number = 0;
/** Send time of the newest datagram that was answered. */
let answered: number | undefined;
let isOpen = false;

socket.on("message", (message) => {
  const sent = sentAt[message.readUInt32BE(0) % REMEMBERED] ?? 0;
  if (answered === undefined || sent > answered) answered = sent;
  if (isOpen) return;
  isOpen = true;
  say({ open: sent });
});
// A datagram that is refused or has no route counts as unanswered.
socket.on("error", () => undefined);
socket.connect(Number(port), address, () => {
  setInterval(() => {
    number += 1;
    sentAt[number % REMEMBERED] = now();
    const message = Buffer.alloc(4);
    message.writeUInt32BE(number);
    socket.send(message, () => undefined);
    if (!isOpen || answered === undefined || now() - answered < SILENCE_MS) return;
    isOpen = false;
    say({ shut: answered });
  }, BEAT_MS);
});
process.stdin.on("end", () => process.exit(0)).resume();
