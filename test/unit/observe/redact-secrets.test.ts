// What is left out of a sysdump, and what is not.
import { expect, it } from "vitest";
import { withoutSecrets } from "../../../src/observe/redact-secrets.ts";

it.each([
  [
    "a key",
    "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\nb",
    "a\n[left out]\nb",
  ],
  ["a service account's token", "got eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl, bad", "got [left out], bad"],
  ["a header", "authorization: Bearer abcdef0123456789", "authorization: Bearer [left out]"],
  ["a URL's password", "at https://me:hush@10.0.0.1:6443/api", "at https://[left out]@10.0.0.1:6443/api"],
  ["a value in JSON", '{"api-token": "hu\\"sh", "n": 1}', '{"api-token": "[left out]", "n": 1}'],
  ["an assignment", "weir: db_password=hush next=1", "weir: db_password=[left out] next=1"],
])("%s is left out", (_, text, rest) => {
  expect(withoutSecrets(text)).toBe(rest);
});

it.each([
  "weir: enforcing generation=1 endpoints=3",
  '{"10.0.0.1": "vault/token-server", "vault/token-server": {"secrets": 2}}',
  "shop/secret-store ingress[0].from",
  "see https://kubernetes.io/docs/concepts/",
])("%s stays", (text) => {
  expect(withoutSecrets(text)).toBe(text);
});
