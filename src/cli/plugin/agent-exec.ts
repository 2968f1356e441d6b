// A command in a container, by exec of the API server: with its whole output, or as a stream that lasts.

import { Readable, Writable } from "node:stream";
import { Exec, type KubeConfig, type V1Status } from "@kubernetes/client-node";
import { valueAt } from "../../source/parse/fields.ts";

export interface Place {
  readonly namespace: string;
  readonly name: string;
  readonly container: string;
}

export interface StreamOptions {
  readonly onStdout: (bytes: Buffer) => void;
  readonly onStderr: (bytes: Buffer) => void;
  /** When the command runs. */
  readonly onOpen?: () => void;
  /** 0 for unlimited: then a connection that is silent for a minute, pings included, is given up. */
  readonly timeoutMs: number;
  /** Closes the connection. */
  readonly signal?: AbortSignal;
  /** The command's standard input is open as long as the connection. */
  readonly hasStdin?: boolean;
}

export interface Done {
  readonly exitCode: number;
  readonly stdout: string;
  /** The same as it came. */
  readonly bytes: Buffer;
  readonly stderr: string;
}

/** Of the package that the library uses, which has no types. */
interface Socket {
  terminate(): void;
  ping(): void;
  on(event: "close" | "pong" | "message", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
}

/** As kubectl does it: proxies on the way close connections without traffic. */
const PING_MS = 5_000;
const SILENCE_MS_MAX = 60_000;

/** The exit code of the command. @throws Error if it could not be run, or did not end in time, or the signal was aborted */
export function execStream(
  config: KubeConfig,
  { namespace, name, container }: Place,
  args: readonly string[],
  { onStdout, onStderr, onOpen, timeoutMs, signal, hasStdin = false }: StreamOptions,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let socket: Socket | undefined;
    let isEnded = false;
    let heardAt = performance.now();
    const end = (settle: () => void): void => {
      if (isEnded) return;
      isEnded = true;
      clearTimeout(timer);
      clearInterval(pings);
      signal?.removeEventListener("abort", abort);
      socket?.terminate();
      settle();
    };
    const fail = (message: string): void => end(() => reject(new Error(message)));
    const abort = (): void => fail("stopped");
    const timer =
      timeoutMs === 0 ? undefined : setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    const pings = setInterval(() => {
      if (performance.now() - heardAt > SILENCE_MS_MAX) fail(`silent for ${SILENCE_MS_MAX / 1_000} s`);
      else socket?.ping();
    }, PING_MS);
    if (signal?.aborted === true) {
      abort();
      return;
    }
    signal?.addEventListener("abort", abort);
    const into = (take: (bytes: Buffer) => void): Writable =>
      new Writable({
        write(chunk: Buffer, _, done) {
          try {
            if (!isEnded) take(chunk);
          } catch (thrown) {
            end(() => reject(thrown));
          }
          done();
        },
      });
    const onStatus = (status: V1Status): void => {
      const exitCode = exitCodeOf(status);
      if (exitCode === undefined) fail(status.message ?? "the command could not be run");
      else end(() => resolve(exitCode));
    };
    new Exec(config)
      .exec(
        namespace,
        name,
        container,
        [...args],
        into(onStdout),
        into(onStderr),
        hasStdin ? new Readable({ read: () => undefined }) : null,
        false,
        onStatus,
      )
      .then((opened) => {
        socket = opened as unknown as Socket;
        // Too late: an open connection would keep the process.
        if (isEnded) {
          socket.terminate();
          return;
        }
        const heard = (): void => {
          heardAt = performance.now();
        };
        heard();
        socket.on("pong", heard);
        socket.on("message", heard);
        socket.on("close", () => fail("the connection was closed"));
        socket.on("error", (error) => end(() => reject(error)));
        onOpen?.();
      })
      .catch((thrown: unknown) => end(() => reject(errorOf(thrown))));
  });
}

const BYTES_MAX = 64 << 20;

/** @throws Error as `execStream`, or if the output is too long */
export async function execToEnd(
  config: KubeConfig,
  place: Place,
  args: readonly string[],
  timeoutMs: number,
): Promise<Done> {
  const [out, err] = [collector(), collector()];
  const streams = { onStdout: out.take, onStderr: err.take };
  const exitCode = await execStream(config, place, args, { ...streams, timeoutMs });
  const bytes = out.bytes();
  return { exitCode, stdout: bytes.toString(), bytes, stderr: err.bytes().toString() };
}

function collector(): { readonly take: (bytes: Buffer) => void; readonly bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    take(chunk) {
      length += chunk.length;
      if (length > BYTES_MAX) throw new Error(`more than ${BYTES_MAX} bytes`);
      chunks.push(chunk);
    },
    bytes: () => Buffer.concat(chunks),
  };
}

/** The client rejects with an event of the socket, whose message is in a field. */
function errorOf(thrown: unknown): Error {
  const message = valueAt(thrown, ["message"]);
  return thrown instanceof Error ? thrown : new Error(typeof message === "string" ? message : "exec failed");
}

/** Undefined if the command did not run to its end. */
function exitCodeOf({ status, details }: V1Status): number | undefined {
  if (status === "Success") return 0;
  const code = details?.causes?.find(({ reason }) => reason === "ExitCode")?.message;
  return code === undefined ? undefined : Number(code);
}
