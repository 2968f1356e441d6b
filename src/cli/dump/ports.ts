// Reading the classes of ports and the rows of classes, as sets of ports that people can read.

import { classesOfRow } from "../../datapath/codec.ts";
import { spansOf } from "../../datapath/read-back.ts";
import type { PortsRecord, RowRecord } from "../../observe/dump/ports.ts";
import { portSetText } from "../../policy/port-classes.ts";
import { type ClassSpan, ROW_ALL, ROW_NOTHING, type Span } from "../../state/desired-state.ts";
import type { Kernel } from "../pinned-maps.ts";

async function readSpans({ table, version }: Kernel): Promise<ClassSpan[]> {
  const entries = await table("ports").read({ skipZero: true });
  return spansOf(entries.map(([place, { number }]) => [place, number[version]]));
}

export async function readPorts(kernel: Kernel): Promise<PortsRecord[]> {
  return (await readSpans(kernel)).map((span) => ({ ...span, ports: portSetText([span]) }));
}

/** Every row with a class in it; the two that need no entry are not in the map. */
export async function readRows(kernel: Kernel): Promise<RowRecord[]> {
  const [spans, entries] = await Promise.all([
    readSpans(kernel),
    kernel.table("rows").read({ skipZero: true }),
  ]);
  return entries.map(([row, value]) => {
    const classes = classesOfRow(value);
    const held = new Set(classes);
    return { row, classes, ports: portSetText(joined(spans.filter((span) => held.has(span.class)))) };
  });
}

/** What each row allows, in words. */
export async function rowTexts(kernel: Kernel): Promise<(row: number) => string> {
  const texts = new Map((await readRows(kernel)).map(({ row, ports }) => [row, ports]));
  texts.set(ROW_NOTHING, "nothing");
  texts.set(ROW_ALL, "all");
  return (row) => texts.get(row) ?? "nothing (the row is empty)";
}

/** Adjacent spans as one: "TCP/1-3" rather than "TCP/1,TCP/2-3". */
function joined(spans: readonly Span[]): Span[] {
  const result: { first: number; last: number }[] = [];
  for (const { first, last } of spans) {
    const top = result.at(-1);
    if (top !== undefined && top.last === first - 1) top.last = last;
    else result.push({ first, last });
  }
  return result;
}
