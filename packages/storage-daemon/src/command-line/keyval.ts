import type { JsonObject, JsonValue } from "@blockmirror/qmp";
import { JsonReader, isJsonObject } from "@blockmirror/qmp";
import { UsageError } from "./usage-error.ts";

/** A value that is being put together: text, or members by name. */
type Draft = string | Map<string, Draft>;

const KEY = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

/**
 * Reads an option's value as qemu-storage-daemon does: `key=value,key2.sub=value`, where a comma inside of a value is
 * doubled, members of members follow a dot and items of lists are numbered; or a JSON object.
 *
 * @param implicitKey the key that the first value has when it comes without one.
 * @returns with keys and values, everything is text; {@link coerce} gives it the types of a schema.
 * @throws UsageError
 */
export function parseKeyval(
  text: string,
  implicitKey?: string,
): { readonly value: JsonObject; readonly isText: boolean } {
  if (text.startsWith("{")) return { value: parseObject(text), isText: false };
  const root = new Map<string, Draft>();
  splitPairs(text).forEach((pair, index) => {
    const equals = pair.indexOf("=");
    if (equals < 0) {
      if (index > 0 || implicitKey === undefined)
        throw new UsageError(`Expected '=' after parameter '${pair}'`);
      insert(root, implicitKey, pair);
    } else {
      insert(root, pair.slice(0, equals), pair.slice(equals + 1));
    }
  });
  return { value: finishMembers(root), isText: true };
}

function parseObject(text: string): JsonObject {
  const reader = new JsonReader();
  const [first, ...rest] = reader.push(Buffer.from(text));
  if (first === undefined || rest.length > 0 || reader.isInsideMessage) {
    throw new UsageError(`Not one JSON object: ${text}`);
  }
  if (first.kind === "error") throw new UsageError(first.message);
  if (!isJsonObject(first.value)) throw new UsageError(`Not a JSON object: ${text}`);
  return first.value;
}

/** Cuts at single commas; two are one that belongs to the value. */
function splitPairs(text: string): string[] {
  const pairs: string[] = [];
  let pair = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? "";
    if (character !== ",") {
      pair += character;
    } else if (text[at + 1] === ",") {
      pair += ",";
      at += 1;
    } else {
      pairs.push(pair);
      pair = "";
    }
  }
  if (pair !== "" || pairs.length === 0) pairs.push(pair);
  return pairs;
}

function insert(root: Map<string, Draft>, key: string, value: string): void {
  if (!KEY.test(key)) throw new UsageError(`Invalid parameter '${key}'`);
  const path = key.split(".");
  const last = path.pop() ?? "";
  let at = root;
  for (const name of path) {
    const next = at.get(name) ?? new Map<string, Draft>();
    if (typeof next === "string") throw new UsageError(`Parameters '${name}.*' used inconsistently`);
    at.set(name, next);
    at = next;
  }
  if (at.get(last) instanceof Map) throw new UsageError(`Parameters '${key}.*' used inconsistently`);
  at.set(last, value); // the last one counts
}

function finishMembers(draft: Map<string, Draft>): JsonObject {
  return Object.fromEntries([...draft].map(([name, value]) => [name, finish(name, value)]));
}

function finish(name: string, draft: Draft): JsonValue {
  if (typeof draft === "string") return draft;
  const names = [...draft.keys()];
  if (!names.every((each) => /^[0-9]+$/.test(each))) return finishMembers(draft);
  return names.map((_each, index) => {
    const item = draft.get(String(index));
    if (item === undefined) throw new UsageError(`Parameter '${name}.${index}' is missing`);
    return finish(`${name}.${index}`, item);
  });
}
