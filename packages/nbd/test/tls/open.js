// Opens an export with the options of the first argument, and prints "opened", or why not.
import { BlockGraph, DriverRegistry } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd";

const graph = new BlockGraph({ registry: new DriverRegistry().register(nbdDriver) });
try {
  await graph.open({ driver: "nbd", ...JSON.parse(process.argv[2] ?? "{}") });
  process.stdout.write("opened");
} catch (error) {
  process.stdout.write(String(error));
}
await graph.closeAll();
