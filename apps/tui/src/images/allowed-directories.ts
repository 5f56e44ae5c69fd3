import { directoryGate, type OpenGate } from "@blockmirror/block-driver";

/** Opens what an image names in its own directory and below `allowed`, which are what `--allow-backing` was given. */
export function gateFor(allowed: readonly string[]): OpenGate {
  return directoryGate(allowed, "allow its directory with --allow-backing DIRECTORY");
}
