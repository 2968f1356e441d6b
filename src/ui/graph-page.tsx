// The connections that a rule allows, as a graph: namespaces, or the workloads of one of them.

import { useMemo, useState } from "preact/hooks";
import type { GraphView, LabelView, MatrixView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { MEANINGS } from "./cells.ts";
import { CANVAS, placesOf } from "./graph-layout.ts";
import { Choice, count, Failures, Filter, labelText, Name, safeText, Wait } from "./parts.tsx";
import { go, hrefOf } from "./route.ts";

type Edge = GraphView["edges"][number];
type PlaceView = GraphView["nodes"][number];

/** With more lines than this, they are faint until a place is chosen. */
const EDGES_CLEAR = 80;

export function GraphPage({ parameters }: { readonly parameters: Readonly<Record<string, string>> }) {
  const { namespace, port = "" } = parameters;
  const asked = useAnswer<GraphView>("graph", { namespace, port });
  const spaces = useAnswer<MatrixView>("matrix", {});
  const names = (spaces.answer?.rows ?? []).flatMap((row) => (row.namespace === "" ? [] : [row.namespace]));
  const change = (changes: Record<string, string>): void => go("graph", { ...parameters, ...changes });
  return (
    <>
      <search class="controls" aria-label="What to show">
        <Choice
          label="Namespace"
          value={namespace ?? ""}
          options={[["", "all namespaces"], ...names.map((name) => [name, name] as const)]}
          onChange={(value) => change({ namespace: value })}
        />
        <Filter label="Port" value={port} hint="TCP/80" onChange={(value) => change({ port: value })} />
        <button type="button" onClick={asked.again}>
          Refresh
        </button>
      </search>
      <Wait asked={asked} what="the graph">
        {(answer) => <Drawing answer={answer} key={`${namespace} ${port}`} />}
      </Wait>
    </>
  );
}

function Drawing({ answer }: { readonly answer: GraphView }) {
  const { nodes, edges, left, failures } = answer;
  const places = useMemo(() => placesOf(answer), [answer]);
  const [chosen, setChosen] = useState<number | undefined>();
  const [focus, setFocus] = useState(0);
  const isDrawn = ({ from, to }: Edge): boolean => chosen === undefined || from === chosen || to === chosen;
  const near = new Set(edges.filter(isDrawn).flatMap(({ from, to }) => [from, to]));
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") setChosen(undefined);
    if (step === undefined) return;
    event.preventDefault();
    const next = (focus + step + nodes.length) % nodes.length;
    setFocus(next);
    (event.currentTarget as SVGElement).querySelector<SVGElement>(`[data-node="${next}"]`)?.focus();
  };
  return (
    <>
      <p class="summary" role="status">
        {count(edges.length, "connection")} that a rule allows between {count(nodes.length, "place")}
        {left > 0 ? `; ${left} more are not drawn: choose a namespace or a port` : ""}
        {edges.length === 0 ? ": no policy isolates anything here, so everything passes" : ""}
      </p>
      <Failures of={failures} />
      <div class="split">
        <svg
          class={`graph ${chosen === undefined && edges.length > EDGES_CLEAR ? "many" : ""}`}
          viewBox={`0 0 ${CANVAS.width} ${CANVAS.height}`}
          role="application"
          aria-label="Connections that rules allow; arrow keys move between places"
          onKeyDown={onKeyDown}
        >
          <defs>
            <marker
              id="arrow"
              viewBox="0 0 8 8"
              refX="7"
              refY="4"
              markerWidth="7"
              markerHeight="7"
              orient="auto"
            >
              <path d="M0 0 8 4 0 8Z" />
            </marker>
          </defs>
          {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: nothing of SVG takes the focus by itself */}
          <g aria-hidden="true">
            {edges.map((edge) => (
              <Line
                key={`${edge.from} ${edge.to}`}
                edge={edge}
                places={places}
                isFaint={!isDrawn(edge)}
                isNamed={chosen !== undefined && isDrawn(edge)}
              />
            ))}
          </g>
          {nodes.map((node, at) => {
            const place = places[at];
            if (place === undefined) return null;
            const text = safeText(node.workload ?? node.namespace);
            return (
              // biome-ignore lint/a11y/useSemanticElements: there are no buttons in SVG
              <g
                key={labelText(node)}
                data-node={at}
                class={`node ${CLASSES[isolationOf(node)]} ${chosen === at ? "chosen" : ""} ${near.has(at) || chosen === undefined ? "" : "faint"}`}
                role="button"
                tabIndex={at === focus ? 0 : -1}
                aria-pressed={chosen === at}
                aria-label={nodeSentence(node, at, edges)}
                transform={`translate(${place.x} ${place.y})`}
                onFocus={() => setFocus(at)}
                onClick={() => {
                  setFocus(at);
                  setChosen(chosen === at ? undefined : at);
                }}
                onKeyDown={(event) => {
                  if (event.key !== "Enter" && event.key !== " ") return;
                  event.preventDefault();
                  setChosen(chosen === at ? undefined : at);
                }}
              >
                {node.fromEverywhere === undefined ? null : <circle class="ring" r={place.radius + 4} />}
                <circle r={place.radius} />
                {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: as the lines */}
                <text y={place.radius + 17} aria-hidden="true">
                  {text.length > 22 ? `${text.slice(0, 10)}…${text.slice(-10)}` : text}
                </text>
              </g>
            );
          })}
        </svg>
        <aside aria-label="The chosen place">
          {chosen === undefined || nodes[chosen] === undefined ? (
            <p>
              A line is a connection that a rule allows: blue on some ports, green on all, dashed between some
              pods only. Choose a place for its connections. Filled: all its pods are isolated; pale: some;
              dashed circle: none, and what no rule denies has no line. A second circle: reached from every
              other place.
            </p>
          ) : (
            <Connections node={nodes[chosen] as PlaceView} at={chosen} answer={answer} />
          )}
        </aside>
      </div>
    </>
  );
}

function nodeSentence(node: PlaceView, at: number, edges: readonly Edge[]): string {
  const [out, into] = [edges.filter(({ from }) => from === at), edges.filter(({ to }) => to === at)];
  const everywhere =
    node.fromEverywhere === undefined ? "" : `, reached from everywhere on ${node.fromEverywhere}`;
  const connections = `${count(out.length, "connection")} out, ${into.length} in`;
  return `${safeText(labelText(node))}, ${count(node.pods, "pod")}, ${isolationOf(node)}, ${connections}${everywhere}`;
}

const CLASSES = { isolated: "isolated", "partly isolated": "partly", "not isolated": "open" } as const;

function isolationOf({
  pods,
  isolated: { ingress, egress },
}: LabelView): "isolated" | "partly isolated" | "not isolated" {
  if (ingress === 0 && egress === 0) return "not isolated";
  return ingress >= pods && pods > 0 ? "isolated" : "partly isolated";
}

interface LineProps {
  readonly edge: Edge;
  readonly places: ReturnType<typeof placesOf>;
  readonly isFaint: boolean;
  readonly isNamed: boolean;
}

/** Bent to one side, so that both directions can be seen. */
function Line({ edge, places, isFaint, isNamed }: LineProps) {
  const [a, b] = [places[edge.from], places[edge.to]];
  if (a === undefined || b === undefined) return null;
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const bend = Math.min(30, length / 7);
  const [mx, my] = [(a.x + b.x) / 2 - uy * bend, (a.y + b.y) / 2 + ux * bend];
  const [endX, endY] = [b.x - ux * (b.radius + 3), b.y - uy * (b.radius + 3)];
  return (
    <>
      <path
        class={`edge ${edge.kind} ${isFaint ? "faint" : ""}`}
        d={`M${a.x} ${a.y} Q${mx} ${my} ${endX} ${endY}`}
        marker-end="url(#arrow)"
      />
      {isNamed ? (
        <text class="ports" x={mx} y={my}>
          {edge.ports.length > 24 ? `${edge.ports.slice(0, 22)}…` : edge.ports}
        </text>
      ) : null}
    </>
  );
}

function Connections({
  node,
  at,
  answer: { nodes, edges },
}: {
  readonly node: PlaceView;
  readonly at: number;
  readonly answer: GraphView;
}) {
  const list = (title: string, own: readonly Edge[], otherOf: (edge: Edge) => number) => (
    <>
      <h3>{title}</h3>
      {own.length === 0 ? <p class="note">No rule allows any.</p> : null}
      <ul class="connections">
        {own.slice(0, 40).map((edge) => {
          const other = nodes[otherOf(edge)];
          return other === undefined ? null : (
            <li key={labelText(other)}>
              <Name of={labelText(other)} />: {edge.ports}
              {edge.kind === "some" ? " (some pods)" : ""}
              {edge.kind === "unknown" ? ` (${MEANINGS.unknown})` : ""}
            </li>
          );
        })}
        {own.length > 40 ? <li>and {own.length - 40} more</li> : null}
      </ul>
    </>
  );
  return (
    <div aria-live="polite">
      <h2>
        <Name of={labelText(node)} />
      </h2>
      <p>
        {count(node.pods, "pod")}, {isolationOf(node)}
      </p>
      {node.fromEverywhere === undefined ? null : (
        <p>
          Every other place reaches it, or some of its pods, on {node.fromEverywhere}; only what differs has a
          line.
        </p>
      )}
      {node.workload === undefined ? (
        <a class="button" href={hrefOf("graph", { namespace: node.namespace })}>
          Show its workloads
        </a>
      ) : null}
      {list(
        "May receive from",
        edges.filter(({ to }) => to === at),
        ({ from }) => from,
      )}
      {list(
        "May send to",
        edges.filter(({ from }) => from === at),
        ({ to }) => to,
      )}
    </div>
  );
}
