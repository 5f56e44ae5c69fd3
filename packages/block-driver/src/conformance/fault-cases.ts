import assert from "node:assert/strict";
import { inspect } from "node:util";
import type { DeviceInfo } from "../contract/device.ts";
import type { DeviceSpec } from "../contract/options.ts";
import { createDefaultRegistry } from "../default-registry.ts";
import { FaultController } from "../drivers/fault/fault-controller.ts";
import { faultDriver } from "../drivers/fault/fault-driver.ts";
import type { FaultRule } from "../drivers/fault/rules.ts";
import { BlockError } from "../errors.ts";
import { ContentModel } from "./content-model.ts";
import { randomOperation, type Operation } from "./operations.ts";
import { Random } from "./random.ts";
import {
  caught,
  seeded,
  seedOf,
  Specimen,
  withStorage,
  type ConformanceCase,
  type ConformanceStorage,
  type ConformanceSubject,
} from "./subject.ts";

const SCRIPT_LENGTH = 24;
/** No script causes so many requests below; a driver that does has run away. */
const MOST_REQUESTS = 2000;

/** How the child fails: once, for want of space, after a part has been transferred, or from then on for ever. */
const FAILURES: readonly FaultRule[] = [
  { error: "EIO" },
  { error: "ENOSPC" },
  { error: "EIO", transferred: 100 },
  { error: "EIO", times: 0 },
];

/** Cases that fail the requests to the `file` child one after another. */
export function faultCases(subject: ConformanceSubject, info: DeviceInfo): readonly ConformanceCase[] {
  const seed = seedOf(subject);
  const opening: ConformanceCase = {
    name: "faults: an opening that fails leaves nothing open",
    run: () => openings(subject),
  };
  if (!info.can.write || info.readOnly) return [opening];
  return [
    opening,
    {
      name: "faults: whichever request below fails, content stays right or the node refuses",
      run: () => seeded(seed, () => everyRequest(subject, seed)),
    },
  ];
}

/** The spec with a fault filter between the image and its file. */
function disturb(spec: DeviceSpec, controller: FaultController): DeviceSpec {
  return { ...spec, file: { driver: "fault", controller, file: spec["file"] } };
}

function withFaultDriver(subject: ConformanceSubject): ConformanceSubject {
  return {
    ...subject,
    registry: () => {
      const registry = (subject.registry ?? createDefaultRegistry)();
      return registry.has("fault") ? registry : registry.register(faultDriver);
    },
  };
}

const wasStruck = (controller: FaultController): boolean =>
  controller.log.some(({ outcome }) => outcome !== "passed");

async function openings(plain: ConformanceSubject): Promise<void> {
  const subject = withFaultDriver(plain);
  for (let nth = 1; nth < MOST_REQUESTS; nth += 1) {
    const controller = new FaultController({ rules: [{ nth, error: "EIO" }] });
    await withStorage(subject, async (storage) => {
      const open = Specimen.open(subject, storage, { change: (spec) => disturb(spec, controller) });
      const error = await caught(async () => (await open).close());
      assert.ok(error === undefined || error instanceof BlockError, `a BlockError, not ${inspect(error)}`);
      if (error === undefined) return;
      controller.clear();
      // A lock or a descriptor that was left behind would be in the way now.
      await (await Specimen.open(subject, storage)).close();
    });
    if (!wasStruck(controller)) return;
  }
  assert.fail(`opening causes more than ${MOST_REQUESTS} requests`);
}

async function everyRequest(plain: ConformanceSubject, seed: number): Promise<void> {
  const subject = withFaultDriver(plain);
  for (const failure of FAILURES) {
    for (let nth = 1; ; nth += 1) {
      assert.ok(nth < MOST_REQUESTS, `the script causes more than ${MOST_REQUESTS} requests`);
      const controller = new FaultController();
      try {
        await withStorage(subject, (storage) =>
          oneFailure(subject, storage, controller, { ...failure, nth }, seed),
        );
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        throw new Error(`request ${nth} below failed with ${failure.error}: ${text}`, { cause: error });
      }
      if (!wasStruck(controller)) break;
    }
  }
}

async function oneFailure(
  subject: ConformanceSubject,
  storage: ConformanceStorage,
  controller: FaultController,
  rule: FaultRule,
  seed: number,
): Promise<void> {
  const specimen = await Specimen.open(subject, storage, { change: (spec) => disturb(spec, controller) });
  const model = new ContentModel(await specimen.read(0, specimen.node.size));
  // What a flush has promised to keep, whatever fails afterwards.
  let durable = model.clone();
  let closed: unknown;
  try {
    controller.clearLog();
    controller.add(rule);
    const random = new Random(seed);
    for (let step = 0; step < SCRIPT_LENGTH; step += 1) {
      const { info } = specimen.node;
      const operation = randomOperation(random, info);
      const error = await perform(specimen, operation, model);
      operation.mayApply(durable, info);
      if (operation.text === "flush" && error === undefined) durable = model.clone();
    }
    controller.clear();
    const final = await caught(() => specimen.edge.flush());
    if (final === undefined) {
      durable = model.clone();
      model.check(0, await specimen.read(0, model.size), "the whole device afterwards");
    } else {
      requireFenced(final);
    }
  } finally {
    controller.clear();
    closed = await caught(() => specimen.close());
  }
  if (subject.features?.persistent !== true) return;
  const again = await Specimen.open(subject, storage);
  try {
    const content = await again.read(0, durable.size);
    durable.check(0, content, "what was flushed, after it was opened again");
    if (closed === undefined) model.check(0, content, "the whole device after it was opened again");
  } finally {
    await again.close();
  }
}

/** Runs an operation; one that fails leaves old bytes or its own, and the failure is one that the driver may report. */
async function perform(specimen: Specimen, operation: Operation, model: ContentModel): Promise<unknown> {
  const { info } = specimen.node;
  const error = await caught(() => operation.run(specimen));
  if (error === undefined) {
    operation.apply(model, info);
    return undefined;
  }
  assert.ok(error instanceof BlockError, `${operation.text} fails with a BlockError, not ${inspect(error)}`);
  if (error.code === "BLK_FENCED") return error;
  assert.ok(
    ["EIO", "ENOSPC"].includes(error.code),
    `${operation.text} fails as its file did, not with ${error.code}`,
  );
  operation.mayApply(model, info);
  return error;
}

function requireFenced(error: unknown): void {
  assert.ok(
    error instanceof BlockError && ["BLK_FENCED", "EIO"].includes(error.code),
    `a node that does not flush any more is fenced, not: ${String(error)}`,
  );
}
