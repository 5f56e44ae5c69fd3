import { readFile } from "node:fs/promises";

/**
 * Runs the command line and returns the exit status. `--version` and the daemon are served here, before anything large is loaded.
 * @param args the arguments after the program's name.
 */
export async function main(args: readonly string[]): Promise<number> {
  if (args[0] === "--version" || args[0] === "-V") {
    process.stdout.write(`blockmirror ${await version()}\n`);
    return 0;
  }
  // A daemon has to answer soon after its start, and needs nothing of what the other commands load.
  if (args[0] === "storage-daemon") {
    const { runStorageDaemon } = await import("@blockmirror/storage-daemon");
    return runStorageDaemon(args.slice(1), { packageVersion: `Blockmirror ${await version()}` });
  }
  const { runProgram } = await import("./cli/program.ts");
  return runProgram(args, await version());
}

async function version(): Promise<string> {
  const parsed: unknown = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
  return "unknown";
}
