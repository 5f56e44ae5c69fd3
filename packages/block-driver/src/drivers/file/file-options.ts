import { option, optionSchema, type OptionSchema } from "../../contract/options.ts";

/** Options of the `file` driver. */
export interface FileOptions {
  /** Path of a regular file or block device; relative to the working directory. */
  readonly filename: string;
  /** Refuse to change the size. Block devices are fixed anyway. Default false: a regular file grows and shrinks. */
  readonly fixed: boolean;
  /**
   * QEMU-compatible image locking: `auto` locks where the host can, `on` fails where it cannot, `off` neither locks nor
   * looks. Default `auto`. A reader that puts up with a running writer uses `off`.
   */
  readonly locking: "auto" | "on" | "off";
  /**
   * `filename` has no symbolic links in it, as somebody who decided about it found; refuse the file if one was put in its
   * way since. Default false: links are followed.
   */
  readonly real: boolean;
  /**
   * Who makes small writes: `auto` makes those of whole pages at once while the host takes them into memory (and reads of files in
   * tmpfs), `threads` leaves every one to the thread pool, so that a file system that hangs never stops the program. Default `auto`.
   */
  readonly aio: "auto" | "threads";
}

/** Options for creating a file. */
export interface FileCreateOptions {
  /** Path of the new file. */
  readonly filename: string;
  /** Size in bytes. */
  readonly size: number;
  /** Space: `off` makes one hole, `falloc` reserves (or writes zeroes where it cannot), `full` writes zeroes. Default `off`. */
  readonly preallocation: "off" | "falloc" | "full";
  /** Replace a file of that name. Default false. */
  readonly overwrite: boolean;
}

/** What is checked of the driver's options. */
export const fileOptions: OptionSchema<FileOptions> = optionSchema({
  filename: option.string("Path of a regular file or block device."),
  fixed: option.boolean("Refuse to change the size.", false),
  locking: option.choice(
    "Image locking as QEMU does it: where possible, mandatory, or not at all.",
    ["auto", "on", "off"],
    "auto",
  ),
  real: option.boolean("The path has no symbolic links; refuse the file if one was put in its way.", false),
  aio: option.choice(
    "Small writes: at once while the host takes them into memory, or always on the thread pool.",
    ["auto", "threads"],
    "auto",
  ),
});

/** What is checked of the options for creating. */
export const fileCreateOptions: OptionSchema<FileCreateOptions> = optionSchema({
  filename: option.string("Path of the new file."),
  size: option.bytes("Size in bytes."),
  preallocation: option.choice(
    "Space for the file: none, reserved, or written with zeroes.",
    ["off", "falloc", "full"],
    "off",
  ),
  overwrite: option.boolean("Replace a file of that name.", false),
});
