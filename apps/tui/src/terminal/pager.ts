import { spawn } from "node:child_process";

/** What shells answer when there is no such program, or it cannot be run. */
const NOT_RUN: ReadonlySet<number | null> = new Set([126, 127]);

/**
 * Shows a text in `$PAGER` (else `less`), which has the terminal until the user leaves it. `$PAGER` is a shell command,
 * as everywhere.
 * @throws Error when it cannot be run, with the remedy.
 */
export function showInPager(text: string, env: NodeJS.ProcessEnv): Promise<void> {
  const wanted = env["PAGER"]?.trim() ?? "";
  const command = wanted === "" ? "less" : wanted;
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", command], { env, stdio: ["pipe", "inherit", "inherit"] });
    const refuse = (why: string): void => {
      reject(new Error(`the pager "${command}" cannot be run${why}; set PAGER to a program that shows text`));
    };
    child.once("error", (error) => refuse(` (${error.message})`));
    child.once("close", (status) => {
      if (NOT_RUN.has(status)) refuse("");
      else resolve();
    });
    // A pager that is left early does not read the rest.
    child.stdin.on("error", () => {});
    child.stdin.end(text);
  });
}
