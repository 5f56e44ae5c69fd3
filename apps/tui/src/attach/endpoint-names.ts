import { basename, dirname } from "node:path";

/** File names that say nothing about whose socket it is. */
const GENERIC = /^(monitor|qmp|qmp-monitor|qmp-socket|control|socket|sock)$/u;

/**
 * Short names for sockets, all different and without a slash: the file's name without its ending, the directory's where
 * the file is just called `monitor.sock`, and the whole address where that would name two the same.
 */
export function endpointNames(addresses: readonly string[]): readonly string[] {
  const short = addresses.map(shortName);
  return short.map((name, index) => {
    const alone = short.every((other, at) => at === index || other !== name);
    return alone ? name : (addresses[index] ?? name).replaceAll("/", "_").replace(/^_/u, "");
  });
}

function shortName(address: string): string {
  if (!address.startsWith("/") && !address.includes("/"))
    return address.replace(/\.(sock|socket|qmp|monitor)$/u, "");
  const stem = basename(address).replace(/\.(sock|socket|qmp|monitor)$/u, "");
  return GENERIC.test(stem) ? basename(dirname(address)) : stem;
}
