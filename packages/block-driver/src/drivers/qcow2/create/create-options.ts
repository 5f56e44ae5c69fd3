import { MAX_DEVICE_SIZE } from "../../../contract/device.ts";
import { option, optionSchema, type ChildReference, type OptionSchema } from "../../../contract/options.ts";

/** Options for creating a qcow2 image. What they mean together is checked by {@link planImage}. */
export interface Qcow2CreateOptions {
  /** What will hold the image. It has to exist; what it holds is lost. */
  readonly file: ChildReference;
  /** Virtual size in bytes, a multiple of 512. */
  readonly size: number;
  /** Version of the format. Default `v3`. */
  readonly version: "v2" | "v3";
  /** Bytes of a cluster: a power of two, 512 to 2 MiB. Default 64 KiB. */
  readonly clusterSize: number;
  /** Bits of a refcount: a power of two up to 64. Version 2 has 16, which is the default. */
  readonly refcountBits: number;
  /** Let writers postpone refcount updates; after a crash the image is checked when it is opened. Default false. */
  readonly lazyRefcounts: boolean;
  /** Divide each cluster into 32 subclusters, which are allocated one by one. Default false. */
  readonly extendedL2: boolean;
  /** How clusters are compressed when they are. Default `zlib`. */
  readonly compressionType: "zlib" | "zstd";
  /**
   * `off` makes metadata as it is needed; `metadata` maps the whole disk to space that is a hole; `falloc` reserves
   * that space as well; `full` writes it with zeroes. Default `off`.
   */
  readonly preallocation: "off" | "metadata" | "falloc" | "full";
  /** Name of the backing file to record, as it will be read: relative to the directory of the image. Not opened. */
  readonly backingFile: string | undefined;
  /** Format of the backing file: required with one, because formats are not guessed. */
  readonly backingFormat: string | undefined;
  /** Keeps the guest's data outside the image. It has to exist, is resized, and what it holds is lost. */
  readonly dataFile: ChildReference | null | undefined;
  /** Name to record for the data file. Default: the path of the file that {@link dataFile} is. */
  readonly dataFileName: string | undefined;
  /** Keep the data file readable as a raw image by itself. Default false. */
  readonly dataFileRaw: boolean;
}

/** Schema of {@link Qcow2CreateOptions}. */
export const qcow2CreateOptions: OptionSchema<Qcow2CreateOptions> = optionSchema({
  file: option.child("what will hold the image; what it holds is lost"),
  size: option.bytes("virtual size, a multiple of 512", { max: MAX_DEVICE_SIZE }),
  version: option.choice("version of the format", ["v2", "v3"], "v3"),
  clusterSize: option.integer("bytes of a cluster: a power of two from 512 to 2 MiB", 65536, {
    min: 512,
    max: 2 * 1024 * 1024,
  }),
  refcountBits: option.integer("bits of a refcount: a power of two up to 64", 16, { min: 1, max: 64 }),
  lazyRefcounts: option.boolean("let writers postpone refcount updates", false),
  extendedL2: option.boolean("divide clusters into 32 subclusters", false),
  compressionType: option.choice("how clusters are compressed", ["zlib", "zstd"], "zlib"),
  preallocation: option.choice(
    "space: none, mapped, reserved, or written with zeroes",
    ["off", "metadata", "falloc", "full"],
    "off",
  ),
  backingFile: option.optionalString("name of the backing file to record"),
  backingFormat: option.optionalString("format of the backing file"),
  dataFile: option.optionalChild("what will hold the guest's data; what it holds is lost"),
  dataFileName: option.optionalString("name to record for the data file; default: its path"),
  dataFileRaw: option.boolean("keep the data file readable as a raw image", false),
});
