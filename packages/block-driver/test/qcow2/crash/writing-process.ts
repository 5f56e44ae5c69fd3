/*
 * A process that writes to an image until it is killed: `writing-process.ts FILE SEED`. It says `begin N` before each
 * operation and `flushed N` when everything before operation N is durable.
 */
import { writeSync } from "node:fs";
import { BlockGraph, createDefaultRegistry } from "../../../src/index.ts";
import { SequenceOperation } from "./operation-sequence.ts";

const [, , filename = "", seed = "1"] = process.argv;
const graph = new BlockGraph({ registry: createDefaultRegistry() });
const node = await graph.open({ driver: "qcow2", file: { driver: "file", filename } });
const edge = graph.attach(node, { name: "writer", uses: ["read", "write"], shares: ["read"] });
let flushing: Promise<void> = Promise.resolve();
for (let number = 0; ; number += 1) {
  writeSync(1, `begin ${number}\n`);
  await new SequenceOperation(Number(seed), number).run(edge);
  if (number % 5 !== 4) continue;
  await flushing;
  // Beside the operations that follow, so that a kill can strike both.
  flushing = Promise.resolve(edge.flush()).then(() => {
    writeSync(1, `flushed ${number + 1}\n`);
  });
}
