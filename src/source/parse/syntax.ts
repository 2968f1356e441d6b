// The syntax of names, labels and ports, as the API server validates them: each check returns what was expected.

/** What the text should have been, as in "not a DNS label (...)"; undefined where nothing is wrong. */
export type Check = (text: string) => string | undefined;

const DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

const dnsLabel = new RegExp(`^${DNS_LABEL}$`);
const dnsSubdomain = new RegExp(`^${DNS_LABEL}(\\.${DNS_LABEL})*$`);
const qualified = new RegExp(`^${QUALIFIED}$`);

const isDnsLabel = (text: string): boolean => text.length <= 63 && dnsLabel.test(text);
const isDnsSubdomain = (text: string): boolean => text.length <= 253 && dnsSubdomain.test(text);
const isQualified = (text: string): boolean => text.length <= 63 && qualified.test(text);

/** IsDNS1123Label of apimachinery: names of namespaces. */
export const namespaceName: Check = (text) =>
  isDnsLabel(text)
    ? undefined
    : "a namespace's name (a-z, 0-9 and -, a letter or digit first and last, up to 63 characters)";

/** IsDNS1123Subdomain: names of pods and policies. */
export const objectName: Check = (text) =>
  isDnsSubdomain(text)
    ? undefined
    : "an object's name (a-z, 0-9, - and ., a letter or digit first and last, up to 253 characters)";

/** IsLabelKey: an optional DNS subdomain and a slash, then a name. */
export const labelKey: Check = (text) => {
  const parts = text.split("/");
  const name = parts.pop() ?? "";
  if (parts.length <= 1 && parts.every(isDnsSubdomain) && isQualified(name)) return undefined;
  return "a label's key (letters, digits, -, _ and ., a letter or digit first and last, up to 63 characters, after an optional DNS name and /)";
};

/** IsLabelValue: like a key's name, or empty. */
export const labelValue: Check = (text) =>
  text === "" || isQualified(text)
    ? undefined
    : "a label's value (letters, digits, -, _ and ., a letter or digit first and last, up to 63 characters)";

/** IsValidPortName (IANA_SVC_NAME of RFC 6335, section 5.1, in lower case). */
export const portName: Check = (text) => {
  const valid = text.length <= 15 && dnsLabel.test(text) && /[a-z]/.test(text) && !text.includes("--");
  return valid
    ? undefined
    : "a port's name (a-z, 0-9 and single -, at least one letter, up to 15 characters)";
};

/** dev_valid_name() of the kernel, IFNAMSIZ being 16 with the closing zero; ASCII only, and no "/". */
export const linkName: Check = (text) =>
  /^[\x21-\x7e]{1,15}$/.test(text) && !/[/:]/.test(text) && text !== "." && text !== ".."
    ? undefined
    : "the name of a link (up to 15 characters, without spaces, / and :)";

/** A file's name under /run/netns, so it must not lead anywhere else. */
export const netnsName: Check = (text) =>
  /^[\x21-\x7e]{1,255}$/.test(text) && !text.includes("/") && text !== "." && text !== ".."
    ? undefined
    : "the name of a network namespace (as `ip netns list` shows it, without spaces and /)";

/** `version` or `group/version`. */
export function isApiVersion(text: string): boolean {
  const parts = text.split("/");
  const version = parts.pop() ?? "";
  return parts.length <= 1 && parts.every(isDnsSubdomain) && isDnsLabel(version);
}

/** A kind in Kubernetes' camel case. */
export const isKind = (text: string): boolean => /^[A-Z][A-Za-z0-9]{0,62}$/.test(text);
