import { readFile } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import { expect, it } from "vitest";

import { Side } from "./support/sides.ts";

const DOCUMENT = new URL("../../../docs/qmp.md", import.meta.url);
const HEADING = "## Commands of qemu-storage-daemon 7.2 that are left out";

async function commandsOf(side: Side): Promise<string[]> {
  return (await side.client.execute("query-commands")).map(({ name }) => name);
}

it.skipIf(lacksPeers("qemu-storage-daemon"))(
  "docs/qmp.md lists the commands of qemu-storage-daemon that are left out, and no others",
  async () => {
    await using theirs = await Side.theirs();
    await using ours = await Side.ours();
    const have = new Set(await commandsOf(ours));
    const missing = (await commandsOf(theirs)).filter((name) => !have.has(name));
    const [, section = ""] = (await readFile(DOCUMENT, "utf8")).split(HEADING);
    const rows = section.split("\n").filter((line) => line.startsWith("| `"));
    const listed = rows.flatMap((row) => row.split("|")[1]?.match(/[a-z][\w-]+/gu) ?? []);
    expect(listed.toSorted()).toEqual(missing.toSorted());
  },
);
