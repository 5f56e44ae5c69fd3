import { run } from "@blockmirror/peers";

/** What fio's NBD client found. */
export interface FioResult {
  /** Requests per second. */
  readonly iops: number;
  /** 99 of 100 requests took at most this long, in microseconds. */
  readonly p99Us: number;
}

/** How fio asks: 4 KiB at random, 16 in flight. */
export interface FioOptions {
  readonly uri: string;
  readonly mode: "randread" | "randwrite";
  /** Bytes of the disk that the requests are spread over. */
  readonly bytes: number;
  readonly seconds: number;
  readonly directory: string;
}

/** Runs fio's NBD client. @throws PeerError when fio fails, Error when it reports nothing. */
export async function runFio({ uri, mode, bytes, seconds, directory }: FioOptions): Promise<FioResult> {
  const { stdout } = await run(
    "fio",
    [
      "--name=guest",
      "--ioengine=nbd",
      `--uri=${uri}`,
      `--rw=${mode}`,
      "--bs=4k",
      `--size=${bytes}`,
      "--iodepth=16",
      "--norandommap",
      `--runtime=${seconds}`,
      "--time_based",
      "--output-format=json",
    ],
    { cwd: directory, timeoutMs: 120_000 },
  );
  const report: {
    readonly jobs?: readonly Readonly<
      Record<
        "read" | "write",
        {
          readonly iops: number;
          readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
        }
      >
    >[];
  } = JSON.parse(stdout.slice(stdout.indexOf("{")));
  const side = report.jobs?.[0]?.[mode === "randread" ? "read" : "write"];
  const p99 = side?.clat_ns.percentile?.["99.000000"];
  if (side === undefined || p99 === undefined) throw new Error(`fio reported no requests: ${stdout}`);
  return { iops: side.iops, p99Us: p99 / 1000 };
}
