// The agent's side of the CNI plugin: pods are claimed, their claims laid over what the source says, and held until in force.

import type { Log } from "../base/log.ts";
import type { Claim } from "../cni/claim.ts";
import { type Follower, followConfiguration } from "../cni/follow.ts";
import type { InstallOptions } from "../cni/install.ts";
import { claimLayer, type Laid } from "../cni/lay.ts";
import { type LocalApi, serveRoutes } from "../observe/server.ts";
import type { CniView } from "../observe/view.ts";
import type { Reading } from "../source/reading.ts";
import { type Came, outcomesOf, removed } from "./cni/outcome.ts";
import { CNI_COMMANDS, type CniCommand, cniRoutes } from "./cni/routes.ts";
import { expiry, openClaims } from "./cni/store.ts";
import { openWaiting } from "./cni/waiting.ts";

export interface CniOptions {
  /** Path of the Unix socket that the plugin asks; root alone may. */
  readonly socket: string;
  /** The file that keeps claims while no agent runs. */
  readonly claims: string;
  /** Where the plugin is kept in its place; nowhere if absent. */
  readonly install?: InstallOptions;
}

/** How often a command was asked for, by how it ended. */
export type CniCounts = Readonly<Record<CniCommand, { readonly done: number; readonly failed: number }>>;

export interface Cni {
  /** Lays the claims over a reading; those whose interface or pod has gone are given up. */
  lay(reading: Reading): Reading;
  /** Tells those who wait what the round has come to that the last lay() was for. */
  settle(came: Came): void;
  /** Called at every change of the claims. */
  onChange(ring: () => void): void;
  /** Answers the plugin from now on. Errors: OperationError where it cannot listen. */
  serve(env: CniEnv): Promise<LocalApi>;
  view(): CniView;
  counts(): CniCounts;
}

/** As many as a node has endpoints: a node that comes up makes all its pods at once. */
const CONNECTIONS_MAX = 1_024;

export interface CniEnv {
  readonly log: Log;
  /** Why pods cannot be added now. */
  readonly unready: () => string | undefined;
  readonly added: (seconds: number) => void;
}

export function openCni({ socket, claims: path, install: installing }: CniOptions): Cni {
  const claims = openClaims(path);
  const waiting = openWaiting();
  const layer = claimLayer();
  const expired = expiry();
  const counts = new Map(CNI_COMMANDS.map((command) => [command, { done: 0, failed: 0 }]));
  let laid: Laid | undefined;
  let inForce: ReadonlySet<Claim> = new Set();
  let ring: () => void = () => undefined;
  let follow: () => Follower | undefined = () => undefined;
  let follower: Follower | undefined;
  const lay = (reading: Reading): Reading => {
    laid = undefined;
    // Of a source that could not be read nothing is known, the absence of a pod least of all.
    if (!reading.readable || claims.size() === 0) return told(reading);
    laid = layer(reading.cluster, claims.all());
    const gone = claims.drop(expired(new Set(laid.waits.keys()), performance.now()));
    if (gone.length > 0) {
      forsake(gone);
      laid = layer(reading.cluster, claims.all());
    }
    return told({ ...reading, cluster: laid.cluster });
  };
  const told = (reading: Reading): Reading => {
    const problem = claims.problem();
    const own = [...(problem === undefined ? [] : [problem]), ...(follower?.problems() ?? [])];
    return own.length === 0 ? reading : { ...reading, problems: [...reading.problems, ...own] };
  };
  const forsake = (gone: readonly Claim[]): void =>
    waiting.settle((claim) => (gone.includes(claim) ? { kind: "failed", error: removed(claim) } : undefined));
  return {
    lay,
    settle(came) {
      const outcomeOf =
        laid === undefined
          ? () => ({ kind: "later", reason: "the source has not been read yet" }) as const
          : outcomesOf(laid, came);
      if (laid !== undefined && came.force?.cluster === laid.cluster)
        inForce = new Set([...claims.all()].filter((claim) => outcomeOf(claim).kind === "in force"));
      waiting.settle(outcomeOf);
      // Not before there is something in force: until then pods would only wait.
      if (came.force !== undefined) follower ??= follow();
    },
    onChange(next) {
      ring = next;
    },
    async serve({ log, unready, added }) {
      const routes = cniRoutes({
        claims,
        wait: (claim, timeoutMs) => waiting.until(claim, timeoutMs),
        isInForce: (claim) => inForce.has(claim) && claims.has(claim),
        changed(gone) {
          forsake(gone);
          ring();
        },
        unready,
        told(command, seconds, error) {
          const count = counts.get(command);
          if (count !== undefined) count[error === undefined ? "done" : "failed"] += 1;
          if (command === "add") added(seconds);
        },
      });
      // A socket of its own, root's alone: the members of the other one's group may ask, but not say whose an interface is.
      const server = await serveRoutes(socket, routes, { connectionsMax: CONNECTIONS_MAX });
      follow = () =>
        installing === undefined
          ? undefined
          : followConfiguration(installing, {
              onWritten: (files) => log.info("weir-cni is installed", { files: files.join(", ") }),
              onProblems: () => ring(),
            });
      return {
        async close() {
          follower?.close();
          await server.close();
        },
      };
    },
    view: () => ({
      socket,
      claims: claims.size(),
      inForce: [...claims.all()].filter((claim) => inForce.has(claim)).length,
    }),
    counts: () => Object.fromEntries(counts) as CniCounts,
  };
}
