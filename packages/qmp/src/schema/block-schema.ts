import { BLOCK_COMMANDS } from "./block-commands.ts";
import { BLOCK_EVENTS } from "./block-events.ts";
import type { QmpSchema } from "./definition.ts";
import { JOB_TYPES } from "./job-types.ts";
import { NODE_TYPES } from "./node-types.ts";
import type { CommandsOf, EventsOf, TypeOf } from "./type-of.ts";

/** The types of the block layer. */
export type BlockTypes = typeof NODE_TYPES & typeof JOB_TYPES;

/** The block layer's part of QMP as one table: types, commands and events. */
export interface BlockSchema extends QmpSchema {
  readonly types: BlockTypes;
  readonly commands: typeof BLOCK_COMMANDS;
  readonly events: typeof BLOCK_EVENTS;
}

/**
 * The one table from which everything follows: the TypeScript types of commands and events, the argument checks of a
 * server, and what it answers to `query-qmp-schema`.
 */
export const BLOCK_SCHEMA: BlockSchema = {
  types: { ...NODE_TYPES, ...JOB_TYPES },
  commands: BLOCK_COMMANDS,
  events: BLOCK_EVENTS,
};

/** The commands of {@link BLOCK_SCHEMA}, typed. */
export type BlockCommands = CommandsOf<BlockSchema>;

/** The events of {@link BLOCK_SCHEMA}, typed. */
export type BlockEvents = EventsOf<BlockSchema>;

/** A type of {@link BLOCK_SCHEMA} by its name: `BlockType<"BlockJobInfo">`. */
export type BlockType<Name extends keyof BlockTypes> = TypeOf<BlockTypes, Name>;
