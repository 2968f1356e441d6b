// The agent's side of the CNI plugin: pods are claimed, their claims overlaid on the source, and ADDs held
// until in force.

import type { Log } from "../../base/log.ts";
import { type Claim, claimedInterfaces, type Matched, matchClaims } from "../../cni/cni-claims.ts";
import { type ConflistReconciler, reconcileConflist } from "../../cni/conflist-reconciler.ts";
import type { InstallOptions } from "../../cni/plugin-install.ts";
import { keyOf } from "../../model/cluster.ts";
import type { ClusterSnapshot } from "../../model/cluster-snapshot.ts";
import type { CniView } from "../../observe/api-views.ts";
import { type LocalApi, serveRoutes } from "../../observe/socket-server.ts";
import type { ClaimedInterface } from "../../source/interface-discovery.ts";
import { type ClaimOutcome, openWaiting, outcomesOf, removed } from "./claim-outcome.ts";
import { expiry, openClaims } from "./claim-store.ts";
import { type CniCommand, cniRoutes } from "./cni-routes.ts";

export interface CniOptions {
  /** Path of the plugin's Unix socket, for root alone. */
  readonly socket: string;
  /** The file that keeps claims while no agent runs. */
  readonly claims: string;
  /** Where the plugin is kept installed; nowhere if absent. */
  readonly install?: InstallOptions;
}

/** How often each command was requested, by result. */
export type CniCounts = Readonly<Record<CniCommand, { readonly done: number; readonly failed: number }>>;

export interface Cni {
  /**
   * The present claims, without those whose interface or pod has gone, which are dropped; and the snapshot
   * with the claims' problems.
   */
  match(reading: ClusterSnapshot): {
    readonly reading: ClusterSnapshot;
    readonly claims: readonly ClaimedInterface[];
  };
  /** Passes the outcome of the reconciliation that used the last match() to the waiting requests. */
  settle(came: ClaimOutcome): void;
  /** Answers the requests whose claims are in force, while the reconciliation goes on; the others wait for its outcome. */
  answer(force: NonNullable<ClaimOutcome["force"]>): void;
  /** Called at every change of the claims: with "now" if an ADD waits for the reconciliation. */
  onChange(request: (priority?: "now") => void): void;
  /** Answers the plugin from now on. Errors: OperationError if it cannot listen. */
  serve(env: CniEnv): Promise<LocalApi>;
  /** Releases the node's configuration: its content stays. */
  close(): void;
  view(): CniView;
  counts(): CniCounts;
}

/** As many as a node has endpoints, all of root's: a node that starts creates all its pods at once. */
const CONNECTIONS = { perPeer: 1_024, perTrustedPeer: 1_024, total: 1_024 };

export interface CniEnv {
  readonly log: Log;
  /** Why pods cannot be added now. */
  readonly unready: () => string | undefined;
  readonly added: (seconds: number) => void;
}

export function openCni({ socket, claims: path, install: installing }: CniOptions): Cni {
  const claims = openClaims(path);
  const waiting = openWaiting();
  let conflist: ConflistReconciler | undefined;
  const expired = expiry();
  const tally = openTally();
  let matched: Matched | undefined;
  let inForce: ReadonlySet<Claim> = new Set();
  let request: (priority?: "now") => void = () => undefined;
  let log: Log | undefined;
  const match = (cluster: ClusterSnapshot["cluster"]): readonly ClaimedInterface[] => {
    matched = matchClaims(cluster, claims.all());
    const gone = claims.drop(expired(new Set(matched.waits.keys()), performance.now()));
    if (gone.length > 0) {
      waiting.refuse(gone, removed);
      matched = matchClaims(cluster, claims.all());
    }
    return claimedInterfaces(matched);
  };
  const startConflist = (to: Log): void => {
    if (installing === undefined) return;
    conflist ??= reconcileConflist(installing, {
      onWritten: (files) => to.info("weir-cni is installed", { files: files.join(", ") }),
      onProblems: () => request(),
    });
  };
  const inForceBy = (outcomeOf: ReturnType<typeof outcomesOf>): readonly Claim[] =>
    [...claims.all()].filter((claim) => outcomeOf(claim).kind === "in force");
  /** From now on the claim does not apply to a later pod of the same name. */
  const bound = (claim: Claim): Claim => {
    const uid = claim.uid === undefined ? matched?.cluster.pods.get(keyOf(claim))?.uid : undefined;
    return uid === undefined ? claim : claims.bind(claim, uid);
  };
  return {
    match(reading) {
      matched = undefined;
      // A source that could not be read gives no information, least of all that a pod is absent.
      const known = reading.readable && claims.size() > 0 ? match(reading.cluster) : [];
      const problems = [...reading.problems, ...claims.problems(), ...(conflist?.problems() ?? [])];
      return { reading: { ...reading, problems }, claims: known };
    },
    answer(force) {
      const outcomeOf = outcomesOf(matched, { force, problems: [] });
      // Before the answers: a runtime may send CHECK at once.
      inForce = new Set([...inForce, ...inForceBy(outcomeOf)]);
      waiting.settle((claim) => {
        const outcome = outcomeOf(claim);
        return outcome.kind === "in force"
          ? outcome
          : { kind: "later", reason: "its reconciliation goes on" };
      });
    },
    settle(came) {
      const outcomeOf = outcomesOf(matched, came);
      waiting.settle(outcomeOf);
      if (matched !== undefined && came.force?.source === matched.cluster)
        inForce = new Set(inForceBy(outcomeOf).map(bound));
      // Not before something is in force: until then pods would only wait.
      if (came.force !== undefined && log !== undefined) startConflist(log);
    },
    onChange(next) {
      request = next;
    },
    async serve(env) {
      log = env.log;
      const routes = cniRoutes({
        claims,
        wait(claim, timeoutMs) {
          request("now");
          return waiting.until(claim, timeoutMs);
        },
        isInForce: (claim) => inForce.has(claim) && claims.has(claim),
        changed(gone) {
          waiting.refuse(gone, removed);
          request();
        },
        unready: env.unready,
        answered(command, seconds, error) {
          tally.add(command, error === undefined ? "done" : "failed");
          if (command === "add") env.added(seconds);
        },
      });
      // A socket of its own, for root alone: members of the other socket's group may send requests,
      // but must not assign interfaces to pods.
      return serveRoutes(socket, routes, { limits: CONNECTIONS });
    },
    close: () => conflist?.close(),
    view: () => ({ socket, claims: claims.size(), inForce: [...inForce].filter(claims.has).length }),
    counts: () => tally.counts,
  };
}

function openTally() {
  const none = () => ({ done: 0, failed: 0 });
  const counts = { add: none(), del: none(), check: none(), status: none(), gc: none() };
  return {
    counts: counts satisfies CniCounts,
    add(command: CniCommand, result: "done" | "failed"): void {
      counts[command][result] += 1;
    },
  };
}
