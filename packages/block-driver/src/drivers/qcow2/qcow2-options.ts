import { option, optionSchema, type ChildReference, type OptionSchema } from "../../contract/options.ts";

/** Options of the `qcow2` driver. */
export interface Qcow2Options {
  /** Holds the image. */
  readonly file: ChildReference;
  /** The backing file: `null` for none, whatever the image says; absent for the one the image names, if the gate allows. */
  readonly backing: ChildReference | null | undefined;
  /** The external data file of an image that has one. Absent: the one the image names, if the gate allows. */
  readonly dataFile: ChildReference | undefined;
  /** Bytes of L2 tables kept in memory. Default: what covers the image, at most 64 MiB. */
  readonly cacheSize: number | undefined;
}

/** Schema of {@link Qcow2Options}. */
export const qcow2Options: OptionSchema<Qcow2Options> = optionSchema({
  file: option.child("holds the image"),
  backing: option.optionalChild("the backing file; null for none; default: what the image names"),
  dataFile: option.json("the external data file; default: what the image names", (value) =>
    value === undefined ? undefined : option.child("data file").parse(value),
  ),
  cacheSize: option.optionalBytes("bytes of L2 tables kept in memory", { min: 4096 }),
});
