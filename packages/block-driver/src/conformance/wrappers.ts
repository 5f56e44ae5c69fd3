import type { DeviceSpec } from "../contract/options.ts";
import { createDefaultRegistry } from "../default-registry.ts";
import { PassThroughDevice } from "../io/pass-through.ts";
import { constrainedDriver, type ConstrainedOptions } from "./constrained-driver.ts";
import type { ConformanceSubject } from "./subject.ts";

/**
 * The subject again, seen through what the block layer may put around it: below a filter, and below formats that are
 * demanding (blocks of 512 and 4096 bytes, small and short vectors) or can do little. A driver that passes by itself
 * and fails here relies on how it is called.
 *
 * The size of the subject's disks must be a multiple of 4096 bytes.
 */
export function throughWrappers(subject: ConformanceSubject): readonly ConformanceSubject[] {
  const small = { transfer: 32_768, iovecs: 3, later: true };
  return [
    belowFilter(subject),
    below(subject, "in blocks of 512", { block: 512, later: true }),
    below(subject, "in blocks of 4096", { block: 4096, later: true }),
    below(subject, "in small requests", small),
    below(subject, "in small requests and blocks of 4096", { block: 4096, ...small }),
    below(subject, "with no more than write", { members: "write", later: true }),
    below(subject, "with the required members only", { members: "required" }),
  ];
}

function belowFilter(subject: ConformanceSubject): ConformanceSubject {
  const { wrap } = subject;
  return {
    ...subject,
    name: `${subject.name} below a filter`,
    async wrap(graph, node) {
      const top = wrap === undefined ? node : await wrap(graph, node);
      return graph.insertFilter(top, {
        nodeName: "conformance-filter",
        device: (child) => new PassThroughDevice("pass-through", child),
      });
    },
  };
}

function below(
  subject: ConformanceSubject,
  how: string,
  options: Partial<Omit<ConstrainedOptions, "file">>,
): ConformanceSubject {
  const over = (file: DeviceSpec): DeviceSpec => ({ driver: "constrained", ...options, file });
  return {
    ...subject,
    name: `${subject.name} ${how}`,
    registry: () => {
      const registry = (subject.registry ?? createDefaultRegistry)();
      return registry.has("constrained") ? registry : registry.register(constrainedDriver);
    },
    async storage(size) {
      const storage = await subject.storage(size);
      return { ...storage, spec: over(storage.spec) };
    },
  };
}
