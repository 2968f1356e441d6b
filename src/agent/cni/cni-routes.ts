// The CNI plugin's requests to the agent: a path for each command of the specification, and errors in its
// format.

import { attachmentKey, type Claim } from "../../cni/cni-claims.ts";
import {
  type AddRequest,
  addIn,
  attachedIn,
  bodyOf,
  CNI_CODE,
  CniError,
  gcIn,
} from "../../cni/cni-protocol.ts";
import { hostLinkOf, indexOf } from "../../cni/host-links.ts";
import { birthOf } from "../../node/link-identity.ts";
import { Refused, type Route } from "../../observe/socket-routes.ts";
import { type ClaimStore, garbageOf } from "./claim-store.ts";

/** The plugin sends the network configuration, which it reads up to a mebibyte of, and a few variables. */
const BODY_BYTES_MAX = 2 << 20;

/** The plugin gets the reason this much before its own timeout. */
const MARGIN_MS_MAX = 500;
const MARGIN_SHARE = 10;

const CNI_COMMANDS = ["add", "del", "check", "status", "gc"] as const;
export type CniCommand = (typeof CNI_COMMANDS)[number];

export interface CniWork {
  readonly claims: ClaimStore;
  /** Resolves when the claim is in force. Rejects with a CniError. */
  readonly wait: (claim: Claim, timeoutMs: number) => Promise<void>;
  readonly isInForce: (claim: Claim) => boolean;
  /** Called when claims have changed, with those that are gone. */
  readonly changed: (gone: readonly Claim[]) => void;
  /** Why pods cannot be added now. */
  readonly unready: () => string | undefined;
  readonly answered: (command: CniCommand, seconds: number, error: CniError | undefined) => void;
}

/** Each returns an empty object, or refuses with the `code`, `msg` and `details` for the runtime. */
export function cniRoutes(work: CniWork): Route[] {
  const commands: Readonly<Record<CniCommand, (body: string) => Promise<void> | void>> = {
    add: (body) => add(addIn(bodyOf(body)), work),
    del: (body) => remove(work, bodyOf(body)),
    check: (body) => check(work, bodyOf(body)),
    gc: (body) => work.changed(work.claims.drop(garbageOf(gcIn(bodyOf(body))))),
    status: () => {
      const reason = work.unready();
      if (reason !== undefined) throw new CniError(CNI_CODE.notAvailable, "the agent is not ready", reason);
    },
  };
  return CNI_COMMANDS.map((command) => ({
    method: "POST",
    path: `cni/${command}`,
    bodyBytesMax: BODY_BYTES_MAX,
    answer: async (_, body) => {
      const begun = performance.now();
      const answered = (error?: CniError): void =>
        work.answered(command, (performance.now() - begun) / 1_000, error);
      try {
        await commands[command](body);
      } catch (thrown) {
        if (!(thrown instanceof CniError)) throw thrown;
        answered(thrown);
        const { code, message, details } = thrown;
        throw new Refused(422, { code, msg: message, ...(details === undefined ? {} : { details }) });
      }
      answered();
      return {};
    },
  }));
}

async function add(request: AddRequest, { claims, wait, isInForce, changed }: CniWork): Promise<void> {
  const { containerId, ifname, network, namespace, name, uid, addresses, hardware, timeoutMs } = request;
  const known = claims.get(request);
  // A runtime that sends no uid never does: keep the one that was found since.
  const own = uid ?? (known?.namespace === namespace && known.name === name ? known.uid : undefined);
  const pod = { namespace, name, ...(own === undefined ? {} : { uid: own }) };
  const host = hostLinkOf(request);
  const birth = birthOf({ name: host.link, ifindex: host.ifindex });
  const link = { ...host, ...(birth === undefined ? {} : { birth }) };
  const wanted: Claim = {
    containerId,
    ifname,
    network,
    ...pod,
    ...link,
    addresses,
    ...(hardware && { hardware }),
  };
  const claim = known !== undefined && isSame(known, wanted) ? known : wanted;
  if (claim !== known) claims.put(claim);
  if (isInForce(claim)) return;
  changed(claim === known || known === undefined ? [] : [known]);
  await wait(claim, timeoutMs - Math.min(MARGIN_MS_MAX, timeoutMs / MARGIN_SHARE));
}

const isSame = (a: Claim, b: Claim): boolean => textOf(a) === textOf(b);

const textOf = ({ addresses, birth, hardware, ...claim }: Claim): string => {
  const { network, namespace, name, uid, ifindex, link, ...attached } = claim;
  return [
    attachmentKey(attached),
    network,
    namespace,
    name,
    uid,
    ifindex,
    link,
    birth,
    hardware,
    ...addresses.map(({ text }) => text),
  ].join("\n");
};

function remove({ claims, changed }: CniWork, body: ReturnType<typeof bodyOf>): void {
  const key = attachmentKey(attachedIn(body));
  changed(claims.drop((claim) => attachmentKey(claim) === key));
}

function check({ claims, isInForce }: CniWork, body: ReturnType<typeof bodyOf>): void {
  const attached = attachedIn(body);
  const claim = claims.get(attached);
  const reason =
    claim === undefined
      ? "it was never added, or removed since"
      : indexOf(claim.link) !== claim.ifindex
        ? `interface ${claim.link} has gone`
        : isInForce(claim)
          ? undefined
          : "its policy is not in force";
  if (reason === undefined) return;
  throw new CniError(CNI_CODE.notInForce, `${attached.ifname} of ${attached.containerId}: ${reason}`);
}
