// The agent's names for the numbers in the maps, or why there are none.

import type { NamesView } from "../observe/api-views.ts";
import { askAgentIfAble, isSilence } from "./agent-client.ts";
import type { Context } from "./environment.ts";

export type MaybeNames =
  | { readonly names: NamesView; readonly reason?: never }
  | { readonly names?: never; readonly reason: string };

export async function namesFor(context: Context): Promise<MaybeNames> {
  const answer = await askAgentIfAble<NamesView>(context, "names");
  return isSilence(answer) ? { reason: answer.reason } : { names: answer };
}
