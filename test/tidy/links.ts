// Links of Markdown pages within the repository: each leads to a file, and to a heading of that page if it names one.

import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { root } from "./files.ts";

const withoutCode = (text: string): string =>
  text.replace(/^```.*?^```/gms, "").replace(/`[^`\n]*\]\([^`\n]*`/g, "");

/** A heading's anchor as GitHub makes it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_\- ]/gu, "")
    .replaceAll(" ", "-");

const anchorsIn = (text: string): ReadonlySet<string> =>
  new Set(
    withoutCode(text)
      .matchAll(/^#+ (.*)$/gm)
      .map(([, heading = ""]) => anchorOf(heading.trim())),
  );

/** "PAGE: LINK" for each broken link; `pages` by path. */
export function brokenLinks(pages: ReadonlyMap<string, string>): string[] {
  return [...pages].flatMap(([page, text]) =>
    [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, link = ""]) => link)
      .filter((link) => !/^[a-z]+:/.test(link) && !leads(page, link, pages))
      .map((link) => `${page}: ${link}`),
  );
}

function leads(page: string, link: string, pages: ReadonlyMap<string, string>): boolean {
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? page : normalize(join(dirname(page), path));
  if (!existsSync(join(root, target))) return false;
  const text = pages.get(target);
  return anchor === undefined || text === undefined || anchorsIn(text).has(anchor);
}
