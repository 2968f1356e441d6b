// The page of `weir ui` in a browser: with a real agent in a small world, and with large clusters that are compiled as agents do. Times
// are reported, and only bounded by what is broken.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { pageData } from "../../src/cli/ui/page-data.ts";
import { pageDocument } from "../../src/cli/ui/page-document.ts";
import { type PageServer, servePage } from "../../src/cli/ui/page-server.ts";
import { type Agent, commandOf } from "../../src/lab/weir-process.ts";
import {
  BYSTANDER_DENY,
  FRIENDS_ONLY,
  SERVER,
  SERVER_V4,
  STRANGER,
  single,
  smallWorld,
} from "../netns/small-world.ts";
import { openWorld, type World } from "../netns/world.ts";
import { type Browser, type OpenPage, openBrowser, WINDOW } from "./browser.ts";
import { compiledRunner, HOSTILE, largeWorld } from "./compiled-world.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PATIENCE_MS = 30_000;

let browser: Browser;
let opened: OpenPage[] = [];

beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser?.close());

const open = async (url: string, scheme: "light" | "dark" = "light"): Promise<Page> => {
  const made = await browser.open(url, scheme);
  made.page.setDefaultTimeout(PATIENCE_MS);
  opened.push(made);
  return made.page;
};

/** Of every test: nothing of the page has been refused by its policy, asked elsewhere, or failed. */
afterEach(async () => {
  const wrong = opened.flatMap((each) => each.wrong);
  await Promise.all(opened.map(({ page }) => page.close()));
  opened = [];
  expect(wrong).toEqual([]);
});

const go = (page: Page, hash: string): Promise<unknown> =>
  page.evaluate(`location.hash = ${JSON.stringify(hash)}`);

const cell = (page: Page, from: string, to: string) =>
  page.locator(`[role="gridcell"][aria-label^=${JSON.stringify(`${from} to ${to}: `)}]`);

const labelOf = async (page: Page, from: string, to: string): Promise<string> => {
  const label = (await cell(page, from, to).getAttribute("aria-label")) ?? "";
  return label.slice(`${from} to ${to}: `.length);
};

describe("weir ui, with a real agent", () => {
  let world: World;
  let agent: Agent;
  let command: ChildProcess;
  let url: string;

  beforeAll(async () => {
    world = await openWorld(smallWorld("wt-ui", { "a.yaml": FRIENDS_ONLY, "b.yaml": BYSTANDER_DENY }));
    agent = await world.start("--metrics-listen", "off", "--probe-listen", "off");
    const [program, args] = commandOf(world.paths, ["ui"]);
    command = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(command.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
    url = line.toString().trim();
  });
  afterAll(async () => {
    command?.kill("SIGTERM");
    if (command?.exitCode === null) await once(command, "exit");
    world?.close();
  });

  /** A request as another program makes it. */
  const asked = (path: string, headers: Record<string, string>, method = "GET") =>
    new Promise<{ status: number; body: string; headers: Record<string, unknown> }>((resolve, reject) => {
      const { hostname, port } = new URL(url);
      request({ hostname, port, path, method, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString(),
            headers: response.headers,
          }),
        );
      })
        .on("error", reject)
        .end();
    });

  it("gives data only to a client with the token, from this site and by this name", async () => {
    const { host, hash, hostname } = new URL(url);
    expect(hostname).toBe("127.0.0.1");
    const token = hash.slice(1);
    expect(token).toMatch(/^[A-Za-z0-9_-]{32}$/);
    const authorization = `Bearer ${token}`;
    const api = "/api/overview";
    expect((await asked(api, { host, authorization })).status).toBe(200);
    expect((await asked(api, { host: "localhost:9", authorization })).status).toBe(200);
    expect((await asked(api, { host })).status).toBe(401);
    expect((await asked(api, { host, authorization: `Bearer ${token.slice(1)}x` })).status).toBe(401);
    expect((await asked(`${api}?token=${token}`, { host, cookie: `token=${token}` })).status).toBe(401);
    expect((await asked(api, { host: "weir.example", authorization })).status).toBe(421);
    expect((await asked("/", { host: `127.0.0.1.example:80` })).status).toBe(421);
    expect((await asked(api, { host, authorization, origin: "http://other.example" })).status).toBe(403);
    expect((await asked(api, { host, authorization, "sec-fetch-site": "cross-site" })).status).toBe(403);
    expect((await asked(api, { host, authorization }, "POST")).status).toBe(405);
    expect((await asked("/api/constructor", { host, authorization })).status).toBe(404);
    expect((await asked("/../package.json", { host, authorization })).status).toBe(404);
    expect((await asked("/api/matrix?port=x", { host, authorization })).status).toBe(400);
    const page = await asked("/", { host });
    expect(page.body).not.toContain(token);
    expect(page.headers).toMatchObject({
      "content-security-policy": expect.stringMatching(/^default-src 'none'; script-src 'sha256-[^']+'; /),
      "referrer-policy": "no-referrer",
      "x-frame-options": "DENY",
      "cache-control": "no-store",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(page.body).not.toMatch(/https?:\/\/(?!www\.w3\.org\/)/);
  });

  it("keeps the token out of the address, and over a reload", async () => {
    const page = await open(url);
    await page.getByRole("grid").waitFor();
    expect(page.url()).toBe(new URL("/", url).href);
    await page.reload();
    await page.getByRole("grid").waitFor();
    const other = await open(new URL("/", url).href);
    // Another tab has no token: that is an answer, and the browser notes it as an error.
    await other.getByRole("alert").getByText("the token is missing or wrong").first().waitFor();
    const notes = opened.at(-1)?.wrong ?? [];
    expect(notes.every((each) => each.includes("401"))).toBe(true);
    notes.length = 0;
  });

  it("shows who may reach whom, and a cell's trace with the kernel's own verdict", async () => {
    const page = await open(url);
    await page.getByRole("combobox", { name: "From" }).selectOption("shop");
    await page.getByRole("rowheader", { name: "stranger" }).waitFor();
    expect(await labelOf(page, "shop/friend", SERVER)).toBe("allowed on every port");
    expect(await labelOf(page, STRANGER, SERVER)).toBe("denied");
    expect(await labelOf(page, SERVER, "shop/friend")).toBe("denied");
    expect(await labelOf(page, "shop/friend", STRANGER)).toBe("not isolated: everything passes");
    await cell(page, STRANGER, SERVER).click();
    await page.getByRole("link", { name: "Trace, with the rules" }).click();
    await page.getByText("The kernel agrees").waitFor();
    expect(await page.locator(".path").first().innerText()).toMatch(
      /isolated by shop\/friends-only[\s\S]*nearest: shop\/friends-only ingress\[0\]\.from\[0\] wants a pod with role=friend/,
    );
    // A connection that the page does not show: a pod that is none.
    await page.getByLabel("To", { exact: true }).fill("shop/nobody");
    await page.getByRole("button", { name: "Trace" }).click();
    await page
      .getByText(/no pod|shop\/nobody/)
      .first()
      .waitFor();
  });

  it("shows drops as they happen, and in the history", async () => {
    const page = await open(url);
    await go(page, "#/drops");
    await page.getByText("No drops yet.").waitFor();
    await world.lab.probe(STRANGER, single("tcp", SERVER_V4, 200));
    const live = page.getByRole("region", { name: "Live" }).getByRole("row");
    await live.filter({ hasText: STRANGER }).first().waitFor();
    await page.getByRole("button", { name: "Refresh" }).click();
    const past = page.getByRole("table", { name: "What was dropped, the largest first" }).getByRole("row");
    await past.filter({ hasText: "shop/friends-only" }).first().waitFor();
    expect(await page.getByRole("img", { name: /^Dropped packets by the minute: [1-9]/ }).count()).toBe(1);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Resume" }).waitFor();
  });

  it("has the policies, and the node with its maps", async () => {
    const page = await open(url);
    await go(page, "#/policies");
    const row = page.getByRole("row", { name: /shop\/friends-only/ });
    expect(await row.innerText()).toMatch(/role=server[\s\S]*ingress, egress[\s\S]*✓ enforced/);
    await row.getByRole("button").click();
    await page.getByText("enforced on 1 of 1 pod").waitFor();
    await go(page, "#/nodes");
    await page
      .getByRole("meter", { name: /^endpoints: 4 of 1023$/ })
      .first()
      .waitFor();
  });

  it("is loud about a bypass, and says when the agent is gone", async () => {
    const page = await open(url);
    const bypass = ["bypass", "pod", SERVER, "--for", "5m", "--reason", "<b>INC-1</b>"];
    expect(await world.weir(...bypass)).toMatchObject({ status: 0 });
    const loud = page.getByRole("alert", { name: "Not enforced" });
    await loud.getByText("bypass of shop/server").waitFor();
    expect(await loud.innerText()).toContain("<b>INC-1</b>");
    await go(page, "#/matrix?from=shop&to=shop");
    const refreshed = async (): Promise<string> => {
      await page.getByRole("button", { name: "Refresh" }).click();
      return labelOf(page, STRANGER, SERVER);
    };
    await expect.poll(refreshed, { timeout: PATIENCE_MS, interval: 500 }).toContain("in audit mode");
    expect(await world.weir("bypass", "end", "--all")).toMatchObject({ status: 0 });
    await loud.waitFor({ state: "detached" });
    await agent.kill();
    await go(page, "#/nodes");
    await page.getByRole("row", { name: /down/ }).waitFor();
    // The agent's answers are missing, not empty.
    await go(page, "#/policies");
    await page.getByRole("alert").or(page.getByText("1 node without an answer")).first().waitFor();
  });
});

describe.each([
  [500, 5],
  [5_000, 25],
])("a cluster of %i pods", (count, nodeCount) => {
  let server: PageServer;
  let runner: ReturnType<typeof compiledRunner>;
  const figures: string[] = [];
  const lap = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    const start = performance.now();
    await work();
    figures.push(`${name} ${Math.round(performance.now() - start)} ms`);
  };

  beforeAll(async () => {
    runner = compiledRunner(largeWorld(count, nodeCount));
    server = await servePage(
      0,
      pageDocument(ROOT),
      pageData(runner, () => new Date()),
    );
  });
  afterAll(async () => {
    console.info(
      `page, ${count} pods, ${nodeCount} nodes: ${figures.join(", ")}; slowest node's reachability ${Math.round(runner.slowestMs())} ms`,
    );
    await server?.close();
  });

  it("is readable and quick, and draws only what is in sight", async () => {
    let page!: Page;
    await lap("interactive", async () => {
      page = await open(server.url);
      await page.getByRole("gridcell").first().waitFor();
    });
    await page.getByText(/^\d,?\d+ pods of \d+ workloads/).waitFor();
    // The frame does not scroll sideways in the smallest window.
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(WINDOW.width);
    // In a large cluster it is out of sight, and not in the document.
    await page.evaluate("document.querySelector('[role=grid]').scrollLeft = 700");
    await lap("a cell", async () => {
      await cell(page, "bank", "shop").click();
      await page.getByRole("link", { name: "Show these workloads" }).waitFor();
    });
    await lap("its workloads", async () => {
      await page.getByRole("link", { name: "Show these workloads" }).click();
      await page.getByRole("rowheader", { name: "auth-proxy" }).waitFor();
    });
    expect(await labelOf(page, "bank/api", "shop/db")).toBe("denied");
    await go(page, "#/matrix?from=shop&to=shop");
    await lap("a port", async () => {
      await page.getByRole("searchbox", { name: "Port" }).fill("9200");
      await page.getByText("only 9200").waitFor();
    });
    await expect.poll(() => labelOf(page, "shop/api", "shop/search")).toMatch(/TCP\/9200/);
    await expect.poll(() => labelOf(page, "shop/api", "shop/db")).toBe("denied");
    await lap("graph", async () => {
      await go(page, "#/graph");
      await page.getByRole("button", { name: /^shop, / }).waitFor();
    });
    await page.getByRole("button", { name: /^shop, / }).click();
    await page.getByRole("link", { name: "Show its workloads" }).click();
    await page.getByRole("button", { name: /^shop\/db, / }).click();
    expect(await page.getByRole("complementary").innerText()).toMatch(/shop\/api: TCP\/5432/);
    await lap("policies", async () => {
      await go(page, "#/policies");
      await page
        .getByRole("row", { name: /shop\/db-egress/ })
        .or(page.getByRole("row", { name: /bank\/db-egress/ }))
        .first()
        .waitFor();
    });
    await lap("drops", async () => {
      await go(page, "#/drops");
      await page.getByRole("img", { name: /^Dropped packets by the minute/ }).waitFor();
    });
    expect(await page.locator("*").count()).toBeLessThan(4_000);
  });

  it("has hostile names as text", async () => {
    const page = await open(server.url);
    page.on("dialog", () => opened.at(-1)?.wrong.push("a dialog was opened"));
    await go(page, `#/matrix?${new URLSearchParams({ from: HOSTILE.markup, to: HOSTILE.markup })}`);
    await page.getByRole("rowheader", { name: "safe\\u{202e}gnihton\\u{202c}" }).waitFor();
    await page.getByRole("rowheader", { name: HOSTILE.rtl }).waitFor();
    await page.getByRole("rowheader", { name: HOSTILE.long }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(WINDOW.width);
    expect(await page.locator("main script, main img, main b").count()).toBe(0);
    for (const view of ["graph", "drops", "policies", "nodes"]) {
      await go(page, `#/${view}`);
      await page.locator(".summary").first().waitFor();
      expect(await page.locator("main script, main img").count()).toBe(0);
    }
    expect(await page.evaluate("document.body.textContent")).not.toMatch(/[\u202a-\u202e\u2066-\u2069]/);
  });
});

describe("for everyone", () => {
  let server: PageServer;
  let silent: PageServer;

  beforeAll(async () => {
    const world = largeWorld(500, 5);
    const serve = (...noAnswer: readonly string[]): Promise<PageServer> =>
      servePage(
        0,
        pageDocument(ROOT),
        pageData(compiledRunner(world, noAnswer), () => new Date()),
      );
    [server, silent] = await Promise.all([serve(), serve("node-04")]);
  });
  afterAll(async () => {
    await server?.close();
    await silent?.close();
  });

  it("shows which node has no answer, and does not pass its pods off as known", async () => {
    const page = await open(silent.url);
    await page.getByText("1 node without an answer").click();
    await page.getByText("no answer within 30000 ms").waitFor();
    await go(page, "#/matrix?from=shop&to=shop");
    await page.getByRole("rowheader", { name: "auth-proxy" }).waitFor();
    expect(await labelOf(page, "shop/api", "shop/db")).toBe(
      "at most TCP/5432; not known: some pods are on nodes without an answer",
    );
    await go(page, "#/nodes");
    await page.getByRole("row", { name: /unreachable/ }).waitFor();
  });

  it("is used by keyboard alone", async () => {
    const page = await open(server.url);
    await page.getByRole("gridcell").first().waitFor();
    const focused = (): Promise<unknown> =>
      page.evaluate(
        "document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent",
      );
    const press = async (...keys: string[]): Promise<void> => {
      for (const key of keys) await page.keyboard.press(key);
    };
    await press("Tab");
    expect(await focused()).toBe("Skip to the content");
    await press("Enter");
    expect(await focused()).toBe("Matrix");
    // The choices, the button, and one cell: a grid is one stop.
    await press("Tab", "Tab", "Tab", "Tab", "Tab");
    expect(await focused()).toBe("Refresh");
    await press("Tab");
    const first = String(await focused());
    expect(first).toMatch(/ to .*: /);
    await press("ArrowRight", "ArrowDown");
    expect(await focused()).not.toBe(first);
    await press("Control+End");
    expect(await focused()).toMatch(/^outside the cluster to outside the cluster: /);
    await press("Control+Home");
    expect(await focused()).toBe(first);
    // bank to shop.
    await press("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight");
    expect(await focused()).toMatch(/^bank to shop: /);
    await press("Enter");
    await page.getByRole("link", { name: "Show these workloads" }).waitFor();
    await press("Tab");
    expect(await focused()).toBe("Show these workloads");
    await press("Enter");
    await page.getByRole("rowheader", { name: "auth-proxy" }).waitFor();
    await go(page, "#/graph?namespace=shop");
    await page.getByRole("button", { name: /^shop\/api, / }).waitFor();
    expect(await focused()).toBe("Graph");
    await page.getByRole("button", { name: /^shop\/api, / }).focus();
    await press("ArrowRight", "Enter");
    await page.getByRole("heading", { name: "shop/auth-proxy" }).waitFor();
  });

  it("has roles, names and landmarks", async () => {
    const page = await open(server.url);
    await page.getByRole("gridcell").first().waitFor();
    const snapshot = await page.locator("body").ariaSnapshot();
    for (const part of [
      /banner/,
      /navigation "Views"/,
      /link "Matrix"/,
      /alert "Not enforced"/,
      /main/,
      /heading "Matrix" \[level=1\]/,
      /combobox "From"/,
      /searchbox "Port"/,
      /grid "Who may reach whom: rows send, columns receive"/,
      /columnheader "bank/,
      /rowheader "bank/,
      /gridcell "bank to shop: /,
      /complementary "The chosen cell"/,
    ])
      expect(snapshot).toMatch(part);
    expect(await page.getByRole("grid").getAttribute("aria-rowcount")).toBe("6");
    expect(await page.getByRole("link", { name: "Matrix" }).getAttribute("aria-current")).toBe("page");
    for (const view of ["matrix", "graph", "trace", "drops", "policies", "nodes"]) {
      await go(page, `#/${view}`);
      await page.locator("h1").waitFor();
      // Everything that can be operated has a name.
      const nameless = await page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, meter, [role=button]')].filter((each) => !(each.getAttribute('aria-label') || each.textContent.trim() || each.labels?.length)).length",
      );
      expect({ view, nameless }).toEqual({ view, nameless: 0 });
    }
  });

  it.each(["light", "dark"] as const)("has enough contrast where it is %s", async (scheme) => {
    const page = await open(server.url, scheme);
    await page.getByRole("gridcell").first().waitFor();
    await go(page, "#/matrix?from=shop&to=shop");
    await page.getByRole("rowheader", { name: "auth-proxy" }).waitFor();
    const low = await page.evaluate(`(${lowContrast})(${CONTRAST_MIN})`);
    expect(low).toEqual([]);
    const ground = String(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
    expect(Number(/\d+/.exec(ground)?.[0]) < 128).toBe(scheme === "dark");
  });
});

/** WCAG 2.2, 1.4.3. */
const CONTRAST_MIN = 4.5;

/** Runs in the page: the texts with less contrast to the ground behind them. */
const lowContrast = `(min) => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter((each) =>
    [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "") && each.checkVisibility());
  return texts.flatMap((each) => {
    const [a, b] = [light(numbers(getComputedStyle(each).color)), light(groundOf(each))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return contrast < min ? [each.className + " " + each.textContent + " " + contrast.toFixed(2)] : [];
  });
}`;
