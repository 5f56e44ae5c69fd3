let names: ReadonlyMap<number, readonly [string, string]> | undefined;

/**
 * An error as Node makes them for a failed system call, for calls that do not go through Node: `code` is the POSIX name
 * in Node's spelling, so that one table of codes serves both.
 */
export function systemError(call: string, errno: number): NodeJS.ErrnoException {
  // Node makes a new map for each who asks. Not imported, since that would load all that `util` has, at every start.
  names ??= process.getBuiltinModule("node:util").getSystemErrorMap();
  const [code, text] = names.get(-errno) ?? [`E${errno}`, "unknown error"];
  return Object.assign(new Error(`${code}: ${text}, ${call}`), { code, errno: -errno, syscall: call });
}

/** The POSIX name of a system error, or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Whether the kernel or the file system said that it does not have the operation at all. */
export function isUnsupported(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === "EOPNOTSUPP" || code === "ENOTSUP" || code === "ENOSYS" || code === "ENOTTY";
}
