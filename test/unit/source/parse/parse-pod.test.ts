// The annotations of pods that may send from more than their own addresses: their values, and what is refused.

import { describe, expect, test } from "vitest";
import type { Pod } from "../../../../src/model/cluster.ts";
import { linesOf, outcomeOf, problemsIn, readingOf } from "../support.ts";

describe("annotation weir.dev/allowed-sources", () => {
  const annotated = (value: string): string =>
    [
      "apiVersion: v1",
      "kind: Pod",
      `metadata: { name: web-1, namespace: shop, annotations: { weir.dev/allowed-sources: ${value} } }`,
    ].join("\n");

  test.each([
    ["10.8.0.0/16", ["10.8.0.0/16"]],
    ["'10.8.1.2/16 , 2001:DB8::/32,192.0.2.1/32'", ["10.8.0.0/16", "2001:db8::/32", "192.0.2.1/32"]],
  ])("%s gives prefixes", (value, expected) => {
    const reading = readingOf(annotated(value));
    expect(linesOf(problemsIn(reading))).toEqual([]);
    const pods = reading.objects.map(({ value }) => value as Pod);
    expect(pods[0]?.sources?.map(({ text }) => text)).toEqual(expected);
  });

  test.each([
    ["''", /"": the prefix length is missing/],
    ["'10.8.0.0/16,'", /"": the prefix length is missing/],
    ["10.8.0.1", /"10.8.0.1": the prefix length is missing/],
    ["'10.8.0.0/16, 10.9.0.0/33'", /"10.9.0.0\/33": prefix length "33"/],
    ["open", /"open": the prefix length is missing/],
    ["0.0.0.0/0", /"0.0.0.0\/0": every address; it must be fewer/],
    ["'10.8.0.0/16, ::/0'", /"::\/0": every address/],
    ["7", /must be a string/],
  ])("%s is refused as a whole", (value, reason) => {
    const { values, lines } = outcomeOf(annotated(value));
    expect(values.get("Pod shop/web-1")).not.toHaveProperty("sources");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/Pod shop\/web-1: metadata.annotations\["weir.dev\/allowed-sources"\]: /);
    expect(lines[0]).toMatch(reason);
    expect(lines[0]).toMatch(/; the pod may send from its own addresses only$/);
  });
});

describe("annotation weir.dev/allowed-macs", () => {
  const annotated = (value: string): string =>
    [
      "apiVersion: v1",
      "kind: Pod",
      `metadata: { name: vm-1, namespace: shop, annotations: { weir.dev/allowed-macs: ${value} } }`,
    ].join("\n");
  const macs = (count: number): string =>
    `'${Array.from({ length: count }, (_, at) => `02:00:00:00:00:0${at + 1}`).join(",")}'`;

  test.each([
    ["'52:54:00:12:34:56'", ["52:54:00:12:34:56"]],
    ["'52-54-00-AB-cd-56 , 00:00:5e:00:01:07'", ["52:54:00:ab:cd:56", "00:00:5e:00:01:07"]],
    ["'02:00:00:00:00:01,02-00-00-00-00-01'", ["02:00:00:00:00:01"]],
    [macs(7), [1, 2, 3, 4, 5, 6, 7].map((at) => `02:00:00:00:00:0${at}`)],
  ])("%s gives MAC addresses", (value, expected) => {
    const reading = readingOf(annotated(value));
    expect(linesOf(problemsIn(reading))).toEqual([]);
    expect(reading.objects.map((each) => (each.value as Pod).macs)).toEqual([expected]);
  });

  test.each([
    ["''", /"": it is not a MAC address/],
    ["'52:54:00:12:34'", /is not a MAC address/],
    ["'52:54:00:12:34-56'", /is not a MAC address/],
    ["'52:54:00:12:34:56,'", /"": it is not a MAC address/],
    ["'00:00:00:00:00:00'", /zero address/],
    ["'ff:ff:ff:ff:ff:ff'", /multicast address/],
    ["'01:00:5e:00:00:01'", /multicast address/],
    [macs(8), /8 addresses; at most 7/],
    ["any", /is not a MAC address/],
    ["7", /must be a string/],
  ])("%s is refused as a whole", (value, reason) => {
    const { values, lines } = outcomeOf(annotated(value));
    expect(values.get("Pod shop/vm-1")).not.toHaveProperty("macs");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/Pod shop\/vm-1: metadata.annotations\["weir.dev\/allowed-macs"\]: /);
    expect(lines[0]).toMatch(reason);
    expect(lines[0]).toMatch(/; the pod may send from its own MAC address only$/);
  });
});
