// A headless browser for the page, which fails a test if the page breaks its content security policy, asks another origin, or throws.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

/** Runs in the page, before its own script. */
const REPORT_VIOLATIONS =
  'addEventListener("securitypolicyviolation", (event) => console.error("violates", event.violatedDirective, event.blockedURI));';

/** The smallest window that the page is made for. */
export const WINDOW = { width: 1_000, height: 700 } as const;

export interface Browser {
  /** Opens an address in a new tab; `scheme`: the user's preference. */
  open(url: string, scheme?: "light" | "dark"): Promise<OpenPage>;
  close(): Promise<void>;
}

export interface OpenPage {
  readonly page: Page;
  /** What was wrong since it was opened: violations of the policy, foreign requests, errors. */
  readonly wrong: string[];
}

export async function openBrowser(): Promise<Browser> {
  const directory = mkdtempSync(join(tmpdir(), "weir-ui-"));
  const context: BrowserContext = await chromium.launchPersistentContext(directory, {
    executablePath: EXECUTABLE,
    headless: true,
    args: FLAGS,
    viewport: WINDOW,
    // Of the machine's proxy settings nothing.
    env: { HOME: directory, PATH: process.env["PATH"] ?? "" },
  });
  return {
    async open(url, scheme = "light") {
      const page = await context.newPage();
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      const { origin } = new URL(url);
      const wrong: string[] = [];
      page.on("request", (request) => {
        if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith("data:"))
          wrong.push(`request to ${request.url()}`);
      });
      page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
      page.on("console", (message) => {
        if (message.type() === "error") wrong.push(`console: ${message.text()}`);
      });
      await page.addInitScript(REPORT_VIOLATIONS);
      await page.goto(url);
      return { page, wrong };
    },
    async close() {
      await context.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
