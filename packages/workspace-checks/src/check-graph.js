#!/usr/bin/env node
// Checks that dependencies point down, that there is no circle, and that `exports` is the wall between packages.
// Usage: node packages/workspace-checks/src/check-graph.js [ROOT]
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

import {
  checkFileCycles,
  checkImports,
  checkLockFile,
  checkManifests,
  checkPackageCycles,
  checkReferences,
} from "./graph-rules.js";
import { LAYERS } from "./layers.js";
import { readWorkspace } from "./workspace.js";

const root = resolve(process.argv[2] ?? fileURLToPath(new URL("../../..", import.meta.url)));
const packages = readWorkspace(root);
const problems = [
  ...checkManifests(packages, LAYERS),
  ...checkPackageCycles(packages),
  ...checkReferences(packages),
  ...checkImports(packages, root),
  ...checkFileCycles(packages, root),
  ...checkLockFile(packages, root),
];

for (const problem of problems) console.error(problem);
if (packages.length === 0) problems.push(`${root}: no packages found`);
console.error(`check-graph: ${packages.length} packages, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
