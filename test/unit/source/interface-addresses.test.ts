// Which addresses a pod has: one table of all sources and of every order in which they come.

import { describe, expect, it } from "vitest";
import { type AddressSources, addressesOf } from "../../../src/source/interface-evidence.ts";
import { address } from "../../support/model.ts";

const [A, B, C, D] = ["10.0.0.1", "10.0.0.2", "fd00::3", "169.254.172.2"];

const CASES: readonly (readonly [string, Readonly<Record<string, unknown>>, readonly string[]])[] = [
  ["nothing is known", {}, []],
  ["the status has them", { status: [A, C] }, [A, C]],
  ["the plugin has told, and the status has not", { claims: [[A, C]] }, [A, C]],
  ["the plugin has told others than the status: its sandbox is newer", { claims: [[B]], status: [A] }, [B]],
  ["two live sandboxes", { claims: [[A], [B, C]] }, [A, B, C]],
  ["two live sandboxes with one address", { claims: [[A], [A]] }, [A]],
  ["the plugin has told of none (a network without addresses)", { claims: [[]], status: [A] }, [A]],
  ["the status has lost them", { last: [A, C] }, [A, C]],
  ["the status has others than before", { status: [B], last: [A] }, [B]],
  ["the plugin has told, and the status has lost them", { claims: [[B]], last: [A] }, [B]],
  ["the node routes another one to its interface", { status: [C], routed: [D] }, [C, D]],
  ["the node routes one of its own to its interface", { status: [A], routed: [A] }, [A]],
  ["only the node knows one", { routed: [D] }, [D]],
  ["the status has lost them, and the node routes them", { last: [A], routed: [A, D] }, [A, D]],
];

describe("the addresses of a pod, if", () => {
  it.each(CASES)("%s", (_, sources, expected) => {
    const { claims, ...rest } = sources as { claims?: string[][] } & Record<string, string[]>;
    const given = {
      ...Object.fromEntries(Object.entries(rest).map(([name, texts]) => [name, texts.map(address)])),
      ...(claims === undefined ? {} : { claims: claims.map((texts) => texts.map(address)) }),
    } as AddressSources;
    expect(addressesOf(given).map(({ text }) => text)).toEqual(expected);
  });
});
