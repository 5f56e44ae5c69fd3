import type { Random } from "../../../src/conformance/random.ts";
import { BlockError, checkQcow2, ExtentList, type BlockEdge, type DeviceSpec } from "../../../src/index.ts";
import { StoredImage } from "./stored-image.ts";

/** Requests to an image that is open for writing. */
const OPERATIONS = 25;
/** Most of a disk that is read, and most that is modelled; a mutated size can be anything. */
const MOST_READ = 2 * 1024 * 1024;
/** Status requests that are made at most. */
const MOST_STATUS = 64;

/** How far an image got. */
export type TrialEnd = "refused" | "read" | "written" | "written, and still good";

/**
 * Puts one image through everything that is done with images, and throws when an invariant is broken: every failure is a
 * {@link BlockError}; what is refused, and what is only read, is left as it is; nothing that an image names is opened;
 * an image that a check finds clean is a good disk, and is clean and holds what was written afterwards.
 */
export async function tryImage(bytes: Uint8Array, random: Random): Promise<TrialEnd> {
  const image = await StoredImage.of(bytes);
  try {
    await image.use(async (file) => {
      await survives(() => image.graph.registry.get("qcow2").inspect?.(file));
    });
    const isClean = (await check(image)) === "clean";
    const content = await readDisk(image);
    if (image.asked.length > 0) throw new Error("a name was asked for though its place was taken");
    await open(image, { readOnly: true }, async () => {});
    mustBeEqual(await image.bytes(), bytes, "reading changed the image");
    const model = isClean ? content : undefined;
    const opened = await open(image, { backing: null }, (edge) => change(edge, random, model));
    if (!opened) {
      // An image that was not closed in order is repaired first, and may then be refused for something else.
      if (!isMarkedDirty(bytes))
        mustBeEqual(await image.bytes(), bytes, "a refused opening changed the image");
      await repair(image);
      return content === undefined ? "refused" : "read";
    }
    if (model === undefined) {
      await repair(image);
      return "written";
    }
    // Refcounts beyond the end of the file are no leaks before there is something there.
    const verdict = await check(image);
    if (verdict !== "clean" && verdict !== "leaks") throw new Error(`a clean image is ${verdict} now`);
    const after = await readDisk(image);
    if (after === undefined) throw new Error("a readable disk cannot be read any more");
    mustBeEqual(after, model, "the disk does not hold what was written");
    return "written, and still good";
  } finally {
    await image.close();
  }
}

/** Runs what may fail, but only with a {@link BlockError}; tells whether it did not. */
async function survives(run: () => unknown): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (error) {
    if (error instanceof BlockError) return false;
    throw error;
  }
}

/** Opens the image if that is possible; false when it is refused. */
async function open(
  image: StoredImage,
  options: Partial<DeviceSpec>,
  run: (edge: BlockEdge) => Promise<void>,
): Promise<boolean> {
  let opened = false;
  await survives(() =>
    image.open(options, async (edge) => {
      opened = true;
      await run(edge);
    }),
  );
  return opened;
}

/** What a check finds. */
async function check(image: StoredImage): Promise<"clean" | "leaks" | "damaged" | "beyond checking"> {
  let verdict: "clean" | "leaks" | "damaged" | "beyond checking" = "beyond checking";
  await survives(() =>
    image.use(async (file) => {
      const { corruptions, checkErrors, leaks } = await checkQcow2(file, { memoryLimit: 8 * 1024 * 1024 });
      verdict = leaks > 0 ? "leaks" : "clean";
      if (corruptions + checkErrors > 0) verdict = "damaged";
    }),
  );
  return verdict;
}

/** A repair may fail, but what it calls clean a second look must find clean. */
async function repair(image: StoredImage): Promise<void> {
  let clean = false;
  await survives(() =>
    image.use(async (file) => {
      const report = await checkQcow2(file, { repair: "all", memoryLimit: 8 * 1024 * 1024 });
      clean = report.corruptions + report.checkErrors + report.leaks === 0;
    }),
  );
  if (clean && (await check(image)) !== "clean") throw new Error("a repaired image is not clean");
}

/** All of a disk, and all that is known of its parts; undefined when some of it cannot be read. */
async function readDisk(image: StoredImage): Promise<Uint8Array | undefined> {
  let content: Uint8Array | undefined;
  await open(image, { readOnly: true, backing: null }, async (edge) => {
    const { size } = edge.info;
    const bytes = new Uint8Array(Math.min(size, MOST_READ));
    const isWhole = await survives(() => edge.read(0, [bytes]));
    if (size > MOST_READ) await survives(() => edge.read(size - 512, [new Uint8Array(512)]));
    const known = await askStatus(edge);
    if (isWhole && known && size <= MOST_READ) content = bytes;
  });
  return content;
}

async function askStatus(edge: BlockEdge): Promise<boolean> {
  const { size } = edge.info;
  const extents = new ExtentList(64);
  let at = 0;
  for (let round = 0; at < size && round < MOST_STATUS; round += 1) {
    if (!(await survives(() => edge.status(at, size - at, extents)))) return false;
    if (extents.next <= at) throw new Error(`status at ${at} makes no progress`);
    if (extents.next > size) throw new Error(`status at ${at} ends beyond the disk`);
    at = extents.next;
  }
  return true;
}

/** Random requests; with a model each must succeed, and the model follows. */
async function change(edge: BlockEdge, random: Random, model: Uint8Array | undefined): Promise<void> {
  const { size } = edge.info;
  if (size === 0) return;
  for (let round = 0; round < OPERATIONS; round += 1) {
    const offset = random.below(Math.min(size, MOST_READ));
    const length = Math.min(size - offset, 1 + random.below(20_000));
    const good = await survives(() => request(edge, random, offset, length, model));
    if (!good && model !== undefined) throw new Error(`a request to a clean image failed at ${offset}`);
  }
}

async function request(
  edge: BlockEdge,
  random: Random,
  offset: number,
  length: number,
  model: Uint8Array | undefined,
): Promise<void> {
  switch (random.below(6)) {
    case 0:
      await edge.writeZeroes(offset, length, { unmap: random.below(2) === 0 });
      model?.fill(0, offset, offset + length);
      return;
    case 1:
      if (model === undefined) await edge.discard(offset, length);
      return;
    case 2:
      await edge.flush();
      return;
    case 3:
      await edge.read(offset, [new Uint8Array(length)]);
      return;
    default: {
      const bytes = random.bytes(length);
      await edge.write(offset, [bytes]);
      model?.set(bytes, offset);
    }
  }
}

function isMarkedDirty(bytes: Uint8Array): boolean {
  return bytes[7] === 3 && ((bytes[79] ?? 0) & 1) !== 0;
}

function mustBeEqual(actual: Uint8Array, expected: Uint8Array, otherwise: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  throw new Error(`${otherwise} (${expected.length} bytes, now ${actual.length}; first difference at ${at})`);
}
