/** What the choice of characters depends on. */
export interface CharsetEnvironment {
  /** Environment variables, usually `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
}

/**
 * Whether to draw with ASCII only, when no option says so: the locale is not UTF-8, or the terminal is one whose font
 * is known to lack block characters.
 */
export function prefersAscii({ env, platform }: CharsetEnvironment): boolean {
  const term = env["TERM"];
  if (term === "dumb" || term === "linux") return true;
  // Windows terminals and macOS shells are UTF-8 without announcing it.
  if (platform === "win32") return false;
  const locale = [env["LC_ALL"], env["LC_CTYPE"], env["LANG"]].find(
    (value) => value !== undefined && value !== "",
  );
  if (locale === undefined) return platform !== "darwin";
  return !/utf-?8/iu.test(locale);
}
