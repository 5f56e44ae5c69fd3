/** Which side of a copy failed: reading the source or writing the target. */
export type IoOperation = "read" | "write";

/** What a user wants done on an I/O error; `auto` means `enospc`. */
export type ErrorPolicy = "report" | "ignore" | "stop" | "enospc" | "auto";

/** What is done about one error: end the job with it, go on, or pause until the user resumes. */
export type ErrorAction = "report" | "ignore" | "stop";

/** Why a job stopped: `nospace` asks for room, `failed` for repair. The first error stays until the user resumes. */
export type IoStatus = "ok" | "failed" | "nospace";

/** Whether an error says that the storage is full: its `code` is `ENOSPC`. */
export function isNoSpace(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && error.code === "ENOSPC";
}

/** What a policy does about an error. */
export function decideAction(policy: ErrorPolicy, error: unknown): ErrorAction {
  if (policy === "enospc" || policy === "auto") return isNoSpace(error) ? "stop" : "report";
  return policy;
}
