// bench/pktgen without a kernel: which packets are generated, what pktgen says, and how the result is written.
import { describe, expect, it } from "vitest";
import { tasksOf } from "../../../bench/pktgen/command.ts";
import { SWEEPS } from "../../../bench/pktgen/packets.ts";
import { resultsOf } from "../../../bench/pktgen/pktgen.ts";
import { pktgenText } from "../../../bench/pktgen/report.ts";

/** As Linux 6.1 writes it, of two threads; lines between are left out. */
const RESULT = `Params: count 1000  min_pkt_size: 60  max_pkt_size: 60
Current:
     pkts-sofar: 1000  errors: 0
     started: 1us  stopped: 2us idle: 0us
Result: OK: 2500(c2500+d0) usec, 1000 (60byte,0frags)
  400000pps 192Mb/sec (192000000bps) errors: 0
Params: count 1000  min_pkt_size: 60  max_pkt_size: 60
     pkts-sofar: 999  errors: 0
Result: OK: 2000(c2000+d0) usec, 999 (60byte,0frags)
`;

it("sums what pktgen's threads sent, in the time of the slowest", () => {
  expect(resultsOf(RESULT)).toEqual({ sent: 1_999, seconds: 0.0025 });
  expect(() => resultsOf("Result: Idle\n")).toThrow("an unexpected result: Result: Idle");
});

describe("tasks", () => {
  const options = { sweeps: SWEEPS, sizes: [64, 1518], threads: 3, packets: 10 };
  const texts = tasksOf(options).map(({ sweep, size, threads }) => `${sweep.id} ${size} ${threads}`);

  it("are all sizes of the first sweep, and all sweeps with 1 to n threads, each once", () => {
    expect(texts).toEqual([
      ...["one 64 1", "one 1518 1", "one 64 2", "one 64 3"],
      ...SWEEPS.slice(1).flatMap(({ id }) => [1, 2, 3].map((threads) => `${id} 64 ${threads}`)),
    ]);
  });
});

it("writes what was passed and dropped, by reason, and a dash where nothing counts", () => {
  const [sweep] = SWEEPS;
  if (sweep === undefined) throw new Error("no sweeps");
  const common = {
    mode: "netif_receive",
    task: { sweep, packets: 10, threads: 1, size: 64 },
    packetsPerSecond: 1_000.4,
    ratio: 0.987,
    sent: 10,
    lost: 0,
  } as const;
  const rows = [
    { ...common, variant: "tc-empty", passed: undefined, dropped: undefined },
    {
      ...common,
      variant: "tc-weir",
      passed: new Map([
        ["policy", 1],
        ["established", 9],
      ]),
      dropped: new Map(),
    },
  ] as const;
  const machine = { machine: "a machine", kernel: "6.1" };
  const [, empty, weir] = pktgenText("table", machine, rows).split("\n");
  expect(empty).toMatch(/^netif_receive +1 +64 +1000 +0\.99 +10 +0 +- +- +one +tc-empty$/);
  expect(weir).toMatch(/ 10 +0 +1 policy \+ 9 established +0 +one +tc-weir$/);
  expect(JSON.parse(pktgenText("json", machine, rows)).rows[1]).toMatchObject({
    passed: { policy: 1, established: 9 },
    dropped: {},
    ratio_to_empty: 0.99,
  });
});
