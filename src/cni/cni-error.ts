// The errors that a CNI plugin answers with where it cannot do what was requested.

/** Codes of the CNI specification (section 5, "Error"); from 100 on they are the plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  invalidEnvironment: 4,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  /** Weir cannot enforce on the pod's interface. */
  notEnforceable: 110,
  /** CHECK: what was reported as enforced is not. */
  notInForce: 111,
} as const;

export class CniError extends Error {
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: number, message: string, details?: string) {
    super(message);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}

export const laterError = (message: string, details?: string): CniError =>
  new CniError(CNI_CODE.tryAgainLater, message, details);
