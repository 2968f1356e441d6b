// Requests for verdicts on packets: what is refused. The verdicts themselves are in test/netns/trace.test.ts.

import { describe, expect, it } from "vitest";
import { judgeRoute } from "../../../src/agent/packet-judge.ts";
import type { PacketQuery } from "../../../src/datapath/shadow-instance.ts";

const FRAME = Buffer.alloc(60).toString("base64");
const PACKET = { ifindex: 7, ingressIfindex: 1, direction: "ingress", frame: FRAME };

const asked: PacketQuery[] = [];
const route = judgeRoute(() => ({
  judge: async (queries) => {
    asked.push(...queries);
    return { generation: 1, verdicts: [] };
  },
  close: async () => undefined,
}));

const answer = (body: string): unknown => route.answer(new URLSearchParams(), body);

describe("a request to judge packets", () => {
  it.each([
    ["text", "the body is not JSON"],
    ["null", "packets: expected a list"],
    ["{}", "packets: expected a list"],
    [{ packets: [null] }, "packets[0].frame: expected 1 to 2048 bytes in base64"],
    [{ packets: [{ ...PACKET, frame: "" }] }, "packets[0].frame: expected 1 to 2048 bytes in base64"],
    [
      { packets: [{ ...PACKET, frame: Buffer.alloc(2_049).toString("base64") }] },
      "packets[0].frame: expected 1 to 2048 bytes in base64",
    ],
    [{ packets: [PACKET, { ...PACKET, ifindex: 0 }] }, "packets[1].ifindex: expected an interface's index"],
    [
      { packets: [{ ...PACKET, ingressIfindex: "1" }] },
      "packets[0].ingressIfindex: expected an interface's index",
    ],
    [{ packets: [{ ...PACKET, id: -1 }] }, "packets[0].id: expected an endpoint's number"],
    [{ packets: [{ ...PACKET, direction: "up" }] }, /^packets\[0\]\.direction: expected /],
  ])("%j is refused", (body, reason) => {
    expect(() => answer(typeof body === "string" ? body : JSON.stringify(body))).toThrow(reason);
  });

  it("is passed on as bytes", async () => {
    expect(await answer(JSON.stringify({ packets: [PACKET] }))).toEqual({ generation: 1, verdicts: [] });
    expect(asked).toEqual([{ ...PACKET, frame: Buffer.alloc(60) }]);
  });
});
