// What was dropped: by the minute, summed up, and as it happens.

import { useMemo, useState } from "preact/hooks";
import type { DropsView, EventsView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { bytesText, Choice, count, Failures, Filter, Name, safeText, timeText, Wait } from "./parts.tsx";
import { go } from "./route.ts";
import { TimeChart } from "./time-chart.tsx";

const SPANS = [
  ["15m", "15 minutes"],
  ["1h", "1 hour"],
  ["6h", "6 hours"],
  ["24h", "24 hours"],
] as const;
type Span = (typeof SPANS)[number][0];

const ROWS_SHOWN = 100;

interface Props {
  readonly parameters: Readonly<Record<string, string>>;
  readonly everyMs: number;
}

export function DropsPage({ parameters, everyMs }: Props) {
  const pod = parameters["pod"] ?? "";
  const since = (SPANS.find(([span]) => span === parameters["since"])?.[0] ?? "1h") satisfies Span;
  const change = (changes: Record<string, string>): void => go("drops", { ...parameters, ...changes });
  const drops = useAnswer<DropsView>("drops", { since, pod }, Math.max(15_000, everyMs));
  return (
    <>
      <search class="controls" aria-label="What to show">
        <Choice label="Since" value={since} options={SPANS} onChange={(value) => change({ since: value })} />
        <Filter label="Pod" value={pod} hint="shop/web-0" onChange={(value) => change({ pod: value })} />
        <button type="button" onClick={drops.again}>
          Refresh
        </button>
      </search>
      <Wait asked={drops} what="the history">
        {(answer) => <Past answer={answer} />}
      </Wait>
      <Live pod={pod} everyMs={everyMs} />
    </>
  );
}

function Past({ answer }: { readonly answer: DropsView }) {
  const { rows, total, left, minutes, remarks, failures } = answer;
  const sentence = useMemo(() => {
    const peak = Math.max(0, ...minutes.dropped);
    const at = minutes.time[minutes.dropped.indexOf(peak)] ?? 0;
    const most =
      peak === 0
        ? ""
        : `, most of them (${count(peak, "packet")}) in the minute to ${new Date(at * 1_000).toISOString().slice(11, 16)}Z`;
    return `${count(total.packets, "packet")} dropped in ${count(minutes.time.length, "minute")}${most}`;
  }, [minutes, total]);
  return (
    <>
      <p class="summary" role="status">
        {sentence}; {bytesText(total.bytes)}
      </p>
      <Failures of={failures} />
      <TimeChart minutes={minutes} label={`Dropped packets by the minute: ${sentence}`} />
      {remarks.length === 0 ? null : (
        <p class="note">
          {remarks.slice(0, 3).map(safeText).join("; ")}
          {remarks.length > 3 ? ` and ${remarks.length - 3} more` : ""}
        </p>
      )}
      <div class="scroll">
        <table>
          <caption>What was dropped, the largest first</caption>
          <thead>
            <tr>
              <th scope="col">Pod</th>
              <th scope="col">Direction</th>
              <th scope="col">Reason</th>
              <th scope="col">Peer</th>
              <th scope="col">Port</th>
              <th scope="col">Policies</th>
              <th scope="col" class="number">
                Packets
              </th>
              <th scope="col" class="number">
                Bytes
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS_SHOWN).map((row) => (
              <tr
                key={JSON.stringify([
                  row.node,
                  row.pod,
                  row.direction,
                  row.reason,
                  row.peer,
                  row.port,
                  row.policies,
                ])}
              >
                <td>
                  <Name of={row.pod ?? ""} />
                </td>
                <td>{row.direction}</td>
                <td>{row.reason}</td>
                <td>
                  <Name of={row.peer ?? ""} />
                </td>
                <td>{row.port ?? "–"}</td>
                <td>
                  <Name of={(row.policies ?? []).join(", ") || "–"} />
                </td>
                <td class="number">{row.packets.toLocaleString("en")}</td>
                <td class="number">{bytesText(row.bytes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > ROWS_SHOWN || left > 0 ? (
        <p class="note">{count(Math.max(0, rows.length - ROWS_SHOWN) + left, "more row")}; see weir drops</p>
      ) : null}
    </>
  );
}

function Live({ pod, everyMs }: { readonly pod: string; readonly everyMs: number }) {
  const [isPaused, setPaused] = useState(false);
  const events = useAnswer<EventsView>(isPaused ? undefined : "events", { pod }, everyMs);
  const [kept, setKept] = useState<EventsView>();
  if (events.answer !== undefined && events.answer !== kept) setKept(events.answer);
  const shown = events.answer ?? kept;
  return (
    <section aria-label="Live">
      <h2>
        Live{" "}
        <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
          {isPaused ? "Resume" : "Pause"}
        </button>
      </h2>
      <Wait asked={{ ...events, answer: shown }} what="the events">
        {(answer) => (
          <>
            <Failures of={answer.failures} />
            {answer.events.length === 0 ? (
              <p>No drops yet.</p>
            ) : (
              <div class="scroll live">
                <table>
                  <caption>
                    The latest packets that were dropped, or would be; asked every{" "}
                    {Math.round(everyMs / 1_000)} s
                  </caption>
                  <thead>
                    <tr>
                      <th scope="col">Time</th>
                      <th scope="col">Verdict</th>
                      <th scope="col">From</th>
                      <th scope="col">To</th>
                      <th scope="col">Why</th>
                    </tr>
                  </thead>
                  <tbody>
                    {answer.events.slice(0, ROWS_SHOWN).map((event) => (
                      <tr key={JSON.stringify([event.node, event.time, event.from, event.to])}>
                        <td>{timeText(event.time)}</td>
                        <td class={event.verdict === "dropped" ? "bad" : "warn"}>
                          {event.verdict} {event.reason}
                        </td>
                        <td>
                          <End of={event.from} />
                        </td>
                        <td>
                          <End of={event.to} /> {event.protocol}
                        </td>
                        <td>
                          <Name of={event.text} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )}
          </>
        )}
      </Wait>
    </section>
  );
}

const End = ({ of: { pod, address, port } }: { readonly of: EventsView["events"][number]["from"] }) => (
  <Name of={`${pod ?? address ?? "?"}${port === undefined ? "" : `:${port}`}`} />
);
