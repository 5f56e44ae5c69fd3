import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { exportOverNbd, qemuImg, runGuest } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

function file(side: Side, name: string): JsonObject {
  return { driver: "file", filename: side.path(name), "node-name": `f-${name}` };
}

/** `top` on `base`, and `other` with other content; the bottom ones are read-only. */
async function addChain(side: Side): Promise<void> {
  for (const [name, pattern] of [
    ["base", "0x11"],
    ["other", "0x22"],
  ] as const) {
    await qemuImg("create", "-q", "-f", "qcow2", side.path(name), "4M");
    await run(requirePeer("qemu-io"), ["-f", "qcow2", "-c", `write -P ${pattern} 0 64k`, side.path(name)]);
    const node = { driver: "qcow2", "node-name": name, file: file(side, name), "read-only": true };
    await side.run("blockdev-add", node);
  }
  await qemuImg("create", "-q", "-f", "qcow2", "-u", "-b", "base", "-F", "qcow2", side.path("top"), "4M");
  const top = { driver: "qcow2", "node-name": "top", file: file(side, "top"), backing: "base" };
  await side.run("blockdev-add", top);
}

const TOP = { driver: "qcow2", "node-name": "top", file: "f-top" };

async function state(side: Side): Promise<unknown> {
  const nodes = await side.client.execute("query-named-block-nodes", { flat: true });
  const top = nodes.find((node) => node["node-name"] === "top");
  return [top?.ro, top?.backing_file?.replace(side.directory, "DIR"), top?.backing_file_depth];
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "blockdev-reopen, as qemu-storage-daemon's",
  () => {
    it("changes what can be changed and refuses the rest", async () => {
      await compare(async (side) => {
        await addChain(side);
        const seen: unknown[] = [];
        const steps: readonly JsonObject[] = [
          {},
          { backing: "base" },
          { backing: "other" },
          { backing: null },
          { backing: "nosuch" },
          { backing: "other", "read-only": true },
          { backing: "base", "read-only": true },
          { backing: "base", driver: "raw", "read-only": true },
          { backing: { driver: "null-co" }, "read-only": true },
          { backing: "base", "node-name": "zz" },
          { backing: "base", "node-name": undefined },
          { backing: "top", "read-only": true },
        ];
        for (const step of steps)
          seen.push(
            step,
            await side.ask("blockdev-reopen", { options: [{ ...TOP, ...step }] }),
            await state(side),
          );
        const wrongName = {
          driver: "file",
          "node-name": "f-base",
          filename: side.path("other"),
          "read-only": true,
        };
        seen.push(await side.ask("blockdev-reopen", { options: [wrongName] }));
        return seen;
      });
    });

    it("takes a child that is described as before, after one that was named", async () => {
      await compare(async (side) => {
        await addChain(side);
        const described = { ...TOP, backing: "base", file: file(side, "top") };
        const other = { ...described, file: { ...file(side, "top"), filename: side.path("other") } };
        const seen: unknown[] = [];
        for (const node of [TOP, described, TOP, other, described]) {
          seen.push(await side.ask("blockdev-reopen", { options: [{ backing: "base", ...node }] }));
        }
        return seen;
      });
    });

    it("changes all nodes or none", async () => {
      await compare(async (side) => {
        await addChain(side);
        const detached = { ...TOP, backing: null };
        const bad = { driver: "qcow2", "node-name": "zz", file: "f-top" };
        return [await side.ask("blockdev-reopen", { options: [detached, bad] }), await state(side)];
      });
    });

    it("shows the content of the new backing node at once", async () => {
      await compare(async (side) => {
        await addChain(side);
        const uri = await exportOverNbd(side, "top");
        const read = (pattern: string): Promise<void> => runGuest(uri, [`read -P ${pattern} 0 64k`]);
        await read("0x11");
        await side.run("blockdev-reopen", { options: [{ ...TOP, backing: "other" }] });
        await read("0x22");
        await side.run("blockdev-reopen", { options: [{ ...TOP, backing: null }] });
        await read("0");
        return state(side);
      });
    });
  },
);

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "change-backing-file, as qemu-storage-daemon's",
  () => {
    it("is refused where there is no backing image, or no such node", async () => {
      await compare(async (side) => {
        await addChain(side);
        const change = { device: "top", "image-node-name": "top", "backing-file": "x" };
        return [
          await side.ask("change-backing-file", { ...change, "image-node-name": "base" }),
          await side.ask("change-backing-file", { ...change, "image-node-name": "nosuch" }),
          await side.ask("change-backing-file", { ...change, device: "nosuch" }),
          await side.ask("change-backing-file", { ...change, device: "base" }),
          await state(side),
        ];
      });
    });
  },
);
