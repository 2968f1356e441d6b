// What a pod may send from besides the addresses in its entry: prefixes that an annotation names, and a fifth address.

import { afterEach, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { VERSIONS } from "../../src/gen/layout.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { NODE_SCOPE, plainState, type State, stateFrom } from "../../src/state/desired-state.ts";
import { diff } from "../../src/state/state-diff.ts";
import { address, cluster, namespace, pod } from "../support/model.ts";
import { arp, frame, NEIGHBOUR, neighbour, type Segment, SYN_ACK, tcpSegment } from "./frames.ts";
import { expectSteps, into, outOf, useWorld } from "./table.ts";
import { type Addresses, BOTH_FAMILIES, openWorld, RULES, V4, V6 } from "./world.ts";

const world = useWorld();
afterEach(() => world().enforce());

const SOURCES = ["10.77.0.0/16", "10.77.8.0/24", "fd77::/64"];
const BEHIND = { 4: address("10.77.8.9"), 6: address("fd77::9") } as const;
const BESIDE = { 4: address("10.78.0.0"), 6: address("fd77:0:0:1::") } as const;

const out = (a: Addresses, source: (typeof BEHIND)[4 | 6], segment: Segment, to = a.friend) =>
  frame(source, to, segment);

describe("a pod with further sources", () => {
  it.each(BOTH_FAMILIES)("sends from those by its policy, and gets its answers: IPv$family", async (a) => {
    await world().enforce(RULES, SOURCES);
    const source = BEHIND[a.family];
    expectSteps(world(), [
      outOf("both", out(a, source, tcpSegment(40_000, 80)), "policy"),
      into("both", frame(a.friend, source, tcpSegment(80, 40_000, SYN_ACK)), "established"),
      outOf("both", out(a, source, tcpSegment(40_000, 80, TCP_FLAG.ACK)), "established"),
      outOf("both", out(a, source, tcpSegment(40_000, 81)), "denied"),
      outOf("both", out(a, source, tcpSegment(40_000, 80), a.stranger), "denied"),
      into("both", frame(a.stranger, source, tcpSegment(40_000, 80)), "denied"),
    ]);
  });

  it.each(BOTH_FAMILIES)("sends from its own, and from no others: IPv$family", async (a) => {
    await world().enforce(RULES, SOURCES);
    expectSteps(world(), [
      outOf("both", out(a, a.pods.both, tcpSegment(40_000, 80)), "policy"),
      ...[BESIDE[a.family], a.node, a.stranger, a.pods.in].map((source) =>
        outOf("both", out(a, source, tcpSegment(40_000, 80)), "spoofed"),
      ),
      outOf("open", out(a, BEHIND[a.family], tcpSegment(40_000, 80)), "spoofed"),
    ]);
  });

  it("has what native XDP filters judged the same", async () => {
    await world().enforce(RULES, SOURCES);
    for (const a of BOTH_FAMILIES) {
      expectSteps(world(), [
        { ...outOf("both", out(a, BEHIND[a.family], tcpSegment(40_000, 80)), "policy"), hook: "xdp" },
        { ...outOf("both", out(a, BESIDE[a.family], tcpSegment(40_000, 80)), "spoofed"), hook: "xdp" },
      ]);
    }
  });

  it("is found by its neighbours at those", async () => {
    await world().enforce(RULES, SOURCES);
    const tells = (target: (typeof BEHIND)[6]) =>
      neighbour({
        source: V6.pods.both,
        destination: address("ff02::1"),
        type: NEIGHBOUR.ADVERTISEMENT,
        target,
      });
    expectSteps(world(), [
      outOf("both", arp({ operation: 2, sender: BEHIND[4], target: V4.node }), "neighbour"),
      outOf("both", arp({ operation: 2, sender: BESIDE[4], target: V4.node }), "spoofed"),
      outOf("both", tells(BEHIND[6]), "neighbour"),
      outOf("both", tells(BESIDE[6]), "spoofed"),
    ]);
  });

  it.each(BOTH_FAMILIES)("has those that are named now, and no old entry remains: IPv$family", async (a) => {
    const [inner, outer] = a.family === 4 ? ["10.77.8.0/24", "10.77.0.0/16"] : ["fd77::/112", "fd77::/64"];
    const far = a.family === 4 ? address("10.77.200.1") : address("fd77::1:0:1");
    const seen = async (sources: readonly string[], behind: string, farther: string) => {
      await world().forget();
      await world().enforce(RULES, sources);
      expectSteps(world(), [
        outOf("both", out(a, BEHIND[a.family], tcpSegment(40_000, 80)), behind),
        outOf("both", out(a, far, tcpSegment(40_000, 80)), farther),
      ]);
    };
    await seen([], "spoofed", "spoofed");
    await seen([outer], "policy", "policy");
    await seen([inner], "policy", "spoofed");
    await seen([outer, inner], "policy", "policy");
    await seen(["192.0.2.0/24"], "spoofed", "spoofed");
    await seen([], "spoofed", "spoofed");
    const { sourcesV4, sourcesV6 } = world().bench.maps.tables;
    const left = [...(await sourcesV4.read()), ...(await sourcesV6.read())];
    expect(left.filter(([{ ifindex }]) => ifindex !== NODE_SCOPE)).toEqual([]);
  });
});

describe("a change of further sources", () => {
  it("takes effect with the flip, whichever version is active", async () => {
    const { maps } = world().bench;
    const ifindex = world().ifindexOf("both");
    const asked = async (reason: string) => {
      await world().forget();
      expectSteps(
        world(),
        BOTH_FAMILIES.map((a) => outOf("both", out(a, BEHIND[a.family], tcpSegment(40_000, 80)), reason)),
      );
    };
    const change = async (sources: readonly string[], before: string, after: string) => {
      const held = await maps.read();
      const endpoint = present(held.state.endpoints.get(ifindex), "the endpoint");
      const endpoints = new Map(held.state.endpoints).set(ifindex, { ...endpoint, sources });
      const { prepare, cleanup } = diff(held, { ...held.state, endpoints });
      await maps.write(prepare);
      await asked(before);
      await maps.flip();
      await asked(after);
      await maps.write(cleanup);
      await asked(after);
    };
    for (let version = 0; version < VERSIONS; version += 1) {
      await change(["10.77.0.0/16", "fd77::/64"], "spoofed", "policy");
      await change(["10.77.8.0/24", "fd77::/112"], "policy", "policy");
      await change([], "policy", "spoofed");
    }
  });
});

describe("a pod with more addresses than its entry holds", () => {
  it("sends from each of them", async () => {
    const own = await openWorld();
    try {
      const ips = [1, 2, 3, 4, 5, 6].flatMap((host) => [`10.3.0.${host}`, `fd03::${host}`]);
      const many = pod("x/many", ips);
      const ifindex = own.bench.devices.at(0);
      const compiled = compile(
        cluster({ namespaces: [namespace("x")], pods: [many] }),
        [{ pod: many, ifindex }],
        NOTHING_NUMBERED,
      );
      await own.bench.bring(compiled.state);
      const verdict = (text: string) => {
        const source = address(text);
        const { friend } = source.family === 4 ? V4 : V6;
        const sent = frame(source, friend, tcpSegment(40_000, 80));
        return own.bench.run({ direction: "egress", ifindex, ingressIfindex: 1, frame: sent });
      };
      expect(ips.map(verdict)).toEqual(ips.map(() => "pass"));
      expect(["10.3.0.7", "fd03::7"].map(verdict)).toEqual(["drop", "drop"]);
      const plain = (state: State): State => stateFrom(plainState(state));
      expect(plain((await own.bench.maps.read()).state)).toEqual(plain(compiled.state));
    } finally {
      own.close();
    }
  });
});
