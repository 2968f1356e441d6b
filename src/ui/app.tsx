// The frame of the page: what it is about, what is loud, and one view at a time.

import { useEffect, useRef, useState } from "preact/hooks";
import type { OverviewView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { DropsPage } from "./drops-page.tsx";
import { GraphPage } from "./graph-page.tsx";
import { MatrixPage } from "./matrix-page.tsx";
import { healthOf, NodesPage } from "./nodes-page.tsx";
import { count, safeText, Wait } from "./parts.tsx";
import { PoliciesPage } from "./policies-page.tsx";
import { hrefOf, type Route, useRoute, VIEWS, type ViewName } from "./route.ts";
import { TracePage } from "./trace-page.tsx";

const TITLES: Readonly<Record<ViewName, string>> = {
  matrix: "Matrix",
  graph: "Graph",
  trace: "Trace",
  drops: "Drops",
  policies: "Policies",
  nodes: "Nodes",
};

/** More nodes are asked less often: each question is a command on each of them. */
export const pollMs = (nodes: number): number => Math.max(3_000, nodes * 250);

export function App() {
  const route = useRoute();
  const [everyMs, setEveryMs] = useState(pollMs(1));
  const overview = useAnswer<OverviewView>("overview", {}, everyMs);
  const nodes = overview.answer?.nodes.length ?? 1;
  useEffect(() => setEveryMs(pollMs(nodes)), [nodes]);
  const heading = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  // After a change of the view the reader is at its beginning.
  useEffect(() => {
    document.title = `${TITLES[route.view]} – Weir`;
    if (!isFirst.current) heading.current?.focus();
    isFirst.current = false;
  }, [route.view]);
  const { answer } = overview;
  return (
    <>
      <button type="button" class="skip" onClick={() => heading.current?.focus()}>
        Skip to the content
      </button>
      <header>
        <strong class="brand">Weir</strong>
        <span class="about">{answer === undefined ? "" : <bdi>{safeText(answer.title)}</bdi>}</span>
        <nav aria-label="Views">
          {VIEWS.map((view) => (
            <a key={view} href={hrefOf(view)} aria-current={view === route.view ? "page" : undefined}>
              {TITLES[view]}
            </a>
          ))}
        </nav>
        <Health overview={answer} />
      </header>
      <Loud overview={answer} />
      <main>
        <h1 ref={heading} tabIndex={-1}>
          {TITLES[route.view]}
        </h1>
        {answer === undefined ? (
          <Wait asked={overview} what="the nodes">
            {() => null}
          </Wait>
        ) : (
          <View route={route} overview={answer} />
        )}
      </main>
    </>
  );
}

function View({ route, overview }: { readonly route: Route; readonly overview: OverviewView }) {
  const { parameters } = route;
  const everyMs = pollMs(overview.nodes.length);
  switch (route.view) {
    case "matrix":
      return <MatrixPage parameters={parameters} everyMs={4 * everyMs} />;
    case "graph":
      return <GraphPage parameters={parameters} />;
    case "trace":
      return <TracePage parameters={parameters} />;
    case "drops":
      return <DropsPage parameters={parameters} everyMs={everyMs} />;
    case "policies":
      return <PoliciesPage parameters={parameters} />;
    case "nodes":
      return <NodesPage overview={overview} />;
  }
}

function Health({ overview }: { readonly overview: OverviewView | undefined }) {
  if (overview === undefined) return null;
  const bad = overview.nodes.filter((each) => healthOf(each) !== "ok").length;
  return (
    <a class={`health ${bad === 0 ? "good" : "bad"}`} href={hrefOf("nodes")}>
      <span aria-hidden="true">{bad === 0 ? "✓" : "⚠"}</span>{" "}
      {bad === 0
        ? `${count(overview.nodes.length, "node")}, all ok`
        : `${bad} of ${count(overview.nodes.length, "node")} not ok`}
    </a>
  );
}

/** What lets packets pass that policies deny. */
function Loud({ overview }: { readonly overview: OverviewView | undefined }) {
  const loud = (overview?.nodes ?? []).flatMap(({ node, report }) => [
    ...(report?.agent.mode === "audit"
      ? [`${node}: the whole node is in audit mode, nothing is dropped`]
      : []),
    ...(report?.bypasses ?? []).map(
      ({ target, until, reason }) => `${node}: bypass of ${target} until ${until.slice(0, 19)}Z (${reason})`,
    ),
    ...(report?.agent.mode !== "audit" && report?.bypasses === undefined && (report?.audited ?? 0) > 0
      ? [`${node}: ${count(report?.audited ?? 0, "pod")} with policies in audit mode, which drop nothing`]
      : []),
  ]);
  if (loud.length === 0) return null;
  const [shown, more] = [loud.slice(0, 3), loud.length - 3];
  return (
    <section class="loud" role="alert" aria-label="Not enforced">
      <strong>
        <span aria-hidden="true">⚠ </span>Not enforced
      </strong>
      <ul>
        {shown.map((each) => (
          <li key={each}>
            <bdi>{safeText(each)}</bdi>
          </li>
        ))}
        {more > 0 ? (
          <li>
            <a href={hrefOf("nodes")}>and {more} more</a>
          </li>
        ) : null}
      </ul>
    </section>
  );
}
