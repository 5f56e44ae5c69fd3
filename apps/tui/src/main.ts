import { readFileSync } from "node:fs";

/**
 * Runs the command line and returns the exit status. `--version` and the daemon are served here, before anything large is loaded.
 * @param args the arguments after the program's name.
 */
export async function main(args: readonly string[]): Promise<number> {
  if (args[0] === "--version" || args[0] === "-V") {
    process.stdout.write(`blockmirror ${version()}\n`);
    return 0;
  }
  // A daemon has to answer soon after its start, and needs nothing of what the other commands load.
  if (args[0] === "storage-daemon") {
    const { runStorageDaemon } = await import("@blockmirror/storage-daemon");
    return runStorageDaemon(args.slice(1), { packageVersion: `Blockmirror ${version()}` });
  }
  const { runProgram } = await import("./cli/program.ts");
  return runProgram(args, version());
}

function version(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
  return "unknown";
}
