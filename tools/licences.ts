// The licence texts of the npm packages in a bundle, which ask to go with every copy of them.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** "…/node_modules/@scope/name" of a file in a package, the innermost where packages are nested. */
const packageOf = (file: string): string | undefined =>
  /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];

/**
 * One text with name, version and licence of every package that one of the files belongs to, sorted by name.
 *
 * @param files paths relative to `root`
 * @throws Error where a package holds no licence text
 */
export function licenceTexts(root: string, files: readonly string[]): string {
  const packages = new Set(files.map(packageOf).filter((each) => each !== undefined));
  return [...packages]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
      const texts = readdirSync(join(root, folder)).filter((file) =>
        /^(?:licen[cs]e|notice|copying)\b/i.test(file),
      );
      if (texts.length === 0) throw new Error(`${name} ${version} (${license}) holds no licence text`);
      const bodies = texts.map((file) => readFileSync(join(root, folder, file), "utf8").trim());
      return [`${name} ${version} (${license})`, ...bodies].join("\n\n");
    })
    .join(`\n\n${"-".repeat(72)}\n\n`)
    .concat("\n");
}
