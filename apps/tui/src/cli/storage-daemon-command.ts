import type { Command } from "commander";

/**
 * `blockmirror storage-daemon …`: the options are qemu-storage-daemon's and are read by the daemon itself, since their order
 * counts.
 */
export function addStorageDaemonCommand(
  program: Command,
  finish: (status: number) => void,
  version: string,
): void {
  program
    .command("storage-daemon")
    .description("serve nodes and jobs to QMP clients; options as qemu-storage-daemon's, see its --help")
    .argument("[options...]", "options in qemu-storage-daemon's spelling")
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: readonly string[]) => {
      // Loaded here, so that no other command pays for it.
      const { runStorageDaemon } = await import("@blockmirror/storage-daemon");
      finish(await runStorageDaemon(args, { packageVersion: `Blockmirror ${version}` }));
    });
}
