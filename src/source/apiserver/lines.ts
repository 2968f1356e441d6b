// The lines of a watch as they come: none too long, too slow or cut off, and never a silence that lasts.

import type { IncomingMessage } from "node:http";
import { Failure } from "./request-failure.ts";
import type { Timing } from "./request-timing.ts";

export interface LinesOptions {
  /** For what it says where it fails. */
  readonly path: string;
  readonly timing: Pick<Timing, "bytesMax" | "idleMs" | "lineMs">;
  /** Called whenever something comes, be it part of a line. */
  readonly onBytes: () => void;
  /** Gets every line; what it throws ends the reading. */
  readonly onLine: (text: string) => void;
}

const LINE_END = 0x0a;

/**
 * Reads lines until the body ends in good order. Errors: Failure where it does not, where a line is cut off, too long, no
 * UTF-8 or too slow, or where nothing comes for too long; and what `onLine` throws.
 */
export async function readLines(body: IncomingMessage, options: LinesOptions): Promise<void> {
  const { path, onBytes } = options;
  const clock = openClock(body, options);
  const assembler = openAssembler(options);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      onBytes();
      const lines = assembler.take(chunk);
      clock.heard(lines > 0, assembler.pending() > 0);
    }
  } finally {
    clock.close();
  }
  if (assembler.pending() > 0)
    throw new Failure("the connection ended in the middle of an event", path, { why: "broken" });
}

/** Puts an end to a body that says nothing any more, or that never comes to the end of a line. */
function openClock(body: IncomingMessage, { path, timing }: LinesOptions) {
  const end = (reason: string) => () => {
    body.destroy(new Failure(reason, path, { why: "silent" }));
  };
  const idle = setTimeout(end(`nothing came for ${timing.idleMs} ms`), timing.idleMs);
  let line: NodeJS.Timeout | undefined;
  return {
    heard(lineEnded: boolean, inLine: boolean) {
      idle.refresh();
      if (lineEnded) {
        clearTimeout(line);
        line = undefined;
      }
      if (inLine) line ??= setTimeout(end(`an event took more than ${timing.lineMs} ms`), timing.lineMs);
    },
    close() {
      clearTimeout(idle);
      clearTimeout(line);
    },
  };
}

function openAssembler({ path, timing, onLine }: LinesOptions) {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let parts: Buffer[] = [];
  let bytes = 0;
  const finish = (last: Buffer): void => {
    const whole = parts.length === 0 ? last : Buffer.concat([...parts, last]);
    parts = [];
    bytes = 0;
    let text: string;
    try {
      text = decoder.decode(whole);
    } catch (cause) {
      throw new Failure("an event is no UTF-8", path, { why: "unreadable", cause });
    }
    if (text.trim() !== "") onLine(text);
  };
  return {
    /** Gives how many lines ended in it. */
    take(chunk: Buffer): number {
      let start = 0;
      let lines = 0;
      for (let end = chunk.indexOf(LINE_END); end >= 0; end = chunk.indexOf(LINE_END, start)) {
        finish(chunk.subarray(start, end));
        start = end + 1;
        lines += 1;
      }
      if (start === chunk.length) return lines;
      const rest = chunk.subarray(start);
      bytes += rest.length;
      if (bytes > timing.bytesMax)
        throw new Failure(`an event has more than ${timing.bytesMax} bytes`, path, { why: "unreadable" });
      parts.push(rest);
      return lines;
    },
    /** Bytes of the line that has begun. */
    pending: () => bytes,
  };
}
