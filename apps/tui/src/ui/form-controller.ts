import type { JobSource, NewJobRequest } from "../job-source/job-source.ts";
import type { Command } from "./keymap.ts";
import {
  cycleChoice,
  editForm,
  isTextField,
  moveFocus,
  newJobForm,
  type NewJobForm,
  readForm,
  showProblems,
} from "./state/new-job-form.ts";
import { textField, type TextEdit } from "./state/text-field.ts";
import type { Overlay } from "./state/ui-state.ts";

/** What the form asks of its surroundings. */
export interface FormHost {
  readonly overlay: () => Overlay | undefined;
  readonly show: (overlay: Overlay | undefined) => void;
  readonly started: (jobId: string) => void;
  readonly failed: (message: string) => void;
}

/** The new-job form's conversation with the source: reviews while typing, a last review before the start. */
export class FormController {
  readonly #source: JobSource;
  readonly #host: FormHost;
  // Answers to questions about an older state of the form are not shown.
  #serial = 0;
  #isSuggesting = false;

  constructor(source: JobSource, host: FormHost) {
    this.#source = source;
    this.#host = host;
  }

  /** Shows an empty form. */
  open(): void {
    const form = newJobForm(this.#source.syncModes ?? ["full", "none"], this.#source.newJobOptions);
    this.#show(form);
    this.#suggest(form);
  }

  /** Takes typing. A space on a choice switches it. */
  edit(edit: TextEdit, form: NewJobForm): void {
    if (form.busy) return;
    if (isTextField(form.focus)) return this.#type(editForm(form, edit));
    if (edit.kind === "left") return this.#show(cycleChoice(form, -1));
    if (edit.kind === "right" || (edit.kind === "insert" && edit.text === " ")) {
      this.#show(cycleChoice(form, 1));
    }
  }

  /** Takes a command. While a start is under way only leaving is possible. */
  execute(command: Command, form: NewJobForm): void {
    if (command === "refuse") {
      this.#serial++;
      return this.#host.show(undefined);
    }
    if (form.busy) return;
    if (command === "submit" || (command === "activate" && form.focus === "start")) return this.#submit(form);
    if (command === "activate" || command === "next-field") return this.#move(form, 1);
    if (command === "previous-field") this.#move(form, -1);
  }

  /** Starts a request that needs no further question; problems lead back to `form`. */
  start(request: NewJobRequest, form: NewJobForm | undefined): void {
    const { start } = this.#source;
    if (start === undefined) return;
    if (form !== undefined) this.#show({ ...form, busy: true });
    const serial = this.#serial;
    start.call(this.#source, request).then(
      (id) => {
        if (this.#isCurrent(serial)) this.#host.show(undefined);
        this.#host.started(id);
      },
      (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        if (form !== undefined && this.#isCurrent(serial)) this.#show(showProblems(form, [{ message }]));
        else this.#host.failed(message);
      },
    );
  }

  #isCurrent(serial: number): boolean {
    return serial === this.#serial && this.#host.overlay()?.kind === "form";
  }

  #show(form: NewJobForm): void {
    this.#serial++;
    this.#host.show({ kind: "form", form });
  }

  /** Adds what an answer says to the form that the question was about, and that nobody has changed since. */
  #addAnswer(answer: Partial<NewJobForm>): void {
    const overlay = this.#host.overlay();
    if (overlay?.kind === "form") this.#host.show({ kind: "form", form: { ...overlay.form, ...answer } });
  }

  #type(form: NewJobForm): void {
    this.#show(form);
    this.#suggest(form);
  }

  /** One question at a time: a directory that does not answer must not take every thread that the jobs need. */
  #suggest(form: NewJobForm): void {
    const { focus } = form;
    if (this.#source.suggest === undefined || this.#isSuggesting) return;
    if (focus !== "sourcePath" && focus !== "targetPath") return;
    const ofTarget = form.choices.existing === "no" ? "place" : "image";
    const purpose = focus === "sourcePath" ? "source" : ofTarget;
    const serial = this.#serial;
    this.#isSuggesting = true;
    void this.#source.suggest(form.texts[focus].text, purpose).then((suggestion) => {
      this.#isSuggesting = false;
      if (this.#isCurrent(serial)) {
        if (suggestion !== undefined) this.#addAnswer({ suggestion });
        return;
      }
      const overlay = this.#host.overlay();
      if (overlay?.kind === "form" && !overlay.form.busy) this.#suggest(overlay.form);
    });
  }

  #move(form: NewJobForm, by: 1 | -1): void {
    const moved = moveFocus(form, by);
    this.#show(moved);
    // What a text that is there goes on with is of no interest until it is typed at.
    if (isTextField(moved.focus) && moved.texts[moved.focus].text === "") this.#suggest(moved);
    const { request, problems } = readForm(moved);
    if (this.#source.validate === undefined || problems.length > 0) return;
    const serial = this.#serial;
    this.#source.validate(request).then(
      (review) => {
        if (this.#isCurrent(serial)) this.#addAnswer({ remote: review.problems });
      },
      () => {
        // A review in passing may fail; the one before the start speaks up.
      },
    );
  }

  #submit(form: NewJobForm): void {
    const { request, problems } = readForm(form);
    if (problems.length > 0) return this.#show(showProblems(form, []));
    if (this.#source.validate === undefined) return this.start(request, form);
    const waiting: NewJobForm = { ...form, suggestion: "", busy: true };
    this.#show(waiting);
    const serial = this.#serial;
    this.#source.validate(request).then(
      (review) => {
        if (!this.#isCurrent(serial)) return;
        if (review.problems.length > 0) return this.#show(showProblems(form, review.problems));
        if (review.destroys === undefined) return this.start(request, form);
        this.#serial++;
        this.#host.show({
          kind: "confirm",
          form,
          confirmation: {
            intent: { kind: "start", request, destroys: review.destroys.target },
            focus: "cancel",
            typed: textField(),
          },
        });
      },
      (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        if (this.#isCurrent(serial)) this.#show(showProblems(form, [{ message }]));
      },
    );
  }
}
