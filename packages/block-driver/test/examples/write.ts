import { BlockGraph, createDefaultRegistry } from "../../src/index.ts";

/** Makes a raw image of 1 MiB with a greeting at its beginning. */
export async function writeGreeting(filename: string): Promise<void> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  try {
    await graph.create("file", { filename, size: 1024 * 1024 });
    const disk = await graph.open({ driver: "raw", file: { driver: "file", filename } });
    const edge = graph.attach(disk, {
      name: "greeter", // appears in refusals: make it tell
      uses: ["read", "write"],
      shares: ["read"], // nobody else may write meanwhile
    });
    await edge.write(0, [Buffer.from("hello, "), Buffer.from("disk")]);
    await edge.flush(); // durable from here on
    await graph.detach(edge);
  } finally {
    await graph.closeAll();
  }
}
