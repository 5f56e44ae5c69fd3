import {
  BLOCK_SCHEMA,
  commandError,
  isJsonObject,
  validateArguments,
  type BlockCommands,
  type CommandHandlers,
  type JsonValue,
} from "@blockmirror/qmp";
import { changeGroup, describeGroup } from "../objects/throttle-groups.ts";
import type { DaemonParts } from "./daemon-parts.ts";

/** An object by its path: `id`, `objects/id` or `/objects/id`. */
const OBJECT_PATH = /^(?:\/?objects\/)?([^/]+)$/;

/** Limits by their old names, which can be read and not changed. */
const READ_ONLY_LIMIT = /^x-/;

/** Properties of objects: the type of each, and the limits of throttle groups. */
export function qomCommands({ objects }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "qom-get": ({ path, property }): JsonValue => {
      const { id, type } = find(path);
      if (property === "type") return type;
      if (type === "throttle-group") {
        const limits = describeGroup(objects.throttleGroup(id));
        if (property === "limits") return limits;
        const limit = READ_ONLY_LIMIT.test(property) ? limits[property.slice(2)] : undefined;
        if (limit !== undefined) return limit;
      }
      throw unknownProperty(type, property);
    },
    "qom-set": ({ path, property, value }) => {
      const { id, type } = find(path);
      if (property === "type") throw commandError(`Property '${type}.type' is not writable`);
      if (type !== "throttle-group") throw unknownProperty(type, property);
      const group = objects.throttleGroup(id);
      if (property === "limits") {
        validateArguments(BLOCK_SCHEMA, { limits: "ThrottleLimits" }, { limits: value });
        if (isJsonObject(value)) changeGroup(group, value);
        return;
      }
      const isLimit = READ_ONLY_LIMIT.test(property) && property.slice(2) in describeGroup(group);
      throw isLimit
        ? commandError("Property cannot be set after initialization")
        : unknownProperty(type, property);
    },
  };

  function find(path: string): { readonly id: string; readonly type: string } {
    const id = OBJECT_PATH.exec(path)?.[1] ?? "";
    const type = objects.typeOf(id);
    if (type === undefined) throw commandError(`Device '${path}' not found`, "DeviceNotFound");
    return { id, type };
  }
}

function unknownProperty(type: string, property: string): Error {
  return commandError(`Property '${type}.${property}' not found`);
}
