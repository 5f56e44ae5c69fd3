import {
  BlockGraph,
  createDefaultRegistry,
  ExtentFlag,
  ExtentList,
  StatusResolver,
} from "../../src/index.ts";

/** Prints what is stored in a raw image, and returns how many bytes that are. */
export async function printExtents(filename: string, print: (line: string) => void): Promise<number> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  try {
    const disk = await graph.open({
      driver: "raw",
      readOnly: true,
      file: { driver: "file", filename },
    });
    const extents = new ExtentList();
    const resolver = new StatusResolver();
    let stored = 0;
    for (let at = 0; at < disk.size; at = extents.next) {
      await resolver.resolve(disk, at, disk.size - at, extents);
      for (let index = 0; index < extents.count; index += 1) {
        const isData = (extents.flagsAt(index) & ExtentFlag.Data) !== 0;
        if (isData) stored += extents.lengthAt(index);
        print(`${extents.offsetAt(index)}+${extents.lengthAt(index)} ${isData ? "data" : "zero"}`);
      }
    }
    return stored;
  } finally {
    await graph.closeAll();
  }
}
