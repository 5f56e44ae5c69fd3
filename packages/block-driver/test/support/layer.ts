import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  ExtentFlag,
  option,
  optionSchema,
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type BlockDriver,
  type ChildReference,
  type ExtentList,
} from "../../src/index.ts";

/** Options of the `layer` driver. */
export interface LayerOptions {
  /** One letter per block: `d` data, `z` zero, `.` deferred, `c` compressed data. */
  readonly blocks: string;
  readonly blockSize: number;
  readonly backing: ChildReference | null | undefined;
  /** Name of a backing image "found inside", opened through the gate. */
  readonly implicit: string | undefined;
  readonly implicitFormat: string | undefined;
  /** Extents one answer has at most. */
  readonly batch: number;
  readonly later: boolean;
}

const FLAGS: Readonly<Record<string, number>> = {
  d: ExtentFlag.Data | ExtentFlag.HostOffset,
  z: ExtentFlag.Zero,
  ".": ExtentFlag.Deferred,
  c: ExtentFlag.Data | ExtentFlag.Compressed,
};

/** A read-only image whose block status is spelled out; data reads as the character code of its letter. */
export const layerDriver: BlockDriver<LayerOptions> = {
  name: "layer",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    blocks: option.string("status by block"),
    blockSize: option.integer("bytes per block", 512),
    backing: option.optionalChild("backing"),
    implicit: option.optionalString("backing named inside"),
    implicitFormat: option.optionalString("its format"),
    batch: option.integer("extents per answer", 1_000_000),
    later: option.boolean("answer asynchronously", false),
  }),
  async open(options, context) {
    let backing: BlockChild | undefined;
    if (typeof options.backing === "object" && options.backing !== null) {
      backing = await context.openChild(options.backing, "backing");
    } else if (typeof options.backing === "string") {
      backing = await context.openChild(options.backing, "backing");
    } else if (options.implicit !== undefined) {
      const { implicitFormat: format } = options;
      const reference = { name: options.implicit, ...(format !== undefined && { format }) };
      backing = await context.openImplicit(reference, "backing");
    }
    const { blocks, blockSize } = options;
    const size = blocks.length * blockSize;
    return {
      info: {
        driver: "layer",
        label: context.nodeName,
        size,
        readOnly: true,
        align: { ...BYTE_ALIGNMENT, allocation: blockSize },
        max: DEFAULT_LIMITS,
        can: { ...READ_ONLY_CAPABILITIES, status: "exact" },
      },
      async read(offset, into) {
        let at = offset;
        for (const piece of into) {
          for (let index = 0; index < piece.byteLength; index += 1, at += 1) {
            const letter = blocks[Math.floor(at / blockSize)] ?? "z";
            const byte = new Uint8Array(1);
            if (letter === "." && backing !== undefined && at < backing.info.size) {
              await backing.read(at, [byte]);
              piece[index] = byte[0] ?? 0;
            } else piece[index] = letter === "d" || letter === "c" ? letter.charCodeAt(0) : 0;
          }
        }
      },
      status(offset, length, extents) {
        if (!options.later) return answer(options, offset, length, extents);
        return Promise.resolve().then(() => answer(options, offset, length, extents));
      },
      close: () => Promise.resolve(),
    };
  },
};

function answer(options: LayerOptions, offset: number, length: number, extents: ExtentList): void {
  const { blocks, blockSize } = options;
  extents.reset(offset);
  let answered = 0;
  for (let at = offset; at < offset + length && answered < options.batch; answered += 1) {
    const block = Math.floor(at / blockSize);
    const end = (block + 1) * blockSize;
    if (!extents.append(end - at, FLAGS[blocks[block] ?? "z"] ?? ExtentFlag.Zero, at)) return;
    at = end;
  }
}
