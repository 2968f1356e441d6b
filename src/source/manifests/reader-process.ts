// The program of a process that reads the content of one manifest file after another (reader-pool.ts).

import { decode, failedReading, NOT_TEXT, NOTHING_READ, readAll, readText } from "./manifest-reading.ts";
import { PART_OBJECTS, type Part, type Request } from "./reader-pool.ts";

let reading = NOTHING_READ;
let sent = 0;

process.on("message", (request: Request) => {
  if (request.kind === "read") {
    const { file, bytes } = request;
    const text = decode(bytes);
    reading = text === undefined ? failedReading(file, NOT_TEXT) : readAll(readText(file, text));
    sent = 0;
  }
  const objects = reading.objects.slice(sent, sent + PART_OBJECTS);
  sent += objects.length;
  const isLast = sent >= reading.objects.length;
  const part: Part = isLast ? { objects, rest: { ...reading, objects: [] } } : { objects };
  if (isLast) reading = NOTHING_READ;
  process.send?.(part);
});
// The agent has ended.
process.on("disconnect", () => process.exit(0));
