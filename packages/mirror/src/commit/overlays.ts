import { BlockError, skipFilters, type BlockNode, type NamedBacking } from "@blockmirror/block-driver";

/** The images that stand on `node`, directly or over filters. */
export function overlaysOf(node: BlockNode): readonly BlockNode[] {
  return [...node.parents].flatMap(({ owner, role }) => {
    if (owner === undefined) return [];
    return role === "backing" ? [owner] : role === "filtered" ? overlaysOf(owner) : [];
  });
}

/**
 * What the overlays of a folded layer record from then on: the base, under `name` or the name by which it was opened.
 * Undefined when none of them records anything.
 * @throws BlockError `ENOTSUP` for an overlay whose record cannot be changed, `EINVAL` when the base has no name.
 */
export function recordFor(
  overlays: readonly BlockNode[],
  base: BlockNode,
  name: string | undefined,
): NamedBacking | undefined {
  const recording = overlays.filter(
    ({ device, info }) =>
      device.changeBackingFile !== undefined || info.namedBacking !== undefined || info.readOnly,
  );
  const [first] = recording;
  if (first === undefined) return undefined;
  for (const overlay of recording) {
    if (overlay.info.readOnly || overlay.device.changeBackingFile !== undefined) continue;
    throw new BlockError(
      "ENOTSUP",
      `the image of node '${overlay.name}' records its backing file, and its driver '${overlay.info.driver}' cannot change that`,
      { node: overlay.name, operation: "commit" },
    );
  }
  const filename = name ?? base.info.filename;
  if (filename === undefined) {
    throw new BlockError(
      "EINVAL",
      `node '${base.name}' has no file name that '${first.name}' could record as its backing file; give one as backingFile`,
      { node: base.name, operation: "commit" },
    );
  }
  return { filename, format: skipFilters(base).info.driver };
}
