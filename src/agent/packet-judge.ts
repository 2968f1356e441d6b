// The kernel's verdicts on packets that nobody sent, for `weir trace`: a shadow instance of the programs, loaded at the first
// query and kept while there are more.

import { DIRECTIONS } from "../base/direction.ts";
import { openShadowInstance, type PacketQuery, type ShadowInstance } from "../datapath/shadow-instance.ts";
import type { JudgedView, JudgeRequest } from "../observe/api-views.ts";
import { RequestError, type Route } from "../observe/socket-routes.ts";

export interface PacketJudge {
  /** Verdicts of one generation. Errors: BpfError, OperationError. */
  judge(queries: readonly PacketQuery[]): Promise<JudgedView>;
  /** Waits for a query in progress. Idempotent. */
  close(): Promise<void>;
}

/** What a shadow instance holds in the kernel is returned after this time without a query. */
const IDLE_MS = 600_000;

/** How often a query is repeated because of a concurrent update. */
const ATTEMPTS_MAX = 5;

export interface JudgeOptions {
  readonly root: string;
  readonly object: string;
  readonly generation: () => number;
}

export function openPacketJudge({ root, object, generation }: JudgeOptions): PacketJudge {
  const shadow: ShadowInstance = openShadowInstance(root, object);
  let idle: NodeJS.Timeout | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;

  const closeIdle = (): void => {
    last = last.then(shadow.close);
  };

  async function judgeNow(queries: readonly PacketQuery[]): Promise<JudgedView> {
    if (closed) throw new Error("the agent is ending");
    clearTimeout(idle);
    try {
      for (let attempt = 1; ; attempt++) {
        const before = generation();
        const verdicts = await shadow.judge(queries);
        if (generation() === before || attempt === ATTEMPTS_MAX) return { generation: before, verdicts };
      }
    } catch (error) {
      // Whatever it was: the next query begins with new programs.
      shadow.close();
      throw error;
    } finally {
      if (!closed) idle = setTimeout(closeIdle, IDLE_MS).unref();
    }
  }

  return {
    judge(queries) {
      // One after the other: they share the programs' flows and counters.
      const answer = last.then(() => judgeNow(queries));
      last = answer.catch(() => undefined);
      return answer;
    },
    async close() {
      closed = true;
      clearTimeout(idle);
      await last;
      shadow.close();
    },
  };
}

const BODY_BYTES_MAX = 1 << 20;
const FRAME_BYTES_MAX = 2_048;
const ID_MAX = 0xffff_ffff;

/** `judge`: undefined until the datapath is open. */
export const judgeRoute = (judge: () => PacketJudge | undefined): Route => ({
  method: "POST",
  path: "judge",
  bodyBytesMax: BODY_BYTES_MAX,
  answer: (_, body) => {
    const queries = queriesIn(body);
    const open = judge();
    if (open === undefined) throw new Error("the agent is starting");
    return open.judge(queries);
  },
});

/** @throws RequestError */
function queriesIn(body: string): PacketQuery[] {
  const { packets } = parsed(body);
  if (!Array.isArray(packets)) throw new RequestError("packets: expected a list");
  return packets.map((each: Partial<JudgeRequest["packets"][number]> | null, index): PacketQuery => {
    const wrong = (field: string, expected: string): never => {
      throw new RequestError(`packets[${index}].${field}: expected ${expected}`);
    };
    const number = (field: "ifindex" | "ingressIfindex"): number => {
      const value = each?.[field];
      return Number.isInteger(value) && Number(value) > 0
        ? Number(value)
        : wrong(field, "an interface's index");
    };
    const direction = DIRECTIONS.find((known) => known === each?.direction);
    const frame = Buffer.from(typeof each?.frame === "string" ? each.frame : "", "base64");
    if (frame.length === 0 || frame.length > FRAME_BYTES_MAX)
      return wrong("frame", `1 to ${FRAME_BYTES_MAX} bytes in base64`);
    if (each?.id !== undefined && !(Number.isInteger(each.id) && each.id >= 0 && each.id <= ID_MAX))
      return wrong("id", "an endpoint's number");
    return {
      ifindex: number("ifindex"),
      ...(each?.id === undefined ? {} : { id: each.id }),
      ingressIfindex: number("ingressIfindex"),
      direction: direction ?? wrong("direction", DIRECTIONS.join(" or ")),
      frame,
    };
  });
}

function parsed(body: string): { readonly packets?: unknown } {
  try {
    return (JSON.parse(body) as object | null) ?? {};
  } catch {
    throw new RequestError("the body is not JSON");
  }
}
