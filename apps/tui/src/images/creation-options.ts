import { parseSize } from "../format/bytes.ts";
import { UsageError } from "../cli/exit-status.ts";

/** A `-o` value turned into what the driver takes. */
type Parser = (text: string, key: string) => unknown;

/** What `-o key=value` means to the driver of a format: the names are qemu-img's. */
interface CreationOption {
  readonly option: string;
  readonly parse: Parser;
}

function bytes(text: string, key: string): number {
  const parsed = parseSize(text);
  if (!parsed.ok) throw new UsageError(`-o ${key}=${text}: ${parsed.reason}`);
  return parsed.bytes;
}

/** Sizes and counts of qcow2 are powers of two; the driver refuses others in its own words, which the user never wrote. */
function powerOfTwo(from: string, to: string): Parser {
  return (text, key) => {
    const value = bytes(text, key);
    if (value >= bytes(from, key) && value <= bytes(to, key) && Number.isInteger(Math.log2(value)))
      return value;
    throw new UsageError(`-o ${key}=${text}: must be a power of two from ${from} to ${to}`);
  };
}

function flag(text: string, key: string): boolean {
  if (text === "on" || text === "true") return true;
  if (text === "off" || text === "false") return false;
  throw new UsageError(`-o ${key}=${text}: must be on or off`);
}

function word(choices: Readonly<Record<string, string>>): Parser {
  return (text, key) => {
    const choice = Object.hasOwn(choices, text) ? choices[text] : undefined;
    if (choice === undefined) {
      throw new UsageError(`-o ${key}=${text}: must be one of ${Object.keys(choices).join(", ")}`);
    }
    return choice;
  };
}

function text(value: string, key: string): string {
  if (value === "") throw new UsageError(`-o ${key}=: the value is empty`);
  return value;
}

const QCOW2: Readonly<Record<string, CreationOption>> = {
  compat: { option: "version", parse: word({ "0.10": "v2", v2: "v2", "1.1": "v3", v3: "v3" }) },
  cluster_size: { option: "clusterSize", parse: powerOfTwo("512", "2M") },
  refcount_bits: { option: "refcountBits", parse: powerOfTwo("1", "64") },
  lazy_refcounts: { option: "lazyRefcounts", parse: flag },
  extended_l2: { option: "extendedL2", parse: flag },
  compression_type: { option: "compressionType", parse: word({ zlib: "zlib", zstd: "zstd" }) },
  preallocation: {
    option: "preallocation",
    parse: word({ off: "off", metadata: "metadata", falloc: "falloc", full: "full" }),
  },
  backing_file: { option: "backingFile", parse: text },
  backing_fmt: { option: "backingFormat", parse: text },
  data_file: { option: "dataFileName", parse: text },
  data_file_raw: { option: "dataFileRaw", parse: flag },
};

const RAW: Readonly<Record<string, CreationOption>> = {
  preallocation: { option: "preallocation", parse: word({ off: "off", falloc: "falloc", full: "full" }) },
};

/** The options by format. */
const BY_FORMAT = { qcow2: QCOW2, raw: RAW } as const;

/** Options of a creation, by the driver's names. */
export type CreationOptions = Readonly<Record<string, unknown>>;

/**
 * Reads `-o key=value,key=value` as qemu-img does; a comma within a value is written twice.
 * @throws UsageError naming the option and what it may be.
 */
export function parseCreationOptions(format: "raw" | "qcow2", given: readonly string[]): CreationOptions {
  const known = BY_FORMAT[format];
  const options: Record<string, unknown> = {};
  for (const item of given.flatMap(splitList)) {
    const equals = item.indexOf("=");
    const key = equals < 0 ? item : item.slice(0, equals);
    const option = Object.hasOwn(known, key) ? known[key] : undefined;
    if (option === undefined) {
      throw new UsageError(
        `-o ${item}: ${format} has no option '${key}'; it has ${Object.keys(known).join(", ")}`,
      );
    }
    if (equals < 0) throw new UsageError(`-o ${item}: give it a value, ${key}=…`);
    options[option.option] = option.parse(item.slice(equals + 1), key);
  }
  return options;
}

function splitList(list: string): readonly string[] {
  return list
    .replaceAll(",,", "\0")
    .split(",")
    .map((item) => item.replaceAll("\0", ","))
    .filter((item) => item !== "");
}
