import { isJsonObject, type JsonObject, type JsonValue } from "../json/value.ts";
import type { QmpAnyEvent, QmpGreeting } from "../message.ts";

function integer(value: JsonValue | undefined): number {
  return typeof value === "number" ? value : -1;
}

/** Reads the greeting, or answers `undefined` if it is none. */
export function readGreeting(message: JsonObject): QmpGreeting | undefined {
  const body = message["QMP"];
  if (!isJsonObject(body)) return undefined;
  const version = body["version"];
  const qemu = isJsonObject(version) ? version["qemu"] : undefined;
  if (!isJsonObject(version) || !isJsonObject(qemu)) return undefined;
  const capabilities = body["capabilities"];
  const names: readonly JsonValue[] = Array.isArray(capabilities) ? capabilities : [];
  return {
    version: {
      qemu: { major: integer(qemu["major"]), minor: integer(qemu["minor"]), micro: integer(qemu["micro"]) },
      package: typeof version["package"] === "string" ? version["package"] : "",
    },
    // Capabilities may get parameters one day and then be objects: those are not known here.
    capabilities: names.filter((name) => typeof name === "string"),
  };
}

/** Reads an event; what the server left out is filled in. */
export function readEvent(message: JsonObject, name: string): QmpAnyEvent {
  const data = message["data"];
  const timestamp = message["timestamp"];
  const at = isJsonObject(timestamp) ? timestamp : {};
  return {
    event: name,
    data: isJsonObject(data) ? data : {},
    timestamp: { seconds: integer(at["seconds"]), microseconds: integer(at["microseconds"]) },
  };
}
