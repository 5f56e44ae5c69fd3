import { concurrencyCases } from "./concurrency-cases.ts";
import { contractCases } from "./contract-cases.ts";
import { faultCases } from "./fault-cases.ts";
import { modelCases } from "./model-cases.ts";
import { statusCases } from "./status-cases.ts";
import {
  DEFAULT_SIZE,
  Specimen,
  withStorage,
  type ConformanceCase,
  type ConformanceStorage,
  type ConformanceSubject,
} from "./subject.ts";

/**
 * Every case that the subject has to pass: chosen by what its device announces, so that nothing is skipped and nothing
 * runs that does not apply. Opens the subject once to find out.
 *
 * @throws RangeError for a size below 64 KiB, and whatever opening the subject throws.
 */
export async function conformanceCases(subject: ConformanceSubject): Promise<readonly ConformanceCase[]> {
  const size = subject.size ?? DEFAULT_SIZE;
  if (!(Number.isSafeInteger(size) && size >= 65_536)) {
    throw new RangeError(`the size of a conformance subject is at least 65536 bytes, not ${size}`);
  }
  const cases: ConformanceCase[] = [];
  await withStorage(subject, async (storage) => {
    const specimen = await Specimen.open(subject, storage);
    const { info } = specimen.node;
    await specimen.close();
    cases.push(
      ...contractCases(subject, info.can.write && !info.readOnly),
      ...modelCases(subject, info),
      ...statusCases(subject, info),
      ...concurrencyCases(subject, info),
      ...(hasFile(subject, storage) ? faultCases(subject, info) : []),
    );
  });
  return cases.map(({ name, run }) => ({ name: `${subject.name}: ${name}`, run }));
}

function hasFile(subject: ConformanceSubject, storage: ConformanceStorage): boolean {
  const { file } = storage.spec;
  return subject.features?.faults !== false && typeof file === "object" && file !== null;
}
