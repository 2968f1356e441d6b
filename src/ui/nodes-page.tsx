// Nodes: whether all is enforced there, and how full the kernel's maps are.

import { useState } from "preact/hooks";
import type { NodeView, OverviewView } from "../cli/ui/page-views.ts";
import { count, Name, safeText, timeText } from "./parts.tsx";

export const healthOf = ({ report }: NodeView): "ok" | "degraded" | "down" | "unreachable" =>
  report?.health ?? "unreachable";

const SIGNS = { ok: "✓", degraded: "⚠", down: "×", unreachable: "?" } as const;

interface MapUse {
  readonly name: string;
  readonly used: number;
  readonly max: number;
}

const mapsOf = ({ report }: NodeView): readonly MapUse[] => [
  ...(report?.capacity ?? []),
  ...(report?.flows ?? []).map(({ table, used, max }) => ({ name: table, used, max })),
];

const fullest = (maps: readonly MapUse[]): MapUse | undefined =>
  maps.reduce<MapUse | undefined>(
    (most, each) => (most === undefined || each.used / each.max > most.used / most.max ? each : most),
    undefined,
  );

export function NodesPage({ overview: { nodes, at } }: { readonly overview: OverviewView }) {
  const [opened, setOpened] = useState<string | undefined>(nodes.length === 1 ? nodes[0]?.node : undefined);
  return (
    <>
      <p class="summary" role="status">
        {count(nodes.length, "node")}, asked at {timeText(at)}
      </p>
      <div class="scroll">
        <table>
          <caption class="hidden">Nodes</caption>
          <thead>
            <tr>
              <th scope="col">Node</th>
              <th scope="col">Health</th>
              <th scope="col">Version</th>
              <th scope="col" class="number">
                Generation
              </th>
              <th scope="col" class="number">
                Endpoints
              </th>
              <th scope="col" class="number">
                Policies
              </th>
              <th scope="col">Not enforced</th>
              <th scope="col">Fullest map</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map((each) => (
              <Row
                key={each.node}
                of={each}
                isOpen={opened === each.node}
                onToggle={(isOpen) => setOpened(isOpen ? each.node : undefined)}
              />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Row({
  of,
  isOpen,
  onToggle,
}: {
  readonly of: NodeView;
  readonly isOpen: boolean;
  readonly onToggle: (isOpen: boolean) => void;
}) {
  const { node, report, error } = of;
  const health = healthOf(of);
  const most = fullest(mapsOf(of));
  const { wanted, applied } = report?.generation ?? {};
  return (
    <>
      <tr>
        <th scope="row">
          <button type="button" class="link" aria-expanded={isOpen} onClick={() => onToggle(!isOpen)}>
            <span aria-hidden="true">{isOpen ? "▾ " : "▸ "}</span>
            <Name of={node} />
          </button>
        </th>
        <td class={health === "ok" ? "good" : "bad"}>
          <span aria-hidden="true">{SIGNS[health]}</span> {health}
        </td>
        <td>{report?.agent.version ?? "–"}</td>
        <td class="number">
          {applied === undefined
            ? "–"
            : applied === wanted || wanted === undefined
              ? applied
              : `${applied} of ${wanted}`}
        </td>
        <td class="number">{report?.endpoints ?? "–"}</td>
        <td class="number">{report?.policies ?? "–"}</td>
        <td class={looseText(of) === "–" ? "" : "warn"}>{looseText(of)}</td>
        <td>{most === undefined ? "–" : <Meter of={most} />}</td>
      </tr>
      {isOpen ? (
        <tr class="more">
          <td colSpan={8}>
            {error === undefined ? null : <p class="bad">{safeText(error)}</p>}
            <Details of={of} />
          </td>
        </tr>
      ) : null}
    </>
  );
}

function looseText({ report }: NodeView): string {
  if (report?.agent.mode === "audit") return "⚠ all: audit mode";
  const texts = [
    ...((report?.bypasses?.length ?? 0) > 0
      ? [count(report?.bypasses?.length ?? 0, "bypass", "bypasses")]
      : []),
    ...((report?.audited ?? 0) > 0 ? [`${count(report?.audited ?? 0, "pod")} audited`] : []),
  ];
  return texts.length === 0 ? "–" : `⚠ ${texts.join(", ")}`;
}

const Meter = ({ of: { name, used, max } }: { readonly of: MapUse }) => (
  <span class="use">
    <meter min={0} max={max} high={max * 0.8} value={used} aria-label={`${name}: ${used} of ${max}`} />{" "}
    <span>
      {name} {((100 * used) / max).toFixed(used / max < 0.1 ? 1 : 0)} %
    </span>
  </span>
);

function Details({ of }: { readonly of: NodeView }) {
  const { report } = of;
  if (report === undefined) return null;
  return (
    <>
      {report.problems.length === 0 ? null : (
        <>
          <h3>Problems</h3>
          <ul>
            {report.problems.map(({ text, severity }) => (
              <li key={text} class={severity === "error" ? "bad" : "warn"}>
                <bdi>{safeText(text)}</bdi>
              </li>
            ))}
          </ul>
        </>
      )}
      {(report.bypasses ?? []).map(({ target, until, reason }) => (
        <p key={target} class="warn">
          ⚠ bypass of <Name of={target} /> until {timeText(until)}: {safeText(reason)}
        </p>
      ))}
      <p>
        Enforced since {report.appliedAt === undefined ? "–" : timeText(report.appliedAt)}; source{" "}
        <Name of={report.agent.source ?? "–"} />; hooks {report.agent.hook ?? "–"}
      </p>
      <h3>Map use</h3>
      <ul class="meters">
        {mapsOf(of).map((each) => (
          <li key={each.name}>
            <Meter of={each} />{" "}
            <small>
              {each.used.toLocaleString("en")} of {each.max.toLocaleString("en")}
            </small>
          </li>
        ))}
      </ul>
    </>
  );
}
