import type { DriverRegistry } from "@blockmirror/block-driver";
import { BLOCK_SCHEMA, type QmpSchema } from "@blockmirror/qmp";
import { driverTypes } from "./driver-types.ts";
import { EXTRA_SCHEMA } from "./extra-schema.ts";

/** The schema of a daemon: the block layer's, with the drivers that it has, and the commands of its own. */
export function daemonSchema(registry: DriverRegistry): QmpSchema {
  return {
    types: { ...BLOCK_SCHEMA.types, ...EXTRA_SCHEMA.types, ...driverTypes(registry) },
    commands: { ...BLOCK_SCHEMA.commands, ...EXTRA_SCHEMA.commands },
    events: BLOCK_SCHEMA.events,
  };
}
