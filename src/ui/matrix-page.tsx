// Who may reach whom: namespaces first, then the workloads of two of them; a cell leads to its trace.

import { useMemo, useState } from "preact/hooks";
import type { LabelView, MatrixView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { cellSentence, KINDS, MEANINGS, SIGNS } from "./cells.ts";
import { MatrixGrid } from "./matrix-grid.tsx";
import { Choice, count, Failures, Filter, labelText, Name, safeText, Wait } from "./parts.tsx";
import { go, hrefOf } from "./route.ts";

const ALL = "";

type Parameters = Readonly<Record<string, string>>;

interface Props {
  readonly parameters: Parameters;
  readonly everyMs: number;
}

export function MatrixPage({ parameters, everyMs }: Props) {
  const { from, to, port = "", show = "" } = parameters;
  const asked = useAnswer<MatrixView>("matrix", { from, to, port }, everyMs);
  const spaces = useAnswer<MatrixView>("matrix", {});
  const names = (spaces.answer?.rows ?? [])
    .filter(({ namespace }) => namespace !== "")
    .map(({ namespace }) => namespace);
  const change = (changes: Record<string, string | undefined>): void =>
    go("matrix", { ...parameters, ...changes });
  const options = [[ALL, "all namespaces"], ...names.map((name) => [name, name] as const)] as const;
  return (
    <>
      <search class="controls" aria-label="What to show">
        <Choice
          label="From"
          value={from ?? ALL}
          options={options}
          onChange={(value) => change({ from: value, to: value === ALL ? ALL : (to ?? value) })}
        />
        <Choice
          label="To"
          value={to ?? ALL}
          options={options}
          onChange={(value) => change({ to: value, from: value === ALL ? ALL : (from ?? value) })}
        />
        <Filter label="Port" value={port} hint="TCP/80" onChange={(value) => change({ port: value })} />
        <Filter
          label="Names"
          value={show}
          hint="part of a name"
          onChange={(value) => change({ show: value })}
        />
        {from === undefined && to === undefined ? null : (
          <a class="button" href={hrefOf("matrix", { port })}>
            All namespaces
          </a>
        )}
        <button type="button" onClick={asked.again}>
          Refresh
        </button>
      </search>
      <Wait asked={asked} what="who may reach whom">
        {(answer) => (
          <Found answer={answer} show={show} parameters={parameters} isLoading={asked.isLoading} />
        )}
      </Wait>
    </>
  );
}

interface FoundProps {
  readonly answer: MatrixView;
  readonly show: string;
  readonly parameters: Parameters;
  readonly isLoading: boolean;
}

function Found({ answer, show, parameters, isLoading }: FoundProps) {
  const { rows, columns, left, totals, failures } = answer;
  const shown = useMemo(() => {
    const matching = (labels: readonly LabelView[]): number[] => {
      const found = labels.flatMap((label, at) => (labelText(label).includes(show) ? [at] : []));
      return found.length === 0 ? labels.map((_, at) => at) : found;
    };
    const isNamed = (labels: readonly LabelView[]): boolean =>
      show !== "" && labels.some((label) => labelText(label).includes(show));
    return {
      rows: isNamed(rows) ? matching(rows) : rows.map((_, at) => at),
      columns: columns.map((_, at) => at),
    };
  }, [rows, columns, show]);
  const [chosen, setChosen] = useState<readonly [row: number, column: number] | undefined>();
  const at =
    chosen !== undefined && rows[chosen[0]] !== undefined && columns[chosen[1]] !== undefined
      ? chosen
      : undefined;
  return (
    <>
      <p class="summary" role="status">
        {count(totals.pods, "pod")} of {count(totals.workloads, "workload")} in{" "}
        {count(totals.namespaces, "namespace")}
        {parameters["port"] === undefined ? "" : `, only ${safeText(parameters["port"])}`}
        {left.rows + left.columns > 0
          ? `; ${count(left.rows, "row")} and ${count(left.columns, "column")} more are not shown`
          : ""}
        {isLoading ? " – loading …" : ""}
      </p>
      <Failures of={failures} />
      <div class="split">
        <MatrixGrid
          matrix={answer}
          rows={shown.rows}
          columns={shown.columns}
          chosen={at}
          onChoose={setChosen}
        />
        <aside aria-label="The chosen cell">
          {at === undefined ? (
            <p>
              Rows send, columns receive. Choose a cell (arrow keys and Enter work, too) for its ports and its
              trace.
            </p>
          ) : (
            <CellPanel answer={answer} at={at} parameters={parameters} />
          )}
          <Legend />
        </aside>
      </div>
    </>
  );
}

function CellPanel({
  answer,
  at,
  parameters,
}: {
  readonly answer: MatrixView;
  readonly at: readonly [number, number];
  readonly parameters: Parameters;
}) {
  const [from, to] = [answer.rows[at[0]] as LabelView, answer.columns[at[1]] as LabelView];
  const cell = answer.distinct[answer.cells[at[0]]?.[at[1]] ?? 0];
  if (cell === undefined) return null;
  const isWhole = from.workload === undefined || to.workload === undefined;
  const port = parameters["port"];
  const [, protocol, number] = /^(TCP|UDP|SCTP)\/(\d+)/.exec(port ?? cell.some) ?? [];
  return (
    <div aria-live="polite">
      <h2>
        <Name of={labelText(from)} /> <span aria-hidden="true">→</span>
        <span class="hidden"> to </span> <Name of={labelText(to)} />
      </h2>
      <p>
        <span class={`cell ${cell.kind}`} aria-hidden="true">
          {SIGNS[cell.kind]}
        </span>{" "}
        {cellSentence(cell)}
      </p>
      <dl>
        {cell.every === cell.some ? null : (
          <>
            <dt>Between all pods</dt>
            <dd>{cell.every || "–"}</dd>
            <dt>Between some pods</dt>
            <dd>{cell.some}</dd>
          </>
        )}
        <dt>Isolated</dt>
        <dd>
          {from.isolated.egress} of {count(from.pods, "pod")} that send, {to.isolated.ingress} of{" "}
          {count(to.pods, "pod")} that receive
        </dd>
      </dl>
      {isWhole && from.namespace !== "" && to.namespace !== "" ? (
        <a
          class="button"
          href={hrefOf("matrix", { ...parameters, show: undefined, from: from.namespace, to: to.namespace })}
        >
          Show these workloads
        </a>
      ) : null}{" "}
      <a
        class="button"
        href={hrefOf("trace", {
          from: from.example,
          to: to.example,
          port: number,
          protocol: number === undefined ? undefined : protocol,
        })}
      >
        Trace, with the rules
      </a>
      {isWhole || from.pods > 1 || to.pods > 1 ? (
        <p class="note">The trace is between one pod of each.</p>
      ) : null}
    </div>
  );
}

function Legend() {
  return (
    <details open class="legend">
      <summary>Signs</summary>
      <ul>
        {KINDS.filter((kind) => kind !== "self").map((kind) => (
          <li key={kind}>
            <span class={`cell ${kind}`} aria-hidden="true">
              {SIGNS[kind]}
            </span>{" "}
            {MEANINGS[kind]}
          </li>
        ))}
        <li>
          <span class="cell ports" aria-hidden="true">
            80
          </span>{" "}
          the only TCP port (u53: UDP)
        </li>
        <li>
          <span class="cell some" aria-hidden="true">
            10%
          </span>{" "}
          so many pairs of workloads
        </li>
        <li>
          <span class="cell all audit" aria-hidden="true">
            ●
          </span>{" "}
          dashed: only by audit mode or a bypass
        </li>
      </ul>
    </details>
  );
}
