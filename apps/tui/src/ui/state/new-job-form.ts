import { formatExactSize, parseSize, parseSpeed } from "../../format/bytes.ts";
import type {
  LargerTarget,
  NewJobBackingMode,
  NewJobCopyMode,
  NewJobErrorPolicy,
  NewJobFormat,
  NewJobOptions,
  NewJobProblem,
  NewJobRequest,
  SyncMode,
} from "../../job-source/job-source.ts";
import { editText, textField, type TextEdit, type TextField } from "./text-field.ts";

/** Fields of the form in their order; `start` is the button. */
export type FormField = keyof NewJobRequest | "start";

const FIELDS: readonly FormField[] = [
  "sourcePath",
  "targetPath",
  "sync",
  "bitmap",
  "existing",
  "targetFormat",
  "largerTarget",
  "backingMode",
  "replaces",
  "copyMode",
  "speed",
  "onSourceError",
  "onTargetError",
  "unmap",
  "detectZeroes",
  "granularity",
  "bufferSize",
  "id",
  "start",
];

type FormText =
  | "id"
  | "sourcePath"
  | "targetPath"
  | "bitmap"
  | "replaces"
  | "speed"
  | "granularity"
  | "bufferSize";

/** The choices of the form, each with what can be chosen. */
interface ChoiceValues {
  readonly sync: SyncMode;
  readonly existing: "no" | "yes";
  /** `by name`: as the target's name says, else as the source. */
  readonly targetFormat: "by name" | NewJobFormat;
  readonly copyMode: NewJobCopyMode;
  readonly largerTarget: LargerTarget;
  /** `usual` leaves it to the source, which goes by the sync mode. */
  readonly backingMode: "usual" | NewJobBackingMode;
  readonly onSourceError: NewJobErrorPolicy;
  readonly onTargetError: NewJobErrorPolicy;
  readonly unmap: "yes" | "no";
  readonly detectZeroes: "no" | "yes";
}

type FormChoice = keyof ChoiceValues;
type ChoiceOptions = { readonly [Field in FormChoice]: readonly ChoiceValues[Field][] };

const POLICIES: readonly NewJobErrorPolicy[] = ["report", "ignore", "stop", "enospc"];

/** The form of a new mirror job. */
export interface NewJobForm {
  readonly focus: FormField;
  readonly texts: Readonly<Record<FormText, TextField>>;
  readonly choices: ChoiceValues;
  /** What can be chosen; a choice without options is not shown. */
  readonly options: ChoiceOptions;
  /** Whether the field `replaces` is part of it. */
  readonly canReplace: boolean;
  /** Fields that were left once, or all after an attempt to start: only those complain. */
  readonly touched: ReadonlySet<FormField>;
  /** What the source found wrong. */
  readonly remote: readonly NewJobProblem[];
  /** How the focused text may go on: what the key to the right would add. */
  readonly suggestion: string;
  /** A start or a review is under way. */
  readonly busy: boolean;
}

const SMALLEST_GRANULARITY = 512;
const LARGEST_GRANULARITY = 64 * 2 ** 20;
const LARGEST_BUFFER = 2 ** 30;

/**
 * An empty form.
 * @param further - what the source understands beyond the sync modes; without it the form is short.
 */
export function newJobForm(syncModes: readonly SyncMode[], further?: NewJobOptions): NewJobForm {
  const policies = further === undefined ? [] : POLICIES;
  const backingModes = further?.backingModes ?? [];
  const formats = further?.formats ?? [];
  return {
    focus: "sourcePath",
    texts: {
      id: textField(),
      sourcePath: textField(),
      targetPath: textField(),
      bitmap: textField(),
      replaces: textField(),
      speed: textField(),
      granularity: textField(),
      bufferSize: textField(),
    },
    choices: {
      sync: syncModes[0] ?? "full",
      existing: "no",
      targetFormat: "by name",
      copyMode: further?.copyModes[0] ?? "background",
      largerTarget: further?.largerTargets[0] ?? "refuse",
      backingMode: "usual",
      onSourceError: "report",
      onTargetError: "report",
      unmap: "yes",
      detectZeroes: "no",
    },
    options: {
      sync: syncModes,
      existing: ["no", "yes"],
      targetFormat: formats.length > 0 ? ["by name", ...formats] : [],
      copyMode: further?.copyModes ?? [],
      largerTarget: further?.largerTargets ?? [],
      backingMode: backingModes.length > 0 ? ["usual", ...backingModes] : [],
      onSourceError: policies,
      onTargetError: policies,
      unmap: further?.unmap === true ? ["yes", "no"] : [],
      detectZeroes: further?.detectZeroes === true ? ["no", "yes"] : [],
    },
    canReplace: further?.replaces === true,
    touched: new Set(),
    remote: [],
    suggestion: "",
    busy: false,
  };
}

/** Whether a field takes typed text. */
export function isTextField(field: FormField): field is FormText {
  return field !== "start" && !isChoice(field);
}

const CHOICES: ReadonlySet<string> = new Set<FormChoice>([
  "sync",
  "existing",
  "targetFormat",
  "copyMode",
  "largerTarget",
  "backingMode",
  "onSourceError",
  "onTargetError",
  "unmap",
  "detectZeroes",
]);

/** Whether a field is a choice among words. */
export function isChoice(field: FormField): field is FormChoice {
  return CHOICES.has(field);
}

/** Whether a field is part of this form. */
export function isShown(form: NewJobForm, field: FormField): boolean {
  if (field === "bitmap") return form.choices.sync === "bitmap";
  if (field === "replaces") return form.canReplace;
  // An image that is there has its format, and one that is made the source's size.
  if (field === (form.choices.existing === "yes" ? "targetFormat" : "largerTarget")) return false;
  if (field === "bufferSize") return form.options.onSourceError.length > 0;
  return !isChoice(field) || form.options[field].length > 0;
}

/** The name a job gets when none is typed: from the source's file name, in the characters job ids may have. */
export function defaultJobId(sourcePath: string): string {
  const file = sourcePath.split(/[/\\]/u).at(-1) ?? "";
  const stem = file
    .replace(/\.[^.]*$/u, "")
    .replace(/[^A-Za-z0-9._-]+/gu, "-")
    .replace(/^-+|-+$/gu, "");
  return stem === "" ? "mirror" : `mirror-${stem}`;
}

/** Moves the focus; the field that is left counts as touched. */
export function moveFocus(form: NewJobForm, by: 1 | -1): NewJobForm {
  const fields = FIELDS.filter((field) => isShown(form, field));
  const index = fields.indexOf(form.focus);
  const focus = fields[(index + by + fields.length) % fields.length] ?? "sourcePath";
  return { ...form, focus, suggestion: "", touched: new Set([...form.touched, form.focus]) };
}

/** Applies typing to the focused field. What the source said about that field is out of date then. */
export function editForm(form: NewJobForm, edit: TextEdit): NewJobForm {
  const field = form.focus;
  if (!isTextField(field)) return form;
  const { text, cursor } = form.texts[field];
  const isAtEnd = cursor === text.length;
  const takes = form.suggestion !== "" && isAtEnd && (edit.kind === "right" || edit.kind === "end");
  const step: TextEdit = takes ? { kind: "insert", text: form.suggestion } : edit;
  return {
    ...form,
    texts: { ...form.texts, [field]: editText(form.texts[field], step) },
    suggestion: "",
    remote: form.remote.filter((problem) => problem.field !== undefined && problem.field !== field),
  };
}

/** Switches the focused choice to its next or previous value. */
export function cycleChoice(form: NewJobForm, by: 1 | -1): NewJobForm {
  const field = form.focus;
  if (!isChoice(field)) return form;
  return { ...form, choices: { ...form.choices, [field]: neighbour(form, field, by) }, remote: [] };
}

function neighbour<Field extends FormChoice>(
  { choices, options }: NewJobForm,
  field: Field,
  by: 1 | -1,
): ChoiceValues[Field] {
  const words = options[field];
  return words[(words.indexOf(choices[field]) + by + words.length) % words.length] ?? choices[field];
}

/** The form's content as a request, and what can be seen to be wrong without asking the source. */
export function readForm(form: NewJobForm): {
  readonly request: NewJobRequest;
  readonly problems: readonly NewJobProblem[];
} {
  const problems: NewJobProblem[] = [];
  const sourcePath = form.texts.sourcePath.text.trim();
  const targetPath = form.texts.targetPath.text.trim();
  if (sourcePath === "")
    problems.push({ field: "sourcePath", message: "write the path of the image to copy" });
  if (targetPath === "") problems.push({ field: "targetPath", message: "write the path of the copy" });
  else if (targetPath === sourcePath) {
    problems.push({ field: "targetPath", message: "the copy needs a path of its own" });
  }
  const bitmap = isShown(form, "bitmap") ? form.texts.bitmap.text.trim() : undefined;
  if (bitmap === "")
    problems.push({ field: "bitmap", message: "write the name of a dirty bitmap of the source" });
  const speed = form.texts.speed.text.trim() === "" ? undefined : parseSpeed(form.texts.speed.text);
  if (speed?.ok === false) problems.push({ field: "speed", message: speed.reason });
  const typed = form.texts.granularity.text.trim();
  const granularity = typed === "" ? undefined : parseSize(typed);
  if (granularity?.ok === false) problems.push({ field: "granularity", message: granularity.reason });
  else if (granularity?.ok === true && !isGranularity(granularity.bytes)) {
    problems.push({
      field: "granularity",
      message: `a power of two from ${formatExactSize(SMALLEST_GRANULARITY)} to ${formatExactSize(LARGEST_GRANULARITY)}`,
    });
  }
  const written = form.texts.bufferSize.text.trim();
  const bufferSize = written === "" ? undefined : parseSize(written);
  if (bufferSize?.ok === false) problems.push({ field: "bufferSize", message: bufferSize.reason });
  else if (bufferSize?.ok === true && bufferSize.bytes > LARGEST_BUFFER) {
    problems.push({ field: "bufferSize", message: `at most ${formatExactSize(LARGEST_BUFFER)}` });
  }
  const id = form.texts.id.text.trim() || defaultJobId(sourcePath);
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/u.test(id)) {
    problems.push({ field: "id", message: "a letter, then letters, digits, dot, dash or underscore" });
  }
  return {
    request: {
      id,
      sourcePath,
      targetPath,
      sync: form.choices.sync,
      ...(bitmap !== undefined && { bitmap }),
      existing: form.choices.existing === "yes",
      speed: speed?.ok === true ? speed.bytes : 0,
      granularity: granularity?.ok === true ? granularity.bytes : undefined,
      ...furtherOptions(form, bufferSize?.ok === true ? bufferSize.bytes : undefined),
    },
    problems,
  };
}

/** What only sources with further options are asked for. */
function furtherOptions(
  { choices, options, texts }: NewJobForm,
  bufferSize: number | undefined,
): Partial<NewJobRequest> {
  const replaces = texts.replaces.text.trim();
  return {
    ...(replaces !== "" && { replaces }),
    ...(choices.backingMode !== "usual" && { backingMode: choices.backingMode }),
    ...(bufferSize !== undefined && { bufferSize }),
    ...(options.copyMode.length > 0 && { copyMode: choices.copyMode }),
    ...(options.largerTarget.length > 0 && { largerTarget: choices.largerTarget }),
    ...(options.onSourceError.length > 0 && { onSourceError: choices.onSourceError }),
    ...(options.onTargetError.length > 0 && { onTargetError: choices.onTargetError }),
    ...(options.unmap.length > 0 && { unmap: choices.unmap === "yes" }),
    ...(options.detectZeroes.length > 0 && { detectZeroes: choices.detectZeroes === "yes" }),
    ...(choices.targetFormat !== "by name" &&
      choices.existing === "no" && { targetFormat: choices.targetFormat }),
  };
}

function isGranularity(bytes: number): boolean {
  return bytes >= SMALLEST_GRANULARITY && bytes <= LARGEST_GRANULARITY && Number.isInteger(Math.log2(bytes));
}

/** The complaint to show beside a field, if any. */
export function problemOf(form: NewJobForm, field: FormField): string | undefined {
  if (field === "start") return form.remote.find((problem) => problem.field === undefined)?.message;
  const remote = form.remote.find((problem) => problem.field === field);
  if (remote !== undefined) return remote.message;
  if (!form.touched.has(field)) return undefined;
  return readForm(form).problems.find((problem) => problem.field === field)?.message;
}

/** Marks every field as touched and puts the focus on the first one that complains. */
export function showProblems(form: NewJobForm, remote: readonly NewJobProblem[]): NewJobForm {
  const shown: NewJobForm = { ...form, suggestion: "", busy: false, remote, touched: new Set(FIELDS) };
  const first = FIELDS.find((field) => problemOf(shown, field) !== undefined);
  return first === undefined ? shown : { ...shown, focus: first };
}
