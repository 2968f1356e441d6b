// The page as one document: script and style of the build are inline, and the content security policy admits them by their hashes.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "../environment.ts";

export interface PageDocument {
  readonly html: string;
  /** Value of the header Content-Security-Policy. */
  readonly policy: string;
}

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** @throws CommandError if the installation has no page */
export function pageDocument(root: string): PageDocument {
  const [script, style] = ["page.js", "page.css"].map((name) => {
    try {
      return readFileSync(join(root, "dist", "ui", name), "utf8");
    } catch {
      throw new CommandError("the page is not built; run: npm run build");
    }
  }) as [string, string];
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Weir</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. The same is shown by weir status, weir get and weir trace.</noscript>
<script type="module">${script}</script>
</body>
</html>
`;
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
  return { html, policy };
}
