import { BlockError } from "../../../errors.ts";
import { Incompatible } from "../format/constants.ts";
import type { Image } from "../image.ts";
import { writeIncompatible } from "./header-fields.ts";
import type { HostFile } from "./host-file.ts";

/**
 * What makes an open image unusable: metadata that contradicts itself, or a flush that failed. From then on nothing is
 * written any more, because every further write could destroy more.
 */
export class ImageFence {
  readonly #image: Image;
  readonly #file: HostFile;
  #failure: BlockError | undefined;
  #marking: Promise<void> = Promise.resolve();

  constructor(image: Image, file: HostFile) {
    this.#image = image;
    this.#file = file;
  }

  /** Why nothing is written any more. */
  get failure(): BlockError | undefined {
    return this.#failure;
  }

  /** @throws BlockError `BLK_FENCED` after a fatal failure. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * The image contradicts itself: sets its corrupt bit, so that nobody writes to it before it has been repaired, reports
   * it and refuses everything from now on. Returns the error to throw.
   */
  corrupt(what: string, offset?: number, length?: number): BlockError {
    const { label } = this.#image;
    const error = new BlockError("BLK_CORRUPT", `${label}: ${what}; the image needs a check and repair`, {
      node: label,
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    });
    if (this.#failure !== undefined) return error;
    this.#refuse(error, `${error.message}: close it, repair it, and open it again`);
    this.#image.report({
      type: "corruption",
      message: error.message,
      fatal: true,
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    });
    this.#marking = this.#mark();
    return error;
  }

  /**
   * Makes what was written to the image's file durable.
   * @throws BlockError what the flush met; everything is refused from then on.
   */
  async flush(): Promise<void> {
    try {
      await this.#file.flush();
    } catch (error) {
      this.flushFailed(error);
      throw error;
    }
  }

  /** What the file holds is unknown after a failed flush: refuses everything from now on. */
  flushFailed(cause: unknown): void {
    if (this.#failure !== undefined) return;
    const text = cause instanceof Error ? cause.message : String(cause);
    this.#refuse(
      cause,
      `a flush failed (${text}); what was written before may be lost: close it, check the storage, and open it again`,
    );
    this.#image.report({ type: "warning", message: `${this.#image.label}: ${text}`, fatal: true });
  }

  /** Settles when a corrupt bit that was to be set is on disk, as far as that is possible. */
  settled(): Promise<void> {
    return this.#marking;
  }

  #refuse(cause: unknown, why: string): void {
    const { label } = this.#image;
    this.#failure = new BlockError("BLK_FENCED", `${label} refuses requests since ${why}`, {
      node: label,
      cause,
    });
  }

  async #mark(): Promise<void> {
    const image = this.#image;
    if (image.header.version < 3) return;
    image.header = { ...image.header, incompatible: image.header.incompatible | Incompatible.Corrupt };
    try {
      await writeIncompatible(this.#file, image.header);
      await this.#file.flush();
    } catch {
      // The node is fenced in any case; a file that cannot be written cannot be marked either.
    }
  }
}
