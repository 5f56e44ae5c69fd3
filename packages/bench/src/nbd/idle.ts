import { join } from "node:path";

import { interleave, medianOf } from "../interleave.ts";
import { residentBytes } from "../process/peak-memory.ts";
import { QemuNbd } from "../process/qemu-nbd.ts";
import { ServeProcess } from "../process/serve-process.ts";
import { writeFullImage } from "../raw/images.ts";
import type { Scenario } from "../scenario.ts";
import { IdleClient } from "./idle-client.ts";

const MiB = 2 ** 20;
const CLIENTS = 64;
/** What each has read: enough for a server to have had buffers for it. */
const READ_BYTES: number = 256 * 1024;

interface Server {
  readonly pid: number;
  readonly socketPath: string;
  stop(): void | Promise<void>;
}

/** MiB by which a server grows for each client that has read and is idle now. */
async function growthPerClient(server: Server): Promise<number> {
  const clients: IdleClient[] = [];
  const connect = async (): Promise<void> => {
    clients.push(await IdleClient.connect(server.socketPath, READ_BYTES));
  };
  try {
    // The first one brings in code and memory that are needed once.
    await connect();
    const before = residentBytes(server.pid);
    for (let index = 0; index < CLIENTS; index += 1) await connect();
    const after = residentBytes(server.pid);
    if (before === undefined || after === undefined) {
      throw new Error("the memory of a process is only known on Linux");
    }
    return (after - before) / CLIENTS / MiB;
  } finally {
    for (const client of clients) client.close();
    await server.stop();
  }
}

/** Memory of a server for clients that do nothing. */
export const nbdIdle: Scenario = {
  name: "nbd/idle",
  title: `memory of a server for ${CLIENTS} idle connections`,
  needs: ["qemu-nbd"],

  async run({ directory, runs }) {
    const image = join(directory, "idle.raw");
    await writeFullImage(image, MiB);
    const results = await interleave(
      {
        ours: async () => growthPerClient(await ServeProcess.start(image, directory)),
        qemu: async () => growthPerClient(await QemuNbd.start(image, directory)),
      },
      { runs },
    );
    return [
      {
        figure: `resident size for each of ${CLIENTS} idle connections, at most 0.3 MiB`,
        unit: "MiB",
        ours: medianOf(results, "ours", (size) => size),
        peer: { name: "qemu-nbd", value: medianOf(results, "qemu", (size) => size) },
        bar: { on: "value", atMost: 0.3 },
      },
    ];
  },
};
