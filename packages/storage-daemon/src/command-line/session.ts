import { isJsonObject, validateArguments, type JsonObject } from "@blockmirror/qmp";
import type { Daemon } from "../daemon.ts";
import { Chardev } from "../monitors/chardev.ts";
import type { CommandLineOption } from "./arguments.ts";
import { parseChardev } from "./chardev-option.ts";
import { coerce } from "./coerce.ts";
import { parseKeyval } from "./keyval.ts";
import { parseMonitor } from "./monitor-option.ts";
import { PidFile } from "./pid-file.ts";
import { UsageError } from "./usage-error.ts";

/** What a command line has made so far: options refer to what those before them defined. */
export class CommandLineSession {
  readonly daemon: Daemon;
  readonly #chardevs: Map<string, Chardev> = new Map();
  #pidFilePath: string | undefined;
  #pidFile: PidFile | undefined;

  constructor(daemon: Daemon) {
    this.daemon = daemon;
  }

  /** Carries out one option. @throws UsageError, QmpError, BlockError, or what the system refuses. */
  async apply(option: CommandLineOption): Promise<void> {
    switch (option.name) {
      case "blockdev":
        await this.daemon.nodes.add(this.#typed("BlockdevOptions", option.value, "driver"));
        break;
      case "chardev":
        this.#addChardev(option.value);
        break;
      case "monitor":
        await this.#addMonitor(option.value);
        break;
      case "pidfile":
        this.#pidFilePath = option.value;
        break;
      case "nbd-server":
      case "export":
      case "object":
        throw new UsageError(`Option '--${option.name}' is not supported by this version`);
      case "trace":
      case "daemonize":
      case "help":
      case "version":
        break; // not the session's business
    }
  }

  /** Everything listens: says so in the pid file. */
  ready(): void {
    if (this.#pidFilePath !== undefined) this.#pidFile = PidFile.write(this.#pidFilePath);
  }

  /** Ends everything in order. */
  async close(): Promise<void> {
    for (const chardev of this.#chardevs.values()) chardev.close();
    try {
      await this.daemon.close();
    } finally {
      this.#pidFile?.remove();
    }
  }

  /** Reads and checks a value by the table that also checks QMP's arguments. */
  #typed(type: string, text: string, implicitKey: string): JsonObject {
    const { schema } = this.daemon.commands;
    const { value, isText } = parseKeyval(text, implicitKey);
    const typed = isText ? coerce(schema, type, value) : value;
    if (!isJsonObject(typed)) throw new UsageError(`Not an object: ${text}`);
    validateArguments(schema, type, typed);
    return typed;
  }

  #addChardev(text: string): void {
    const { id, options } = parseChardev(text);
    if (this.#chardevs.has(id)) throw new UsageError(`chardev: id '${id}' is in use already`);
    this.#chardevs.set(id, new Chardev(options));
  }

  async #addMonitor(text: string): Promise<void> {
    const { chardev: id, pretty } = parseMonitor(text);
    const chardev = this.#chardevs.get(id);
    if (chardev === undefined)
      throw new UsageError(`monitor: chardev '${id}' is not found; define it before`);
    if (chardev.isTaken) throw new UsageError(`monitor: chardev '${id}' is used by another monitor`);
    await chardev.open((stream) => this.daemon.attachMonitor(stream, { pretty }));
  }
}
