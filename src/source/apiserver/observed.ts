// What has been seen of one kind's following: counted and dated for status, metrics and problems.

import type { KindHealth } from "../../model/source-health.ts";
import type { Kind } from "./kinds.ts";
import type { Cause, Failure } from "./request-failure.ts";

export interface Observer {
  /** A list, or a watch, is begun for a reason. */
  listing(cause: Cause): void;
  watching(cause: Cause): void;
  /** The server has answered the watch. */
  following(): void;
  /** Something has come. */
  heard(): void;
  /** A list counts, which had so many changes that the events before it should have brought. */
  listed(differences: number): void;
  rewound(): void;
  failed(failure: Failure): void;
  isListed(): boolean;
  /** Why it is not followed, where that has lasted for so long or nothing is known yet. */
  trouble(lastingMs: number): string | undefined;
  health(objects: number): KindHealth;
}

/** `onChange` is called where trouble may have begun or ended. */
export function openObserver(kind: Kind, now: () => Date, onChange: () => void): Observer {
  const lists: Partial<Record<Cause, number>> = {};
  const watches: Partial<Record<Cause, number>> = {};
  let state: KindHealth["state"] = "listing";
  let contactAt: Date | undefined;
  let listedAt: Date | undefined;
  let failure: { readonly reason: string; readonly since: Date } | undefined;
  let differences = 0;
  const well = (): void => {
    state = "following";
    if (failure === undefined) return;
    failure = undefined;
    onChange();
  };
  return {
    listing(cause) {
      lists[cause] = (lists[cause] ?? 0) + 1;
      if (listedAt === undefined) state = "listing";
    },
    watching(cause) {
      watches[cause] = (watches[cause] ?? 0) + 1;
    },
    following: well,
    heard() {
      contactAt = now();
    },
    listed(found) {
      const first = listedAt === undefined;
      listedAt = now();
      differences += found;
      well();
      if (first) onChange();
    },
    rewound() {
      lists.rewound = (lists.rewound ?? 0) + 1;
    },
    failed({ reason }) {
      state = "waiting";
      failure = { reason, since: failure?.since ?? now() };
      onChange();
    },
    isListed: () => listedAt !== undefined,
    trouble(lastingMs) {
      if (failure === undefined) return undefined;
      const lasted = now().getTime() - failure.since.getTime();
      return listedAt === undefined || lasted >= lastingMs ? failure.reason : undefined;
    },
    health: (objects) => ({
      kind,
      objects,
      state,
      ...(contactAt === undefined ? {} : { contactAt: contactAt.toISOString() }),
      ...(listedAt === undefined ? {} : { listedAt: listedAt.toISOString() }),
      ...(failure === undefined
        ? {}
        : { failure: { reason: failure.reason, since: failure.since.toISOString() } }),
      lists: { ...lists },
      watches: { ...watches },
      differences,
    }),
  };
}
