import { PassThrough, Writable } from "node:stream";
import headless from "@xterm/headless";

/** The visible part of an xterm screen as text, one string per row, trailing blanks cut. */
export function readScreen(terminal: InstanceType<typeof headless.Terminal>): string {
  const buffer = terminal.buffer.active;
  const lines = Array.from({ length: terminal.rows }, (_, row) => {
    const line = buffer.getLine(buffer.viewportY + row);
    return line?.translateToString(true) ?? "";
  });
  return lines.join("\n");
}

/**
 * A terminal without a process: the streams ink needs, drawn into an xterm screen model. What a test reads is what a
 * person would see, not what happened to be written.
 */
export class FakeTerminal {
  readonly stdout: Writable & { columns: number; rows: number; isTTY: boolean };
  readonly stdin: PassThrough & {
    isTTY: boolean;
    setRawMode: (mode: boolean) => unknown;
    ref: () => void;
    unref: () => void;
  };
  readonly model: InstanceType<typeof headless.Terminal>;
  /** Everything ever written. */
  written = "";
  rawMode = false;
  /** What had been written when the terminal first stopped writing typed keys by itself. */
  writtenWithEcho: string | undefined;

  constructor(columns: number, rows: number) {
    this.model = new headless.Terminal({ cols: columns, rows, allowProposedApi: true });
    const write = (text: string, done: () => void): void => {
      this.written += text;
      // The line discipline of a real terminal turns line feeds into line starts.
      this.model.write(text.replace(/(?<!\r)\n/gu, "\r\n"), done);
    };
    const stdout = new Writable({
      decodeStrings: false,
      write: (chunk: string | Buffer, _encoding, done) => {
        write(chunk.toString(), done);
      },
    });
    this.stdout = Object.assign(stdout, { columns, rows, isTTY: true });
    this.stdin = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (mode: boolean) => {
        this.rawMode = mode;
        if (mode) this.writtenWithEcho ??= this.written;
      },
      ref: () => {},
      unref: () => {},
    });
  }

  screen(): string {
    return readScreen(this.model);
  }

  resize(columns: number, rows: number): void {
    this.model.resize(columns, rows);
    Object.assign(this.stdout, { columns, rows });
    this.stdout.emit("resize");
  }
}
