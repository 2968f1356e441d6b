// Requests to the agent, and what a missing answer means.

import { codeOf, messageOf } from "../base/errors.ts";
import { API_VERSION, type NamesView } from "../observe/api-views.ts";
import { type AskOptions, ask } from "../observe/socket-client.ts";
import { CommandError, type Context } from "./environment.ts";

/** The agent's views: paths of its API, below the version. */
export type View =
  | "known-names"
  | "status"
  | "endpoints"
  | "policies"
  | "names"
  | "cluster"
  | "reachability"
  | "state"
  | "log"
  | "log-level"
  | "events"
  | "events/left-out"
  | "bypasses";

/** Undefined where no agent listens. @throws OperationError where one does and does not answer well */
export const askAgent = <T>(
  { settings }: Context,
  view: View,
  options?: AskOptions,
): Promise<T | undefined> => ask<T>(settings.socket, `/${API_VERSION}/${view}`, options);

/** Has the agent do something; `path` with its parameters, as "log-level?level=debug". @throws where none answers */
export async function tellAgent<T>(
  context: Context,
  path: string,
  more: Omit<AskOptions, "method"> = {},
): Promise<T> {
  const options: AskOptions = { method: "POST", ...more };
  const answer = await ask<T>(context.settings.socket, `/${API_VERSION}/${path}`, options);
  if (answer === undefined) throw new CommandError(noAgent(context));
  return answer;
}

/** Why there is no answer, for a person. */
export const noAgent = ({ settings }: Context): string => `no agent answers at ${settings.socket}`;

/** What only the agent has. */
export async function askAgentOrFail<T extends object>(
  context: Context,
  view: View,
  instead: string,
): Promise<T> {
  const answer = await askAgentIfAble<T>(context, view);
  if (isSilence(answer)) throw new CommandError(`${answer.reason}; ${instead}`);
  return answer;
}

/** Why the kernel must be read instead of the agent. */
export interface Silence {
  readonly reason: string;
  /** It runs, accepts questions, and answers none. */
  readonly hangs: boolean;
}

/** The agent's answer, or why there is none. @throws OperationError if access is denied, or the answer is an error */
export async function askAgentIfAble<T extends object>(context: Context, view: View): Promise<T | Silence> {
  try {
    return (await askAgent<T>(context, view)) ?? { reason: noAgent(context), hangs: false };
  } catch (thrown) {
    if (codeOf(thrown) !== "ETIMEDOUT") throw thrown;
    return { reason: hanging(context, thrown), hangs: true };
  }
}

const hanging = ({ settings }: Context, thrown: unknown): string =>
  `the agent at ${settings.socket} hangs: ${messageOf(thrown instanceof Error ? thrown.cause : thrown)}`;

export const isSilence = (answer: object): answer is Silence => "hangs" in answer;

// The agent's names for the numbers in the maps, or why there are none.

export type MaybeNames =
  | { readonly names: NamesView; readonly reason?: never }
  | { readonly names?: never; readonly reason: string };

export async function namesFor(context: Context): Promise<MaybeNames> {
  const answer = await askAgentIfAble<NamesView>(context, "names");
  return isSilence(answer) ? { reason: answer.reason } : { names: answer };
}
