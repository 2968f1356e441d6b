// What texts of the configuration mean, where their type alone does not say it.

import { isIP } from "node:net";

export type Listen = { readonly host: string; readonly port: number } | "off";

/** "127.0.0.1:9469", "[::1]:9469", ":9469" (every address), or "off"; undefined for anything else. */
export function listenOf(text: string): Listen | undefined {
  if (text === "off") return text;
  const [, v6, other, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*)):(\d{1,5})$/i.exec(text) ?? [];
  const host = v6 ?? (other || "::");
  const port = Number(digits);
  const isAddress = isIP(host) === (v6 === undefined && host !== "::" ? 4 : 6);
  return digits === undefined || port > 65_535 || !isAddress ? undefined : { host, port };
}

/** Without a look-ahead, which Helm's JSON Schema validator does not support. */
export const INTERFACE_NAME = /^[^/\s]{1,15}$/;

/** As the kernel accepts them; whether the interface exists is checked when attaching. */
export const isInterfaceName = (text: string): boolean =>
  INTERFACE_NAME.test(text) && text !== "." && text !== "..";
