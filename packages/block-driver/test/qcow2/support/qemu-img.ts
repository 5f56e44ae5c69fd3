import { run } from "@blockmirror/peers";

/** What `qemu-img info --output=json` says, as far as tests look at it. */
export interface QemuInfo {
  readonly "virtual-size": number;
  readonly "cluster-size": number;
  readonly format: string;
  readonly "backing-filename"?: string;
  readonly "backing-filename-format"?: string;
  readonly "format-specific": { readonly data: Readonly<Record<string, unknown>> };
}

/** What `qemu-img check --output=json` says. */
export interface QemuCheck {
  readonly "check-errors": number;
  readonly corruptions?: number;
  readonly leaks?: number;
  readonly "corruptions-fixed"?: number;
  readonly "leaks-fixed"?: number;
  readonly "image-end-offset"?: number;
  readonly "total-clusters"?: number;
  readonly "allocated-clusters"?: number;
  readonly "fragmented-clusters"?: number;
  readonly "compressed-clusters"?: number;
}

/** Runs qemu-img and hands back what it prints. */
export async function qemuImg(
  args: readonly string[],
  allowedExitCodes: readonly number[] = [0],
): Promise<string> {
  return (await run("qemu-img", args, { allowedExitCodes })).stdout;
}

export async function qemuInfo(file: string): Promise<QemuInfo> {
  const info: QemuInfo = JSON.parse(await qemuImg(["info", "--output=json", "-f", "qcow2", "-U", file]));
  return info;
}

/** The report of a check; with `repair`, what is left after repairing. */
export async function qemuCheck(file: string, repair?: "leaks" | "all"): Promise<QemuCheck> {
  const { stdout, exitCode, stderr } = await run(
    "qemu-img",
    ["check", "--output=json", "-f", "qcow2", ...(repair === undefined ? [] : ["-r", repair]), file],
    { allowedExitCodes: [0, 1, 2, 3] },
  );
  // What cannot be opened is not reported as JSON.
  if (exitCode === 1 && stdout === "") throw new Error(`qemu-img check ${file}: ${stderr}`);
  // A repair prints what it does in front of the report.
  const report: QemuCheck = JSON.parse(stdout.slice(stdout.indexOf("{\n")));
  return report;
}

/** Commands for qemu-io, run in order on an image. */
export async function qemuIo(file: string, commands: readonly string[], format = "qcow2"): Promise<string> {
  const args = ["-f", format, ...commands.flatMap((command) => ["-c", command]), file];
  return (await run("qemu-io", args)).stdout;
}
