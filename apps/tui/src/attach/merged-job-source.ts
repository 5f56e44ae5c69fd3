import type {
  EndpointInfo,
  JobMap,
  JobSnapshot,
  JobSource,
  JobSourceEvent,
  JobVerb,
  NewJobOptions,
  NewJobRequest,
  NewJobReview,
  NoJobMap,
  PathPurpose,
  SyncMode,
  VerbPermission,
} from "../job-source/job-source.ts";

/** The endpoint's name, then this, then the job's id or the node's name there. */
const SEPARATOR = "/";

/**
 * Several job sources as one table. Ids and, in requests, node names carry their endpoint's name in front:
 * `vm1/mirror0`.
 */
export class MergedJobSource implements JobSource {
  readonly syncModes: readonly SyncMode[];
  readonly newJobOptions: NewJobOptions | undefined;
  readonly #sources: ReadonlyMap<string, JobSource>;

  /** @param sources - at least two, with endpoint names that differ and have no slash. */
  constructor(sources: readonly JobSource[]) {
    this.#sources = new Map(sources.map((source) => [source.endpoint.name, source]));
    if (this.#sources.size !== sources.length) throw new RangeError("two endpoints have the same name");
    const [first] = sources;
    this.syncModes = first?.syncModes ?? ["full"];
    this.newJobOptions = first?.newJobOptions;
  }

  /** Names what cannot be reached; it counts as reachable as long as something can be. */
  get endpoint(): EndpointInfo {
    const endpoints = Array.from(this.#sources.values(), ({ endpoint }) => endpoint);
    const missing = endpoints.filter(({ state }) => state !== "connected");
    const lost = missing.map(({ name, state }) => `${name} ${state.toUpperCase()}`).join(", ");
    const name = `${endpoints.length} endpoints`;
    const all = missing.length === endpoints.length;
    // What went in order is no news beside what is lost.
    const telling = missing.find(({ state }) => state !== "ended") ?? missing[0];
    return {
      name: missing.length === 0 || all ? name : `${name} (${lost})`,
      kind: "qmp",
      state: all ? (telling?.state ?? "dead") : "connected",
      ...(all && { problem: telling?.problem }),
    };
  }

  list(): readonly JobSnapshot[] {
    const jobs: JobSnapshot[] = [];
    for (const [name, source] of this.#sources) {
      for (const job of source.list()) jobs.push({ ...job, id: prefixed(name, job.id) });
    }
    return jobs.sort((one, other) => one.startedAtMs - other.startedAtMs);
  }

  subscribe(listener: (event: JobSourceEvent) => void): () => void {
    const ends = Array.from(this.#sources, ([name, source]) =>
      source.subscribe((event) => listener(withEndpoint(event, name))),
    );
    return () => {
      for (const end of ends) end();
    };
  }

  can(id: string, verb: JobVerb): VerbPermission {
    const found = this.#find(id);
    return found === undefined
      ? { allowed: false, reason: "no such job" }
      : found.source.can(found.rest, verb);
  }

  pause(id: string): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.pause(rest);
  }

  resume(id: string): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.resume(rest);
  }

  setSpeed(id: string, bytesPerSec: number): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.setSpeed(rest, bytesPerSec);
  }

  complete(id: string): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.complete(rest);
  }

  cancel(id: string, options: { readonly force: boolean }): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.cancel(rest, options);
  }

  finalize(id: string): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.finalize(rest);
  }

  dismiss(id: string): Promise<void> {
    const { source, rest } = this.#mustFind(id);
    return source.dismiss(rest);
  }

  map(id: string, cellCount: number, into?: JobMap): JobMap | NoJobMap | undefined {
    const found = this.#find(id);
    return found?.source.map?.(found.rest, cellCount, into);
  }

  async suggest(typed: string, purpose: PathPurpose): Promise<string | undefined> {
    const [first] = this.#sources.values();
    if (purpose !== "source") return first?.suggest?.(typed, purpose);
    const found = this.#find(typed);
    if (found !== undefined) return found.source.suggest?.(found.rest, purpose);
    const name = [...this.#sources.keys()].find((each) => each.startsWith(typed));
    return name === undefined ? undefined : `${name.slice(typed.length)}${SEPARATOR}`;
  }

  async validate(request: NewJobRequest): Promise<NewJobReview> {
    const found = this.#find(request.sourcePath);
    if (found === undefined) {
      const names = [...this.#sources.keys()].join(", ");
      const message = `write ENDPOINT${SEPARATOR}NODE; the endpoints are ${names}`;
      return { problems: [{ field: "sourcePath", message }] };
    }
    const { name, source, rest } = found;
    return (await source.validate?.(atEndpoint(request, name, rest))) ?? { problems: [] };
  }

  async start(request: NewJobRequest): Promise<string> {
    const { name, source, rest } = this.#mustFind(request.sourcePath);
    if (source.start === undefined) throw new Error(`${name} does not start jobs`);
    return prefixed(name, await source.start(atEndpoint(request, name, rest)));
  }

  #find(
    id: string,
  ): { readonly name: string; readonly source: JobSource; readonly rest: string } | undefined {
    const at = id.indexOf(SEPARATOR);
    const name = id.slice(0, Math.max(0, at));
    const source = this.#sources.get(name);
    return source === undefined ? undefined : { name, source, rest: id.slice(at + 1) };
  }

  #mustFind(id: string): { readonly name: string; readonly source: JobSource; readonly rest: string } {
    const found = this.#find(id);
    if (found === undefined) throw new Error(`no endpoint has '${id}'`);
    return found;
  }
}

function prefixed(endpoint: string, id: string): string {
  return `${endpoint}${SEPARATOR}${id}`;
}

/** A request in the words of its endpoint. The second node may be named with the endpoint or without: it is the same one. */
function atEndpoint(request: NewJobRequest, endpoint: string, node: string): NewJobRequest {
  const { replaces } = request;
  const own = `${endpoint}${SEPARATOR}`;
  return {
    ...request,
    sourcePath: node,
    ...(replaces?.startsWith(own) === true && { replaces: replaces.slice(own.length) }),
  };
}

function withEndpoint(event: JobSourceEvent, endpoint: string): JobSourceEvent {
  switch (event.event) {
    case "changed":
      return event;
    case "JOB_STATUS_CHANGE":
      return { ...event, data: { ...event.data, id: prefixed(endpoint, event.data.id) } };
    case "BLOCK_JOB_PENDING":
      return { ...event, data: { ...event.data, id: prefixed(endpoint, event.data.id) } };
    case "BLOCK_JOB_ERROR":
      return { ...event, data: { ...event.data, device: prefixed(endpoint, event.data.device) } };
    default:
      return { ...event, data: { ...event.data, device: prefixed(endpoint, event.data.device) } };
  }
}
