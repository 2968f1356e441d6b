// docs/operators.md: the questions of an operator, each with its command, in a small world with traffic. The outputs in the
// document are those that the commands print, but for times, numbers and names of interfaces.
//
// WEIR_WRITE_OPERATORS=1 writes the outputs into the document.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { openWorld, type World } from "./world.ts";

const DOCUMENT = fileURLToPath(new URL("../../docs/operators.md", import.meta.url));
const PATIENCE_MS = 60_000;

const pod = (name: string, number: number, role: string, port: number): PodSpec => ({
  name,
  labels: { role },
  addresses: [`10.63.62.${number}`],
  tcp: [port],
});

const PODS = [
  pod("shop/web", 1, "web", 80),
  pod("shop/db", 2, "db", 5432),
  pod("shop/client", 3, "client", 80),
  pod("shop/cache", 4, "cache", 6379),
  pod("bank/teller", 5, "teller", 80),
];

const policy = (name: string, spec: string, more = ""): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: shop, name: ${name}${more} }\nspec:\n${spec}\n`;

const allowing = (role: string, allowed: string, port: number): string =>
  `  podSelector: { matchLabels: { role: ${role} } }\n  policyTypes: [Ingress]\n  ingress: [{ from: [{ podSelector: { matchLabels: { role: ${allowed} } } }], ports: [{ port: ${port} }] }]`;

const FILES = {
  "default-deny.yaml": policy(
    "default-deny",
    "  podSelector: { matchExpressions: [{ key: role, operator: In, values: [web, db] }] }\n  policyTypes: [Ingress]",
  ),
  "web-ingress.yaml": policy("web-ingress", allowing("web", "client", 80)),
  "db-ingress.yaml": policy("db-ingress", allowing("db", "web", 5432)),
  "cache-trial.yaml": policy(
    "cache-trial",
    allowing("cache", "web", 6379),
    ", annotations: { weir.dev/mode: audit }",
  ),
};

/** What `weir diff` is asked about: the bank may reach the web, too. */
const CHANGE = policy(
  "bank-to-web",
  "  podSelector: { matchLabels: { role: web } }\n  policyTypes: [Ingress]\n  ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: bank } } }], ports: [{ port: 80 }] }]",
);

interface Block {
  readonly heading: string;
  /** Without the program's name. */
  readonly command: string;
  readonly output: string;
}

const blocksIn = (text: string): Block[] =>
  [...text.matchAll(/^## ([^\n]+)\n|^```console\n\$ weir ([^\n]+)\n(.*?)^```$/gms)].reduce<{
    heading: string;
    blocks: Block[];
  }>(
    ({ heading, blocks }, [, title, command, output = ""]) =>
      title === undefined
        ? { heading, blocks: [...blocks, { heading, command: command ?? "", output }] }
        : { heading: title, blocks },
    { heading: "", blocks: [] },
  ).blocks;

const text = readFileSync(DOCUMENT, "utf8");
const BLOCKS = blocksIn(text);

/** What differs between two runs of the same commands. */
const masked = (output: string): string =>
  output
    .replaceAll(/\b[0-9a-f]{16}\b/g, "LAYOUT")
    .replaceAll(/\bwt-ops[-a-z0-9]*/g, "LINK")
    .replaceAll(/\b\d{4}-\d\d-\d\dT[0-9:.]+Z/g, "TIME")
    .replaceAll(/\b(?:\d+[dhms])+\b/g, "AGE")
    .replaceAll(/\d+/g, "N")
    .replaceAll(/[ \t]+/g, " ")
    // One line a minute: the traffic may have been in two.
    .replaceAll(/\bpackets?\b/g, "packets")
    .replaceAll(/^(.*\n)\1+/gm, "$1")
    .replaceAll(/^(?:.*without an event.*|.*history begins.*|.*no agent ran.*)\n/gm, "");

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld({
    prefix: "wt-ops",
    namespaces: { shop: {}, bank: { "kubernetes.io/metadata.name": "bank" } },
    pods: PODS,
    files: FILES,
  });
  writeFileSync("/run/wt-ops/bank-to-web.yaml", CHANGE);
  agent = await world.start("--metrics-listen", "off", "--probe-listen", "off");
  await traffic();
});

afterAll(() => world?.close());

const tcp = (source: string, number: number, port: number) =>
  world.lab.probe(source, { kind: "tcp", address: `10.63.62.${number}`, port, timeoutMs: 300, once: true });

async function traffic(): Promise<void> {
  for (let count = 0; count < 3; count += 1) {
    await tcp("shop/client", 1, 80);
    // More than the next, so that lists have one order.
    for (let more = 0; more < 2; more += 1) await tcp("bank/teller", 1, 80);
    await tcp("bank/teller", 2, 5432);
    await tcp("shop/client", 4, 6379);
  }
  // Events take a moment from the kernel to the agent.
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(50)) {
    const { stdout } = await world.weir("drops", "--by", "peer", "-o", "json");
    const { stdout: audited } = await world.weir("drops", "--audit", "--by", "peer", "-o", "json");
    const has = (text: string, peer: string): boolean => text.includes(peer) && !text.includes("(others)");
    if (has(stdout, "bank/teller") && has(audited, "shop/client")) return;
  }
  throw new Error(`the drops' peers are not there within ${PATIENCE_MS} ms`);
}

/** Those that do not end with 0: audit mode is not "ok", and a denied connection or a change is a result. */
const EXITS: Readonly<Record<string, number>> = { status: 7, "trace --from bank/teller": 3, diff: 3 };

const LINES_MAX = 40;

/** A long list is shown by its ends. */
function shortened(output: string): string {
  const lines = output.split("\n");
  return lines.length <= LINES_MAX ? output : [...lines.slice(0, 5), "…", ...lines.slice(-4)].join("\n");
}

const INSTEAD = [
  ["/run/wt-ops/bank-to-web.yaml", "bank-to-web.yaml"],
  ["/run/wt-ops/", "/run/weir/"],
  ["/sys/fs/bpf/wt-ops", "/sys/fs/bpf/weir"],
] as const;

async function run(command: string): Promise<string> {
  const words = command
    .split(" ")
    .map((word) => (word === "bank-to-web.yaml" ? join("/run/wt-ops", word) : word));
  const { status, stdout, stderr } = await world.weir(...words);
  const [, expected = 0] = Object.entries(EXITS).find(([prefix]) => command.startsWith(prefix)) ?? [];
  expect({ command, status, stderr: status === expected ? "" : stderr }).toEqual({
    command,
    status: expected,
    stderr: "",
  });
  // Where the command says nothing on stderr, the lab has Node's own message there.
  const said = stderr.startsWith("Command failed: ") ? "" : stderr;
  return shortened(INSTEAD.reduce((text, [from, to]) => text.replaceAll(from, to), `${stdout}${said}`));
}

describe("docs/operators.md", () => {
  it("has twenty questions in its table, each with a section", () => {
    const rows = [...text.matchAll(/^\| ([0-9]+) \| \[([^\]]+)\]\(#([^)]+)\) \|/gm)];
    expect(rows.map(([, number]) => Number(number))).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
    const headings = new Set([...text.matchAll(/^## (.+)$/gm)].map(([, heading = ""]) => heading));
    for (const [, , question = "", anchor] of rows) {
      expect(headings).toContain(question);
      expect(anchor).toBe(
        question
          .toLowerCase()
          .replaceAll(/[^a-z0-9 -]/g, "")
          .replaceAll(" ", "-"),
      );
    }
  });

  it.each(BLOCKS.map((block) => [block.command, block] as const))(
    "weir %s",
    async (command, { heading, output }) => {
      if (heading.includes("restart")) {
        await agent.stop();
        agent = await world.start("--metrics-listen", "off", "--probe-listen", "off");
      }
      const now = await run(command);
      if (process.env["WEIR_WRITE_OPERATORS"] === "1") {
        const document = readFileSync(DOCUMENT, "utf8");
        const [before, after] = [output, now].map((each) => `$ weir ${command}\n${each}\`\`\``) as [
          string,
          string,
        ];
        writeFileSync(
          DOCUMENT,
          document.replace(before, () => after),
        );
        return;
      }
      expect(masked(now)).toBe(masked(output));
    },
  );
});
