import { describe, expect, test } from "vitest";
import { conformanceCases } from "../../src/conformance/index.ts";
import {
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  ExtentFlag,
  iovCopy,
  iovLength,
  iovZero,
  option,
  optionSchema,
  PassThroughDevice,
  type BlockChild,
  type BlockDevice,
  type BlockDriver,
  type ChildReference,
  type DeviceInfo,
  type ExtentList,
  type IoVec,
  type MaybePromise,
} from "../../src/index.ts";

const turn = (): Promise<void> => new Promise<void>(setImmediate);

/** Every defect is one that a driver's author could make, and the group of cases that has to find it. */
const DEFECTS: readonly (readonly [string, string, (child: BlockChild) => BlockDevice])[] = [
  [
    "reads only the first piece of a vector",
    "contract",
    (child) =>
      new (class extends Defective {
        override read(offset: number, into: IoVec): MaybePromise<void> {
          return super.read(offset, into.slice(0, 1));
        }
      })(child),
  ],
  [
    "leaves buffers alone where there are zeroes",
    "model",
    (child) =>
      new (class extends Defective {
        override async read(offset: number, into: IoVec): Promise<void> {
          const bytes = new Uint8Array(iovLength(into));
          await super.read(offset, [bytes]);
          if (bytes.some((byte) => byte !== 0)) iovCopy([bytes], into);
        }
      })(child),
  ],
  [
    "keeps the caller's buffer and writes it later",
    "contract",
    (child) =>
      new (class extends Defective {
        override write(offset: number, from: IoVec): void {
          void turn()
            .then(() => super.write(offset, from))
            .catch(() => {});
        }
      })(child),
  ],
  [
    "clears the caller's buffer after writing",
    "contract",
    (child) =>
      new (class extends Defective {
        override async write(offset: number, from: IoVec): Promise<void> {
          await super.write(offset, from);
          iovZero(from);
        }
      })(child),
  ],
  [
    "loses the last byte of a zero write",
    "model",
    (child) =>
      new (class extends Defective {
        override writeZeroes(offset: number, length: number): MaybePromise<void> {
          return length > 1 ? super.writeZeroes(offset, length - 1) : undefined;
        }
      })(child),
  ],
  [
    "announces discards that zero and does nothing",
    "model",
    (child) =>
      new (class extends Defective {
        override discard(): void {}
      })(child),
  ],
  [
    "discards more than it was asked",
    "model",
    (child) =>
      new (class extends Defective {
        override discard(offset: number, length: number): MaybePromise<void> {
          return super.discard(offset, Math.min(length + 1, this.info.size - offset));
        }
      })(child),
  ],
  [
    "calls data zero",
    "status",
    (child) =>
      new (class extends Defective {
        override status(offset: number, length: number, extents: ExtentList): void {
          extents.reset(offset);
          extents.append(length, ExtentFlag.Zero);
        }
      })(child),
  ],
  [
    "leaves to a backing node what it holds itself",
    "status",
    (child) =>
      new (class extends Defective {
        override status(offset: number, length: number, extents: ExtentList): void {
          extents.reset(offset);
          extents.append(length, ExtentFlag.Deferred);
        }
      })(child),
  ],
  [
    "announces exact status and calls holes data",
    "status",
    (child) =>
      new (class extends Defective {
        override status(offset: number, length: number, extents: ExtentList): void {
          extents.reset(offset);
          extents.append(length, ExtentFlag.Data);
        }
      })(child),
  ],
  [
    "makes no progress in status",
    "status",
    (child) =>
      new (class extends Defective {
        override status(offset: number, _length: number, extents: ExtentList): void {
          extents.reset(offset);
        }
      })(child),
  ],
  [
    "forgets to reset the list of extents",
    "status",
    (child) =>
      new (class extends Defective {
        override status(_offset: number, length: number, extents: ExtentList): void {
          extents.append(length, ExtentFlag.Data);
        }
      })(child),
  ],
  [
    "says more than its size in status",
    "status",
    (child) =>
      new (class extends Defective {
        override status(offset: number, length: number, extents: ExtentList): void {
          extents.reset(offset);
          extents.append(length + 512, ExtentFlag.Data);
        }
      })(child),
  ],
  [
    "reads, modifies and writes blocks without a lock",
    "concurrency",
    (child) =>
      new (class extends Defective {
        override async write(offset: number, from: IoVec): Promise<void> {
          const start = offset - (offset % 512);
          const end = Math.min(this.info.size, Math.ceil((offset + iovLength(from)) / 512) * 512);
          const bytes = new Uint8Array(end - start);
          await super.read(start, [bytes]);
          await turn();
          iovCopy(from, [bytes.subarray(offset - start, offset - start + iovLength(from))]);
          await super.write(start, [bytes]);
        }
      })(child),
  ],
  [
    "answers reads from a cache that is refreshed late",
    "concurrency",
    (child) =>
      new (class extends Defective {
        #stale: Uint8Array | undefined;
        override async read(offset: number, into: IoVec): Promise<void> {
          if (this.#stale === undefined) {
            const all = new Uint8Array(this.info.size);
            await super.read(0, [all]);
            this.#stale = all;
            void turn().then(() => {
              this.#stale = undefined;
            });
          }
          const length = iovLength(into);
          iovCopy([(this.#stale ?? new Uint8Array(offset + length)).subarray(offset, offset + length)], into);
          await turn();
        }
      })(child),
  ],
  [
    "swallows failures of its file",
    "faults",
    (child) =>
      new (class extends Defective {
        override async write(offset: number, from: IoVec): Promise<void> {
          try {
            await super.write(offset, from);
          } catch {
            // This is the defect.
          }
        }
      })(child),
  ],
  [
    "leaves other bytes where a write failed",
    "faults",
    (child) =>
      new (class extends Defective {
        override async write(offset: number, from: IoVec): Promise<void> {
          try {
            await super.write(offset, from);
          } catch (error) {
            await super.write(offset, [new Uint8Array(iovLength(from)).fill(0xdb)]);
            throw error;
          }
        }
      })(child),
  ],
  [
    "fails with an error that is no BlockError",
    "faults",
    (child) =>
      new (class extends Defective {
        override async flush(): Promise<void> {
          try {
            await super.flush();
          } catch {
            throw new TypeError("oops");
          }
        }
        override async read(offset: number, into: IoVec): Promise<void> {
          const bytes = new Uint8Array(iovLength(into));
          try {
            await super.read(offset, [bytes]);
          } catch {
            // Zeroes instead of an error.
          }
          iovCopy([bytes], into);
        }
      })(child),
  ],
  [
    "cannot be closed twice",
    "contract",
    (child) =>
      new (class extends Defective {
        #closed = false;
        override async close(): Promise<void> {
          if (this.#closed) throw new Error("closed already");
          this.#closed = true;
        }
      })(child),
  ],
  [
    "has a new info for everybody who looks",
    "contract",
    (child) =>
      new (class extends Defective {
        override get info(): DeviceInfo {
          return { ...super.info };
        }
      })(child),
  ],
  [
    "brings back what was cut off",
    "model",
    (child) =>
      new (class extends Defective {
        #size: number | undefined;
        override get info(): DeviceInfo {
          return this.#size === undefined ? super.info : { ...super.info, size: this.#size };
        }
        override async resize(size: number): Promise<void> {
          if (size > super.info.size) await super.resize(size);
          this.#size = size;
        }
      })(child),
  ],
];

class Defective extends PassThroughDevice {
  constructor(child: BlockChild) {
    super("defective", child);
  }
}

describe("the kit finds", () => {
  test.each(DEFECTS)("a driver that %s (%s)", async (_what, group, make) => {
    const driver: BlockDriver<{ readonly file: ChildReference }> = {
      name: "defective",
      kind: "format",
      contractVersion: DRIVER_CONTRACT_VERSION,
      options: optionSchema({ file: option.child("below") }),
      open: async ({ file }, context) => make(await context.openChild(file, "file")),
    };
    const cases = await conformanceCases({
      name: "defective",
      registry: () => createDefaultRegistry().register(driver),
      storage: async (size) => ({ spec: { driver: "defective", file: { driver: "memory", size } } }),
    });
    const found: string[] = [];
    for (const { name, run } of cases) {
      try {
        await run();
      } catch {
        found.push(name);
      }
    }
    expect(found.filter((name) => name.startsWith(`defective: ${group}`))).not.toEqual([]);
  });

  test("its failures name the seed, and another seed can be given", async () => {
    const cases = await conformanceCases({
      name: "liar",
      seed: 4711,
      registry: () =>
        createDefaultRegistry().register({
          name: "liar",
          kind: "format",
          contractVersion: DRIVER_CONTRACT_VERSION,
          options: optionSchema({ file: option.child("below") }),
          open: async ({ file }: { readonly file: ChildReference }, context) => {
            const device = new Defective(await context.openChild(file, "file"));
            device.writeZeroes = () => undefined;
            return device;
          },
        }),
      storage: async (size) => ({ spec: { driver: "liar", file: { driver: "memory", size } } }),
    });
    const model = cases.find(({ name }) => name.includes("random operations"));
    await expect(model?.run()).rejects.toThrow(/BLOCKMIRROR_SEED=4711.*\n?last operations: /s);
  });

  test("too small a size is refused", async () => {
    await expect(
      conformanceCases({
        name: "small",
        size: 1024,
        storage: async (size) => ({ spec: { driver: "memory", size } }),
      }),
    ).rejects.toThrow(RangeError);
  });
});
