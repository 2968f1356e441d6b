// The command line's end of a streamed answer: lines of JSON from the agent's socket, for as long as both
// sides keep it open.

import { connect } from "node:net";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";

const HEAD_BYTES_MAX = 64 * 1024;
const LINE_BYTES_MAX = 1024 * 1024;

/**
 * Requests `path` and calls `onLine` with each line. Resolves with false if no agent listens, and with true
 * when the agent has ended the answer, or the signal was aborted. @throws OperationError if it refuses, or
 * its answer is invalid
 */
export function followStream(
  socketPath: string,
  path: string,
  { onLine, signal }: { readonly onLine: (line: string) => void; readonly signal: AbortSignal },
): Promise<boolean> {
  const failure = (reason: string, cause?: unknown): OperationError => {
    const code = codeOf(cause);
    return new OperationError(reason, {
      operation: "follow the agent at",
      object: socketPath,
      ...(code === undefined ? {} : { code }),
      cause,
    });
  };
  return new Promise((resolve, reject) => {
    const connection = connect(socketPath);
    const stop = (): void => void connection.destroy();
    signal.addEventListener("abort", stop, { once: true });
    let rest = Buffer.alloc(0);
    let status: number | undefined;
    const lines = lineReader(onLine);
    connection.on("data", (chunk) => {
      if (status === 200) {
        if (!lines(chunk)) connection.destroy(failure(`a line of more than ${LINE_BYTES_MAX} bytes`));
        return;
      }
      rest = Buffer.concat([rest, chunk]);
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) {
        if (rest.length > HEAD_BYTES_MAX) connection.destroy(failure("the answer is not HTTP"));
        return;
      }
      status ??= Number(/^HTTP\/1\.[01] ([1-5][0-9]{2}) /.exec(rest.toString("latin1", 0, end))?.[1] ?? 0);
      if (status === 200) lines(rest.subarray(end + 4));
    });
    connection.on("error", (error) => {
      if (["ENOENT", "ECONNREFUSED", "ENOTDIR"].includes(codeOf(error) ?? "")) resolve(false);
      else reject(error instanceof OperationError ? error : failure(messageOf(error), error));
    });
    connection.on("close", () => {
      signal.removeEventListener("abort", stop);
      if (status === 200 || signal.aborted) resolve(true);
      else reject(failure(status === undefined ? "the answer broke off" : refusalIn(status, rest)));
    });
    connection.write(`GET ${path} HTTP/1.0\r\nhost: weir\r\n\r\n`);
  });
}

/** Takes bytes; returns false if a line does not end. */
function lineReader(onLine: (line: string) => void): (chunk: Buffer) => boolean {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      onLine(rest.toString("utf8", 0, end));
      rest = rest.subarray(end + 1);
    }
    return rest.length <= LINE_BYTES_MAX;
  };
}

function refusalIn(status: number, answer: Buffer): string {
  const body = answer.toString("utf8", answer.indexOf("\r\n\r\n") + 4);
  const reason = /"error":"((?:[^"\\]|\\.)*)"/.exec(body)?.[1] ?? "no reason given";
  return `status ${status}: ${reason}`;
}
