// Which test files run in which of the parts that tools/test.sh runs side by side: so that they take about the same time.
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Seconds that the slowest files took on two CPUs, all parts together; any other file counts as USUAL. They matter for balance alone. */
export const SECONDS: Readonly<Record<string, number>> = {
  "native/test/link.test.ts": 11,
  "test/netns/cni-load.test.ts": 15,
  "test/netns/cni.test.ts": 42,
  "test/netns/conformance.test.ts": 35,
  "test/netns/dump-full.test.ts": 13,
  "test/netns/dump.test.ts": 22,
  "test/netns/events.test.ts": 26,
  "test/netns/evidence.test.ts": 287,
  "test/netns/flood.test.ts": 28,
  "test/netns/flow-table.test.ts": 19,
  "test/netns/forged.test.ts": 14,
  "test/netns/found.test.ts": 44,
  "test/netns/history.test.ts": 25,
  "test/netns/integrity.test.ts": 89,
  "test/netns/lab.test.ts": 18,
  "test/netns/life.test.ts": 66,
  "test/netns/link.test.ts": 75,
  "test/netns/live.test.ts": 34,
  "test/netns/own-service.test.ts": 70,
  "test/netns/path.test.ts": 38,
  "test/netns/repair.test.ts": 42,
  "test/netns/restart.test.ts": 18,
  "test/netns/retained.test.ts": 138,
  "test/netns/stateless.test.ts": 59,
  "test/netns/trouble.test.ts": 15,
  "test/netns/unknown.test.ts": 24,
  "test/netns/upgrade.test.ts": 37,
  "test/netns/xdp.test.ts": 22,
  "test/packet/bench.test.ts": 60,
  "test/packet/cases.test.ts": 17,
  "test/packet/cidr-index.test.ts": 15,
  "test/packet/flow-table.test.ts": 35,
  "test/packet/fuzz.test.ts": 51,
  "test/packet/property.test.ts": 233,
  "test/packet/round.test.ts": 24,
  "test/packet/services.test.ts": 21,
  "test/packet/time.test.ts": 22,
  "test/packet/trace-services.test.ts": 33,
  "test/packet/trace.test.ts": 137,
};
const USUAL = 8;

export const secondsOf = (file: string): number => SECONDS[file] ?? USUAL;

/** The longest file first, each into the part that has the least to do. Files of the same list are divided in the same way by every part. */
export function divide(files: readonly string[], parts: number): string[][] {
  const longestFirst = [...files].sort((a, b) => secondsOf(b) - secondsOf(a) || (a < b ? -1 : 1));
  const divided = Array.from({ length: parts }, () => ({ files: [] as string[], seconds: 0 }));
  for (const file of longestFirst) {
    const part = divided.reduce((least, each) => (each.seconds < least.seconds ? each : least));
    part.files.push(file);
    part.seconds += secondsOf(file);
  }
  return divided.map((part) => part.files);
}

export class BalancedShards extends BaseSequencer {
  override async shard(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const { shard, root } = this.ctx.config;
    if (!shard) return specifications;
    const name = ({ moduleId }: TestSpecification) => moduleId.slice(root.length + 1);
    const mine = new Set(divide(specifications.map(name), shard.count)[shard.index - 1]);
    return specifications.filter((specification) => mine.has(name(specification)));
  }
}
