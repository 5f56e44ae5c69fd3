import path from "node:path";
import { realpath } from "node:fs/promises";
import type { ChildRole, ImplicitReference } from "../contract/driver.ts";
import type { ChildReference } from "../contract/options.ts";
import { BlockError } from "../errors.ts";
import type { BlockNode } from "./node.ts";

/** A name found inside an image, and everything a gate may want to know to judge it. */
export interface GateRequest {
  readonly reference: ImplicitReference;
  readonly role: ChildRole;
  /** Node name of the image that contains the name. */
  readonly parent: string;
  /** Path of that image, when it is a file. */
  readonly parentFilename?: string;
  /** The name as an absolute path, relative names resolved from the image's directory; absent when there is none. */
  readonly filename?: string;
  /** How many such names led here: 1 for the first backing file. */
  readonly depth: number;
  /** Whether the child would be opened for writing (a data file); backing files never are. */
  readonly writable: boolean;
}

/**
 * Decides on a name found inside an image: what to open for it, or a refusal with the reason. An image can come from
 * anywhere, so nothing it names is opened on its word alone.
 */
export type OpenGate = (request: GateRequest) => Promise<GateAnswer>;

/** What a gate answers. */
export type GateAnswer = { readonly allow: ChildReference } | { readonly deny: string };

/** Refuses every name: the default of the library. */
export const denyGate: OpenGate = (request) =>
  Promise.resolve({
    deny: `'${request.reference.name}' is named inside the image and no gate was given that allows it`,
  });

/**
 * Allows plain files in the directory of the image that names them, and below `directories`. Symbolic links are
 * resolved first, so a link out of the directory does not help; what is opened is the file that was found, even if
 * somebody changes a link meanwhile. A missing format is refused: it is never guessed.
 *
 * @param remedy what a refusal tells people to do about a file that lies elsewhere.
 */
export function directoryGate(
  directories: readonly string[] = [],
  remedy = "allow its directory explicitly",
): OpenGate {
  return async (request) => {
    if (request.filename === undefined) {
      return { deny: `'${request.reference.name}' is not a plain file name` };
    }
    if (request.reference.format === undefined && request.role === "backing") {
      return { deny: `the image does not record the format of '${request.reference.name}'; record it first` };
    }
    const file = await resolved(request.filename);
    const own = request.parentFilename === undefined ? [] : [path.dirname(request.parentFilename)];
    for (const directory of [...own, ...directories]) {
      const within = path.relative(await resolved(directory), file);
      if (
        within !== "" &&
        within !== ".." &&
        !within.startsWith(`..${path.sep}`) &&
        !path.isAbsolute(within)
      ) {
        return { allow: fileReference(file, request.reference.format, request.role) };
      }
    }
    return {
      deny: `'${request.reference.name}' lies outside the image's directory; ${remedy}`,
    };
  };
}

function fileReference(filename: string, format: string | undefined, role: ChildRole): ChildReference {
  const file = { driver: "file", filename, real: true };
  return role === "backing" ? { driver: format ?? "raw", file } : file;
}

/** The real path, or the path itself when it does not exist: opening it will say so. */
async function resolved(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch {
    return path.resolve(file);
  }
}

const MAX_IMPLICIT_DEPTH = 64;

/**
 * Asks the gate about a name found inside an image.
 * @throws BlockError `BLK_DENIED` with the gate's reason, `EINVAL` for a chain of names without end.
 */
export async function askGate(
  gate: OpenGate,
  image: BlockNode,
  asked: Pick<GateRequest, "reference" | "role" | "depth" | "writable">,
): Promise<ChildReference> {
  if (asked.depth > MAX_IMPLICIT_DEPTH) {
    throw new BlockError(
      "EINVAL",
      `the chain of images named inside images is longer than ${MAX_IMPLICIT_DEPTH}`,
      {
        node: image.name,
        operation: "open",
      },
    );
  }
  const parentFilename = image.child("file")?.info.filename;
  const filename = implicitFilename(asked.reference.name, parentFilename);
  const answer = await gate({
    ...asked,
    parent: image.name,
    ...(parentFilename !== undefined && { parentFilename }),
    ...(filename !== undefined && { filename }),
  });
  if ("allow" in answer) return answer.allow;
  const named = parentFilename ?? `node '${image.name}'`;
  throw new BlockError("BLK_DENIED", `the ${asked.role} file of ${named} was not opened: ${answer.deny}`, {
    node: image.name,
    operation: "open",
  });
}

/** The path a recorded name means: absolute, or relative to the directory of the image that records it. */
function implicitFilename(name: string, parentFilename: string | undefined): string | undefined {
  const plain = name.startsWith("file:") ? name.slice("file:".length) : name;
  const colon = plain.indexOf(":");
  const slash = plain.indexOf("/");
  if (colon >= 0 && (slash < 0 || colon < slash)) return undefined;
  if (path.isAbsolute(plain)) return plain;
  return parentFilename === undefined ? undefined : path.resolve(path.dirname(parentFilename), plain);
}
