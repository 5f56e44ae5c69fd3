import { readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { lacksPeers, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { Random } from "../../../src/conformance/random.ts";
import { HBitmap } from "@blockmirror/hbitmap";
import {
  BlockGraph,
  createDefaultRegistry,
  directoryGate,
  keepDirtyBitmap,
  type BlockEdge,
  type BlockNode,
} from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { comparableMap, ourMap, qemuMap } from "../support/map.ts";
import { qemuCheck, qemuImg, qemuInfo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { coveringArray } from "./covering-array.ts";
import {
  backingOf,
  createVariant,
  FACTORS,
  FORBIDDEN,
  ImageVariant,
  makeBacking,
  type ImageFiles,
} from "./image-variants.ts";
import {
  applyOperation,
  chooseOperations,
  qemuCommand,
  runOperation,
  type Disk,
  type Operation,
} from "./operations.ts";

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 7);
/** Rounds of both writing, by turns; more of them by hand. */
const ROUNDS = Number(process.env["BLOCKMIRROR_ROUNDS"] ?? 2);
const at = scratchFiles();

/** An image on its way through the hands of both, with what it must read as. */
class SharedImage {
  readonly variant: ImageVariant;
  readonly files: ImageFiles;
  readonly disk: Disk;
  readonly random: Random;
  readonly model: Buffer;
  /** What the disk was when each snapshot was taken. */
  readonly #snapshots: { readonly name: string; readonly content: Buffer }[] = [];
  /** Ranges that the recording bitmap must have. */
  readonly #written: Operation[] = [];

  constructor(variant: ImageVariant, files: ImageFiles, random: Random, model: Buffer) {
    this.variant = variant;
    this.files = files;
    this.random = random;
    this.model = model;
    this.disk = {
      size: variant.size,
      clusterSize: variant.clusterSize,
      canDiscard: !variant.isVersion2 || !variant.has("backing"),
    };
  }

  /** By whom the image was created gives it bitmaps, too. */
  async addBitmaps(): Promise<void> {
    if (!this.variant.has("bitmaps")) return;
    const { image } = this.files;
    if (this.variant.get("creator") === "qemu-img") {
      await qemuImg(["bitmap", "--add", "-g", "65536", image, "on"]);
      await qemuImg(["bitmap", "--add", "--disable", "-g", "4096", image, "off"]);
      return;
    }
    await this.#opened(false, ({ node }) => {
      keepDirtyBitmap(node, node.createDirtyBitmap({ name: "on", granularity: 65_536 }));
      keepDirtyBitmap(node, node.createDirtyBitmap({ name: "off", granularity: 4096, enabled: false }));
      return Promise.resolve();
    });
  }

  /** Compressed clusters, which only qemu writes, and only where nothing is yet. */
  async qemuCompresses(): Promise<void> {
    if (!this.variant.has("compressed")) return;
    const { size, clusterSize } = this.disk;
    const noise = at("noise");
    writeFileSync(noise, this.random.bytes(3000));
    const commands: string[] = [];
    const step = clusterSize * Math.max(1, Math.floor(size / clusterSize / 12));
    for (let offset = 0; offset < size; offset += step) {
      const length = Math.min(size - offset, clusterSize);
      const isNoise = this.random.below(3) === 0;
      const value = 1 + this.random.below(255);
      commands.push(`write -c ${isNoise ? `-s ${noise}` : `-P ${value}`} ${offset} ${length}`);
      const content = isNoise ? readFileSync(noise) : Buffer.of(value);
      this.model.fill(content, offset, offset + length);
      this.#written.push({ kind: "write", offset, length, value });
    }
    await this.#qemuIo(commands);
  }

  async qemuWrites(): Promise<void> {
    const operations = chooseOperations(this.random, this.disk, 512, 10);
    await this.#qemuIo(operations.map(qemuCommand));
    this.#apply(operations);
  }

  async weWrite(): Promise<void> {
    const operations = chooseOperations(this.random, this.disk, 1, 10);
    await this.#opened(false, async ({ edge }) => {
      for (const operation of operations) await runOperation(edge, operation);
    });
    this.#apply(operations);
  }

  /** Only qemu takes snapshots. */
  async takeSnapshot(name: string): Promise<void> {
    await qemuImg(["snapshot", "-c", name, this.files.image]);
    this.#snapshots.push({ name, content: Buffer.from(this.model) });
  }

  /** We read what is there, in any pieces, tell of it what qemu-img tells, and change nothing by that. */
  async weMustAgree(): Promise<void> {
    const { image } = this.files;
    const [theirMap, theirInfo] = [await qemuMap(image), await qemuInfo(image)];
    expect(theirInfo).toMatchObject(this.#expectedInfo());
    const before = statSync(image, { bigint: true }).mtimeNs;
    await this.#opened(true, async ({ node, edge }) => {
      await this.#mustReadModel(edge);
      const map = await ourMap(node);
      for (const { start, length, zero } of map) {
        if (zero) expect(this.model.subarray(start, start + length).equals(Buffer.alloc(length))).toBe(true);
      }
      expect(comparableMap(map)).toEqual(comparableMap(theirMap));
      expect(node.size).toBe(this.disk.size);
      expect(inQemuWords(node)).toEqual(theirInfo["format-specific"].data);
      const snapshots = node.info.details?.["snapshots"];
      expect(snapshots).toMatchObject(
        this.#snapshots.map(({ name }, index) => ({ id: `${index + 1}`, name })),
      );
      await this.#bitmapsMustFollow(node);
    });
    expect(statSync(image, { bigint: true }).mtimeNs, "reading changes nothing").toBe(before);
  }

  /** qemu-img finds nothing wrong, counts what we count, and reads what was written. */
  async qemuMustAgree(): Promise<void> {
    const { image } = this.files;
    const report = await qemuCheck(image);
    const { corruptions = 0, leaks = 0 } = report;
    expect([report["check-errors"], corruptions, leaks], "errors, corruptions, leaks").toEqual([0, 0, 0]);
    expect(await checkFile(image)).toMatchObject({
      checkErrors: 0,
      corruptions: 0,
      leaks: 0,
      imageEndOffset: report["image-end-offset"],
      totalClusters: report["total-clusters"] ?? 0,
      allocatedClusters: report["allocated-clusters"] ?? 0,
      fragmentedClusters: report["fragmented-clusters"] ?? 0,
      compressedClusters: report["compressed-clusters"] ?? 0,
    });
    writeFileSync(at("model.raw"), this.model);
    await qemuImg(["compare", "-f", "raw", "-F", "qcow2", at("model.raw"), image]);
  }

  /** Nobody's writes reach what a snapshot keeps, and without it nothing is left of it. */
  async snapshotsMustBeIntact(): Promise<void> {
    for (const { name, content } of this.#snapshots) {
      await qemuImg([
        "convert",
        "-f",
        "qcow2",
        "-l",
        `snapshot.name=${name}`,
        "-O",
        "raw",
        this.files.image,
        at("s"),
      ]);
      expect(readFileSync(at("s")).equals(content), `snapshot ${name}`).toBe(true);
    }
    for (const { name } of this.#snapshots) await qemuImg(["snapshot", "-d", name, this.files.image]);
    if (this.#snapshots.length > 0) await this.qemuMustAgree();
  }

  #expectedInfo(): Readonly<Record<string, unknown>> {
    const { variant, files } = this;
    const backing = backingOf(variant);
    return {
      format: "qcow2",
      "virtual-size": variant.size,
      "cluster-size": variant.clusterSize,
      ...(backing !== undefined && {
        "backing-filename": backing.name,
        "backing-filename-format": backing.format,
      }),
      "format-specific": {
        data: {
          compat: variant.get("compat"),
          "refcount-bits": Number(variant.get("refcount_bits")),
          "compression-type": variant.get("compression_type"),
          ...(!variant.isVersion2 && {
            "lazy-refcounts": variant.has("lazy_refcounts"),
            "extended-l2": variant.has("extended_l2"),
            corrupt: false,
          }),
          ...(variant.has("data_file") && {
            "data-file": files.data,
            "data-file-raw": variant.get("data_file") === "raw",
          }),
          ...(variant.has("bitmaps") && {
            bitmaps: [
              { name: "on", granularity: 65_536, flags: ["auto"] },
              { name: "off", granularity: 4096, flags: [] },
            ],
          }),
        },
      },
    };
  }

  async #mustReadModel(edge: BlockEdge): Promise<void> {
    const { model, random } = this;
    const { size } = this.disk;
    const whole = Buffer.alloc(size, 0xee);
    await edge.read(0, [whole]);
    expect(Buffer.compare(whole, model), "read in one request").toBe(0);
    if (size === 0) return;
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        const length = 1 + random.below(Math.min(size, random.below(3) === 0 ? 400_000 : 5000));
        const offset = random.below(size - length + 1);
        const split = random.below(length);
        const bytes = Buffer.alloc(length + 2, 0xee);
        await edge.read(offset, [bytes.subarray(1, 1 + split), bytes.subarray(1 + split, 1 + length)]);
        expect(Buffer.compare(bytes.subarray(1, 1 + length), model.subarray(offset, offset + length))).toBe(
          0,
        );
        expect([bytes[0], bytes[length + 1]], "nothing beside the buffers").toEqual([0xee, 0xee]);
      }),
    );
  }

  async #bitmapsMustFollow(node: BlockNode): Promise<void> {
    if (!this.variant.has("bitmaps")) return;
    const { size } = this.disk;
    const [on, off] = [new HBitmap({ size, granularity: 65_536 }), new HBitmap({ size, granularity: 4096 })];
    await node.device.bitmaps?.load("on", on);
    await node.device.bitmaps?.load("off", off);
    const { clusterSize } = this.disk;
    for (const { kind, offset, length } of this.#written) {
      // Parts of clusters are not discarded, and need not count as written.
      const slack = kind === "discard" ? clusterSize : 0;
      const [start, end] = [offset + slack, offset + length - slack];
      if (start < end) expect(on.nextZero(start, end - start), `${kind} at ${offset}`).toBe(-1);
    }
    expect(off.count).toBe(0);
  }

  #apply(operations: readonly Operation[]): void {
    for (const operation of operations) applyOperation(this.model, this.disk, operation);
    this.#written.push(...operations);
  }

  async #qemuIo(commands: readonly string[]): Promise<void> {
    const args = ["-d", "unmap", "-f", "qcow2", ...commands.flatMap((command) => ["-c", command])];
    if (commands.length > 0) await run("qemu-io", [...args, this.files.image]);
  }

  /** With all that the image names, found by its names. */
  async #opened<T>(
    readOnly: boolean,
    use: (opened: { readonly node: BlockNode; readonly edge: BlockEdge }) => Promise<T>,
  ): Promise<T> {
    const { image } = this.files;
    const graph = new BlockGraph({
      registry: createDefaultRegistry(),
      gate: directoryGate([dirname(image)]),
    });
    try {
      const node = await graph.open({ driver: "qcow2", readOnly, file: { driver: "file", filename: image } });
      const uses = readOnly ? (["read"] as const) : (["read", "write"] as const);
      return await use({ node, edge: graph.attach(node, { name: "guest", uses, shares: ["read"] }) });
    } finally {
      await graph.closeAll();
    }
  }
}

/** Our description of an image, as `qemu-img info` words it. */
function inQemuWords({ info }: BlockNode): unknown {
  const { details = {} } = info;
  const bitmaps = info.details?.["bitmaps"];
  const version2 = details["version"] === 2;
  return {
    compat: version2 ? "0.10" : "1.1",
    "refcount-bits": details["refcountBits"],
    "compression-type": details["compressionType"],
    ...(!version2 && {
      "lazy-refcounts": details["lazyRefcounts"],
      "extended-l2": details["extendedL2"],
      corrupt: details["corrupt"],
    }),
    ...(details["dataFile"] !== undefined && {
      "data-file": details["dataFile"],
      "data-file-raw": details["dataFileRaw"],
    }),
    ...(Array.isArray(bitmaps) &&
      bitmaps.length > 0 && {
        bitmaps: bitmaps.map(({ name, granularity, recording }) => ({
          name,
          granularity,
          flags: recording === true ? ["auto"] : [],
        })),
      }),
  };
}

const VARIANTS = coveringArray(FACTORS, FORBIDDEN).map((row) => new ImageVariant(row));

/*
 * Every two properties of an image that go together meet in one of these rows, made by either side. Both write to it by
 * turns; after each turn the other one reads it, and says what it is.
 */
describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("one image in the hands of qemu and of ours", () => {
  test.each(VARIANTS.map((variant, index) => ({ name: variant.name, variant, index })))(
    "$name",
    async ({ variant, index }) => {
      const random = new Random(SEED + index);
      const files = { image: at("disk.qcow2"), data: at("disk.data"), at };
      const image = new SharedImage(variant, files, random, await makeBacking(variant, files, random));
      await createVariant(variant, files);
      await image.addBitmaps();
      await image.qemuCompresses();
      for (let round = 0; round < ROUNDS; round += 1) {
        await image.qemuWrites();
        await image.weMustAgree();
        if (round < 2 && variant.has("snapshots")) await image.takeSnapshot(`s${round}`);
        await image.weWrite();
        await image.qemuMustAgree();
      }
      await image.weMustAgree();
      await image.snapshotsMustBeIntact();
    },
  );
});
