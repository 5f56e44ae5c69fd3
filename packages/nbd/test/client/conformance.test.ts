import { conformanceCases, type ConformanceSubject } from "@blockmirror/block-driver/conformance";
import { lacksPeers, nbdkit, type PeerServer, qemuNbd } from "@blockmirror/peers";
import { describe, test } from "vitest";
import { nbdRegistry } from "./support/devices.ts";

function served(name: string, start: (size: number) => Promise<PeerServer>): ConformanceSubject {
  return {
    name,
    registry: nbdRegistry,
    features: { persistent: true },
    storage: async (size) => {
      const server = await start(size);
      return { spec: { driver: "nbd", uri: server.uri }, dispose: () => server.stop() };
    },
  };
}

const subjects = [
  served("nbd to qemu-nbd of a raw image", (size) => qemuNbd("raw", size)),
  served("nbd to nbdkit with a block size of 512", (size) =>
    nbdkit(
      "--filter=blocksize-policy",
      "memory",
      String(size),
      "blocksize-minimum=512",
      "blocksize-error-policy=error",
    ),
  ),
];

if (!lacksPeers("qemu-nbd", "qemu-img", "nbdkit")) {
  for (const subject of subjects) {
    const cases = await conformanceCases(subject);
    describe(subject.name, () => {
      for (const { name, run } of cases) test(name, run);
    });
  }
} else {
  test.skip("needs qemu-nbd, qemu-img and nbdkit", () => undefined);
}
