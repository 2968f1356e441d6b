// One connection: whether it passes, and the rules of both sides that say so.

import { useEffect, useState } from "preact/hooks";
import type { PathReport, RuleReport, SideReport, TraceReport } from "../cli/trace-report.ts";
import type { TraceView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { Failures, Name, safeText, Wait } from "./parts.tsx";
import { go } from "./route.ts";

const PROTOCOLS = ["TCP", "UDP", "SCTP", "ICMP"];
/** Of a trace without a port there may be many. */
const PATHS_MAX = 12;

export function TracePage({ parameters }: { readonly parameters: Readonly<Record<string, string>> }) {
  const { from = "", to = "", port = "", protocol = "" } = parameters;
  const isAsked = from !== "" && to !== "";
  const asked = useAnswer<TraceView>(isAsked ? "trace" : undefined, { from, to, port, protocol });
  return (
    <>
      <Form parameters={parameters} />
      {isAsked ? (
        <div aria-live="polite" aria-busy={asked.isLoading}>
          {asked.isLoading ? (
            <p role="status">Asking both ends …</p>
          ) : (
            <Wait asked={asked} what="the trace">
              {({ reports, failures }) => (
                <>
                  <Failures of={failures} isOpen={reports.length === 0} />
                  {agreeing(reports).map(({ nodes, report }) => (
                    <section key={nodes.join()} class="trace">
                      <h2>
                        <Verdict isAllowed={report.allowed} />{" "}
                        <small>
                          as{" "}
                          {nodes.map((node, at) => (
                            <span key={node}>
                              {at === 0 ? "" : " and "}
                              <Name of={node} />
                            </span>
                          ))}{" "}
                          {nodes.length === 1 ? "has" : "have"} it
                        </small>
                      </h2>
                      <p class="note">
                        {report.kernel === undefined
                          ? ""
                          : report.kernel.asked
                            ? `The kernel ${report.kernel.agrees ? "agrees" : "DISAGREES"} (generation ${report.kernel.generation}).`
                            : `The kernel was not asked: ${safeText(report.kernel.reason)}.`}
                      </p>
                      {report.paths.slice(0, PATHS_MAX).map((path) => (
                        <Path key={`${path.from.address} ${path.to.address} ${path.ports}`} path={path} />
                      ))}
                      {report.paths.length > PATHS_MAX ? (
                        <p>and {report.paths.length - PATHS_MAX} more; name a port</p>
                      ) : null}
                    </section>
                  ))}
                </>
              )}
            </Wait>
          )}
        </div>
      ) : (
        <p>Name two ends: pods as namespace/name, or addresses.</p>
      )}
    </>
  );
}

interface Agreed {
  readonly nodes: readonly string[];
  readonly report: TraceReport;
}

/** Nodes that say the same are one report, with what the kernel of each says of its own end. */
function agreeing(reports: TraceView["reports"]): readonly Agreed[] {
  const found: Agreed[] = [];
  for (const { node, report } of reports) {
    const at = found.findIndex((each) => isSame(each.report, report));
    const same = found[at];
    if (same === undefined) found.push({ nodes: [node], report });
    else found[at] = { nodes: [...same.nodes, node], report: joined(same.report, report) };
  }
  return found;
}

const withoutKernel = (report: TraceReport): string =>
  JSON.stringify(report.paths, (key, value: unknown) => (key === "kernel" ? undefined : value));

const isSame = (a: TraceReport, b: TraceReport): boolean => withoutKernel(a) === withoutKernel(b);

function joined(a: TraceReport, b: TraceReport): TraceReport {
  const side = (one: SideReport, other: SideReport | undefined): SideReport => {
    const kernel = one.kernel ?? other?.kernel;
    return kernel === undefined ? one : { ...one, kernel };
  };
  const disagrees = [a, b].find(({ kernel }) => kernel?.asked === true && !kernel.agrees);
  const asked = [a, b].find(({ kernel }) => kernel?.asked === true);
  const { kernel } = disagrees ?? asked ?? a;
  return {
    ...a,
    paths: a.paths.map((path, at) => ({
      ...path,
      egress: side(path.egress, b.paths[at]?.egress),
      ingress: side(path.ingress, b.paths[at]?.ingress),
    })),
    ...(kernel === undefined ? {} : { kernel }),
  };
}

function Form({ parameters }: { readonly parameters: Readonly<Record<string, string>> }) {
  const [fields, setFields] = useState(parameters);
  useEffect(() => setFields(parameters), [parameters]);
  const field = (name: string, label: string, hint: string) => (
    <label class="field">
      <span>{label}</span>
      <input
        name={name}
        value={fields[name] ?? ""}
        placeholder={hint}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => setFields({ ...fields, [name]: event.currentTarget.value })}
      />
    </label>
  );
  return (
    <form
      class="controls"
      aria-label="Trace a connection"
      onSubmit={(event) => {
        event.preventDefault();
        go("trace", fields);
      }}
    >
      {field("from", "From", "shop/web-0")}
      {field("to", "To", "shop/db-0")}
      {field("port", "Port", "every port")}
      <label class="field">
        <span>Protocol</span>
        <select
          value={fields["protocol"] ?? ""}
          onChange={(event) => setFields({ ...fields, protocol: event.currentTarget.value })}
        >
          <option value="">default</option>
          {PROTOCOLS.map((each) => (
            <option key={each} value={each} selected={each === fields["protocol"]}>
              {each}
            </option>
          ))}
        </select>
      </label>
      <button type="submit">Trace</button>
    </form>
  );
}

const Verdict = ({ isAllowed }: { readonly isAllowed: boolean }) => (
  <span class={`verdict ${isAllowed ? "good" : "bad"}`}>
    <span aria-hidden="true">{isAllowed ? "✓" : "×"}</span> {isAllowed ? "allowed" : "denied"}
  </span>
);

function Path({ path }: { readonly path: PathReport }) {
  const { from, to, via, protocol, ports, allowed, egress, ingress } = path;
  const end = ({ pod, address }: PathReport["from"]) => (
    <>
      {pod === undefined ? null : <Name of={pod} />} <code>{address}</code>
    </>
  );
  return (
    <article class="path">
      <h3>
        {end(from)} <span aria-hidden="true">→</span>
        <span class="hidden">to</span> {end(to)} {protocol}
        {ports === undefined ? "" : `/${ports}`}
        {via === undefined ? null : (
          <>
            {" "}
            through <Name of={via.service} />
          </>
        )}
        : <Verdict isAllowed={allowed} />
      </h3>
      <div class="sides">
        <Side title="Egress of the source" side={egress} />
        <Side title="Ingress of the destination" side={ingress} />
      </div>
    </article>
  );
}

const VERDICTS: Readonly<Record<string, string>> = {
  "not-isolated": "not isolated: passes",
  allowed: "allowed",
  denied: "denied",
  audited: "denied by a policy in audit mode: passes, and is reported",
};

function Side({ title, side }: { readonly title: string; readonly side: SideReport }) {
  return (
    <section>
      <h4>{title}</h4>
      <p>
        <strong>{VERDICTS[side.verdict] ?? side.verdict.replaceAll("-", " ")}</strong>
      </p>
      {side.decidedBy === undefined ? null : <p>{safeText(side.decidedBy.text)}</p>}
      {side.isolatedBy.length === 0 ? null : (
        <p>
          isolated by{" "}
          {side.isolatedBy.map(({ policy, unreadable }, at) => (
            <span key={policy}>
              {at === 0 ? "" : ", "}
              <Name of={policy} />
              {unreadable === undefined ? "" : ` (unreadable: ${safeText(unreadable)})`}
            </span>
          ))}
        </p>
      )}
      {side.allowedBy.length === 0 ? null : (
        <ul>
          {side.allowedBy.map((rule) => (
            <li key={JSON.stringify(rule)}>
              allowed by <Rule rule={rule} />
            </li>
          ))}
        </ul>
      )}
      {side.nearest === undefined ? null : (
        <p>
          nearest: <Rule rule={side.nearest} /> wants {side.nearest.wants.map(safeText).join("; ")}
        </p>
      )}
      {side.kernel === undefined ? null : (
        <p class="note">
          kernel: {side.kernel.program} {side.kernel.verdict} ({safeText(side.kernel.reason)})
          {side.kernel.agrees ? "" : " – not what the policies say"}
        </p>
      )}
    </section>
  );
}

const Rule = ({ rule: { policy, rule, peer, port, at } }: { readonly rule: RuleReport }) => (
  <>
    <Name of={policy} />{" "}
    <code>
      {rule}
      {peer === undefined ? "" : `.${peer}`}
      {port === undefined ? "" : `, ${port}`}
    </code>
    {at === undefined ? "" : ` (${safeText(at)})`}
  </>
);
