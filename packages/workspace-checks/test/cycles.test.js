import assert from "node:assert/strict";
import { test } from "node:test";

import { findCycles } from "../src/cycles.js";

test("a graph without a circle has none, however its branches meet", () => {
  const edges = new Map([
    ["a", ["b", "c"]],
    ["b", ["d"]],
    ["c", ["d"]],
    ["d", []],
  ]);
  assert.deepEqual(findCycles(edges), []);
});

test("a circle is told by the way round, without the way to it", () => {
  const edges = new Map([
    ["entry", ["a"]],
    ["a", ["b"]],
    ["b", ["c"]],
    ["c", ["a"]],
  ]);
  assert.deepEqual(findCycles(edges), [["a", "b", "c", "a"]]);
});

test("one that depends on itself, and separate circles, are each told", () => {
  const edges = new Map([
    ["self", ["self"]],
    ["x", ["y"]],
    ["y", ["x"]],
  ]);
  assert.deepEqual(findCycles(edges), [
    ["self", "self"],
    ["x", "y", "x"],
  ]);
});

test("a name that is only pointed at is a leaf", () => {
  assert.deepEqual(findCycles(new Map([["a", ["elsewhere"]]])), []);
});
