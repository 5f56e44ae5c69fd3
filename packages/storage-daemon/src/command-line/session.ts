import { isJsonObject, type JsonObject, type Members, type TypeRef } from "@blockmirror/qmp";
import type { Daemon } from "../daemon.ts";
import { Chardev } from "../monitors/chardev.ts";
import type { CommandLineOption } from "./arguments.ts";
import { parseChardev } from "./chardev-option.ts";
import { coerce } from "./coerce.ts";
import { parseKeyval } from "./keyval.ts";
import { parseMonitor } from "./monitor-option.ts";
import { PidFile } from "./pid-file.ts";
import { UsageError } from "./usage-error.ts";

/** Parameters of `--nbd-server`. */
const NBD_SERVER: Members = {
  addr: "SocketAddress",
  "tls-creds?": "str",
  "tls-authz?": "str",
  "max-connections?": "uint32",
};

/** What a command line has made so far: options refer to what those before them defined. */
export class CommandLineSession {
  readonly daemon: Daemon;
  readonly #chardevs: Map<string, Chardev> = new Map();
  #pidFilePath: string | undefined;
  #pidFile: PidFile | undefined;
  readonly #report: (error: unknown) => void;
  #isClosing = false;

  /** @param report told of what goes wrong while nobody waits for an answer. */
  constructor(daemon: Daemon, report: (error: unknown) => void) {
    this.daemon = daemon;
    this.#report = report;
  }

  /** Carries out one option. @throws UsageError, QmpError, BlockError, or what the system refuses. */
  async apply(option: CommandLineOption): Promise<void> {
    switch (option.name) {
      case "blockdev":
        await this.#execute("blockdev-add", option.value, "driver");
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
        await this.#startNbdServer(option.value);
        break;
      case "export":
        await this.#execute("block-export-add", option.value, "type");
        break;
      case "object":
        await this.#execute("object-add", option.value, "qom-type");
        break;
      case "trace":
      case "daemonize":
      case "help":
      case "version":
        break; // not the session's business
    }
  }

  /** Whether {@link close} was called. */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Everything listens: says so in the pid file. */
  ready(): void {
    if (this.#pidFilePath !== undefined) this.#pidFile = PidFile.write(this.#pidFilePath);
  }

  /** Ends everything in order. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const chardev of this.#chardevs.values()) chardev.close();
    try {
      await this.daemon.close();
    } finally {
      this.#pidFile?.remove();
    }
  }

  /** Carries a value out as the arguments of a command: the same table checks it, the same code does it. */
  async #execute(command: string, text: string, implicitKey: string): Promise<void> {
    const type = this.daemon.commands.schema.commands[command]?.arguments ?? {};
    await this.#run(command, this.#read(type, text, implicitKey));
  }

  /** The address stands here without the wrapping that the command has. */
  async #startNbdServer(text: string): Promise<void> {
    const { addr, ...others } = this.#read(NBD_SERVER, text);
    if (!isJsonObject(addr)) throw new UsageError("nbd-server: parameter 'addr' is missing");
    const { type, ...data } = addr;
    await this.#run("nbd-server-start", { ...others, addr: { type, data } });
  }

  async #run(command: string, args: JsonObject): Promise<void> {
    const run = this.daemon.commands.prepare(command, args, false);
    await run({ signal: new AbortController().signal });
  }

  #read(type: TypeRef | Members, text: string, implicitKey?: string): JsonObject {
    const { value, isText } = parseKeyval(text, implicitKey);
    const typed = isText ? coerce(this.daemon.commands.schema, type, value) : value;
    if (!isJsonObject(typed)) throw new UsageError(`Not an object: ${text}`);
    return typed;
  }

  #addChardev(text: string): void {
    const { id, options } = parseChardev(text);
    if (this.#chardevs.has(id)) throw new UsageError(`chardev: id '${id}' is in use already`);
    const onUnreachable = (cause: unknown): void => {
      const why = cause instanceof Error ? cause.message : String(cause);
      this.#report(new Error(`chardev '${id}' cannot connect, and tries again: ${why}`, { cause }));
    };
    this.#chardevs.set(id, new Chardev(options, onUnreachable));
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
