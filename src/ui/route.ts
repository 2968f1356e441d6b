// Where one is in the page, in the fragment of its address: "#/matrix?from=shop&to=bank".

import { useEffect, useState } from "preact/hooks";

export const VIEWS = ["matrix", "graph", "trace", "drops", "policies", "nodes"] as const;
export type ViewName = (typeof VIEWS)[number];

export interface Route {
  readonly view: ViewName;
  readonly parameters: Readonly<Record<string, string>>;
}

function routeIn(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const view = VIEWS.find((each) => each === path) ?? "matrix";
  return { view, parameters: Object.fromEntries(new URLSearchParams(query)) };
}

export function hrefOf(
  view: ViewName,
  parameters: Readonly<Record<string, string | undefined>> = {},
): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given as [string, string][]).toString();
  return `#/${view}${query === "" ? "" : `?${query}`}`;
}

export const go = (...to: Parameters<typeof hrefOf>): void => {
  location.hash = hrefOf(...to);
};

export function useRoute(): Route {
  const [route, setRoute] = useState(() => routeIn(location.hash));
  useEffect(() => {
    const follow = (): void => setRoute(routeIn(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
