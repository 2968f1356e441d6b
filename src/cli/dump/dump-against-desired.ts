// `weir maps dump --diff`: the kernel's entries against the agent's desired state, at the same generation.

import { setTimeout as sleep } from "node:timers/promises";
import { heldSettings } from "../../datapath/node-settings.ts";
import { readHeld } from "../../datapath/read-back.ts";
import { openTables } from "../../datapath/typed-maps.ts";
import type { NamesView, StateView } from "../../observe/api-views.ts";
import { type DifferenceRecord, differencesDump } from "../../observe/dump/map-dump.ts";
import { portSetText } from "../../policy/port-classes.ts";
import { nameFrom, type PlainState, type Span, serviceFrom, stateFrom } from "../../state/desired-state.ts";
import {
  DESIRED_TABLES,
  type DesiredTable,
  type Difference,
  differences,
  settingsDifferences,
} from "../../state/state-compare.ts";
import { askAgentOrFail, namesFor } from "../agent-client.ts";
import { note, type WriteOptions } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { readKernel } from "../pinned-maps.ts";
import { writeDump } from "./dump-writer.ts";

const ATTEMPTS_MAX = 50;
const PAUSE_MS = 100;

/** Gives the exit code: whether there is a difference. @throws CommandError where `table` is the programs' own */
export async function dumpDifferences(
  context: Context,
  table: string | undefined,
  options: WriteOptions,
): Promise<number> {
  if (table !== undefined && !isDesired(table)) {
    const reason = `${table} has no desired state`;
    throw new CommandError(`--diff: ${reason}; there are ${DESIRED_TABLES.join(", ")}`, EXIT.usage);
  }
  const [{ found, generation }, { names }] = await Promise.all([compare(context), namesFor(context)]);
  const records = found
    .filter((each) => table === undefined || each.table === table)
    .map((each) => recordOf(each, names));
  const isForPeople = options.output === "table";
  if (records.length === 0)
    note(context.env, `no difference: the kernel holds generation ${generation} as desired`);
  if (records.length > 0 || !isForPeople) await writeDump(context.env, differencesDump(records), options);
  return records.length === 0 ? EXIT.ok : EXIT.differs;
}

const isDesired = (table: string): table is DesiredTable =>
  (DESIRED_TABLES as readonly string[]).includes(table);

export interface Comparison {
  readonly found: readonly Difference[];
  readonly generation: number;
}

/** The two belong together only if the agent is idle before and after the maps are read. */
export async function compare(context: Context): Promise<Comparison> {
  const instead = "only it has the desired state";
  const ask = () => askAgentOrFail<StateView>(context, "state", instead);
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const before = await ask();
    if (before.settled) {
      const { held, generation, settings } = await readKernel(
        context,
        async ({ pins, generation, table }) => ({
          held: await readHeld(openTables(pins)),
          generation,
          settings: heldSettings(table("node")),
        }),
      );
      const after = await ask();
      const atRest = after.settled && after.generation === before.generation;
      if (atRest && generation === before.generation) {
        const want = stateFrom(before.state as PlainState);
        const found = [...differences(held, want), ...settingsDifferences(settings, before.settings)];
        return { found, generation };
      }
    }
    await sleep(PAUSE_MS);
  }
  throw new CommandError("the agent keeps changing the maps; see: weir status");
}

function recordOf(
  { table, key, wanted, held, span, policy }: Difference,
  names: NamesView | undefined,
): DifferenceRecord {
  return {
    table,
    key: keyText(table, key, span),
    ...(wanted === undefined ? {} : { wanted }),
    ...(held === undefined ? {} : { held }),
    about: names === undefined ? [] : aboutOf(table, policy?.toString() ?? key, names),
  };
}

/** As `weir maps dump` shows it: places of the port line as ports. */
function keyText(table: DesiredTable, key: string, span: Span | undefined): string {
  if (span !== undefined) return portSetText([span]);
  if (table !== "services") return key;
  const { address, place } = serviceFrom(key);
  return `${address} ${portSetText([{ first: place, last: place }])}`;
}

function aboutOf(table: DesiredTable, key: string, names: NamesView): readonly string[] {
  const one = (name: string | undefined): string[] => (name === undefined ? [] : [name]);
  const ABOUT: Readonly<Record<DesiredTable, () => readonly string[]>> = {
    cidrs: () => names.cidrs[key] ?? [],
    addresses: () => one(names.addresses[key]),
    services: () => one(names.services[key]),
    domains: () => names.policies[nameFrom(key).policy]?.of ?? [],
    endpoints: () => one(names.endpoints[key]),
    sources: () => [],
    policy: () => names.policies[key]?.of ?? [],
    ports: () => [],
    rows: () => one(names.rows[key]),
    node: () => [],
  };
  return ABOUT[table]();
}
