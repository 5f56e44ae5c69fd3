import type { ImplicitReference } from "../../contract/driver.ts";
import { BlockError } from "../../errors.ts";

/** Formats that a `json:` name may say; everything else in there could reach anything. */
const JSON_FORMATS: ReadonlySet<string> = new Set(["raw", "qcow2"]);

/** What such a name may say at all, as dotted keys. */
const KNOWN_KEYS: ReadonlySet<string> = new Set(["driver", "file.driver", "file.filename"]);

/**
 * A name that an image records, as something a gate can judge. Names that start with `json:` describe a node; of these
 * only a raw or qcow2 image in a plain file is understood, and means the same as the file's name with that format.
 * @throws BlockError `BLK_DENIED` for any other `json:` name.
 */
export function implicitReference(
  name: string,
  format: string | undefined,
  label: string,
): ImplicitReference {
  if (!name.startsWith("json:")) return format === undefined ? { name } : { name, format };
  const found = parseJsonName(name.slice("json:".length));
  if (found === undefined) {
    throw new BlockError(
      "BLK_DENIED",
      `${label}: a name inside the image begins with json: and describes more than a raw or qcow2 image in a file`,
      { node: label, operation: "open" },
    );
  }
  return found;
}

function parseJsonName(text: string): ImplicitReference | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const flat = flatten(value);
  if (flat === undefined) return undefined;
  const format = flat.get("driver");
  const name = flat.get("file.filename");
  const fileDriver = flat.get("file.driver") ?? "file";
  if (fileDriver !== "file" || ![...flat.keys()].every((key) => KNOWN_KEYS.has(key))) return undefined;
  if (typeof format !== "string" || typeof name !== "string" || !JSON_FORMATS.has(format)) return undefined;
  // A path in a description is a path, whatever it looks like.
  return { name: name.startsWith("/") ? name : `./${name}`, format };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Nested objects as dotted keys; undefined when something is deeper than a file's options or named twice. */
function flatten(value: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> | undefined {
  const flat = new Map<string, unknown>();
  const entries = Object.entries(value).flatMap(([key, member]): [string, unknown][] =>
    isRecord(member)
      ? Object.entries(member).map(([inner, each]) => [`${key}.${inner}`, each])
      : [[key, member]],
  );
  for (const [key, member] of entries) {
    if (flat.has(key) || isRecord(member)) return undefined;
    flat.set(key, member);
  }
  return flat;
}
