// Writes the pictures of docs/ui.md: node test/ui/pictures.ts

import { fileURLToPath } from "node:url";
import { pageData } from "../../src/cli/ui/page-data.ts";
import { pageDocument } from "../../src/cli/ui/page-document.ts";
import { servePage } from "../../src/cli/ui/page-server.ts";
import { openBrowser } from "./browser.ts";
import { compiledRunner, largeWorld } from "./compiled-world.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const pathOf = (name: string): string => `${ROOT}docs/images/${name}.png`;

const data = pageData(compiledRunner(largeWorld(5_000, 25, false)), () => new Date());
const server = await servePage(0, pageDocument(ROOT), data);
const browser = await openBrowser();
try {
  const { page } = await browser.open(server.url);
  await page.getByRole("gridcell").first().waitFor();
  await page.evaluate('location.hash = "#/matrix?from=shop&to=shop"');
  await page.locator('[role="gridcell"][aria-label^="shop/api to shop/db: "]').click();
  await page.getByRole("link", { name: "Trace, with the rules" }).waitFor();
  await page.screenshot({ path: pathOf("ui-matrix") });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.evaluate('location.hash = "#/graph"');
  await page.getByRole("button", { name: /^shop, / }).click();
  await page.getByRole("link", { name: "Show its workloads" }).waitFor();
  await page.screenshot({ path: pathOf("ui-graph") });
} finally {
  await browser.close();
  await server.close();
}
