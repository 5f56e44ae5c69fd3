import { describe, expect, test } from "vitest";

import { formatBytes, formatFigure, parseBytes } from "../src/format.ts";
import { formatTable } from "../src/report.ts";

describe("formatTable", () => {
  test("lines up figures, names the peer, and gives a verdict only where there is a bar", () => {
    const table = formatTable([
      {
        figure: "to READY",
        unit: "ms",
        ours: 400,
        peer: { name: "qemu", value: 1200 },
        bar: { on: "ratio", atLeast: 2.5 },
      },
      { figure: "whole process", unit: "ms", ours: 523.4, peer: { name: "dd", value: 400 } },
      { figure: "memory", unit: "MiB", ours: 141, bar: { on: "value", atMost: 130 } },
      { figure: "rate", unit: "MiB/s", ours: 200, bar: { on: "value", atLeast: 194, atMost: 206 } },
    ]);
    expect(table.split("\n")).toEqual([
      "figure              ours     peer         ratio  bar",
      "to READY          400 ms  1200 ms  qemu   3.00x  >= 2.50x          PASS",
      "whole process     523 ms   400 ms  dd    0.764x",
      "memory           141 MiB                         <= 130 MiB        miss",
      "rate           200 MiB/s                         194 to 206 MiB/s  PASS",
    ]);
  });
});

describe("figures", () => {
  test("have three significant digits and no exponent", () => {
    expect([0, 0.012_34, 1.234, 12.34, 123.4, 123_456].map((value) => formatFigure(value))).toEqual([
      "0",
      "0.012",
      "1.23",
      "12.3",
      "123",
      "123456",
    ]);
    expect(formatFigure(Number.NaN)).toBe("-");
  });
});

describe("sizes", () => {
  test("are read as the command line writes them", () => {
    expect(["512", "4k", "256M", "2G", "1T"].map((text) => parseBytes(text))).toEqual([
      512,
      4096,
      256 * 2 ** 20,
      2 * 2 ** 30,
      2 ** 40,
    ]);
  });

  test.each(["", "M", "1.5G", "-1", "2GB", "1 G", "99999999T"])("refuses %j", (text) => {
    expect(() => parseBytes(text)).toThrow(RangeError);
  });

  test("are written in binary units", () => {
    expect([0, 1023, 1536, 2 * 2 ** 30, 2 ** 50].map((bytes) => formatBytes(bytes))).toEqual([
      "0 B",
      "1023 B",
      "1.5 KiB",
      "2 GiB",
      "1024 TiB",
    ]);
  });
});
