import { Box, Text } from "ink";
import type { ReactNode } from "react";
import { type Frame, nameToType } from "../frame.ts";
import type { ExportView } from "../model/export-view.ts";
import { adviceOf } from "../model/fields.ts";
import { SORT_KEYS } from "../model/order.ts";
import { sentenceOf } from "../model/sentence.ts";
import { dialogText } from "../state/confirmation.ts";
import { type FormField, isChoice, isTextField, problemOf } from "../state/new-job-form.ts";
import type { Overlay } from "../state/ui-state.ts";

const FIELD_NAMES: Readonly<Record<FormField, string>> = {
  id: "Name",
  sourcePath: "Source path",
  targetPath: "Target path",
  bitmap: "dirty bitmap",
  sync: "Sync mode",
  existing: "Target exists",
  targetFormat: "Format of the target",
  copyMode: "Copy mode",
  largerTarget: "Larger target",
  backingMode: "What the target stands on",
  replaces: "Node whose users are switched",
  onSourceError: "On a source error",
  onTargetError: "On a target error",
  unmap: "Holes in the target",
  detectZeroes: "Look for zeroes",
  bufferSize: "Buffer size",
  speed: "Speed limit",
  granularity: "Granularity",
  start: "Start button",
};

/** Says who is there and whether something failed; figures that never stand still would be read all the time. */
function exportSentence({ name, image, clients, failedRequests }: ExportView): string {
  const who = clients.length === 1 ? "1 client" : `${clients.length} clients`;
  const failed = failedRequests === 0 ? "" : `, ${failedRequests} failed requests`;
  return `Export ${name === "" ? image : name}: ${who}${failed}.`;
}

function spokenKeys({ keymap }: Frame): string {
  return keymap.entries
    .filter(
      ([, { category, keys }]) =>
        category !== "Dialogs" && category !== "Typing" && keys.list?.[0] !== undefined,
    )
    .map(([command, { description }]) => `${keymap.label(command)}, ${description}`)
    .join("; ");
}

function spokenConfirmation(frame: Frame, overlay: Overlay & { readonly kind: "confirm" }): string {
  const { confirmation } = overlay;
  const { intent } = confirmation;
  const view = intent.kind === "action" ? frame.views.get(intent.jobId) : undefined;
  const text = dialogText(intent, view);
  if (text === undefined) return "";
  const name = nameToType(frame, confirmation);
  const answer =
    name === undefined
      ? `Press y for "${text.confirmLabel}", Escape for "${text.cancelLabel}".`
      : `Type ${name} and press Enter to confirm, Escape to go back. Typed so far: ${confirmation.typed.text || "nothing"}.`;
  return `${text.title} ${text.lines.join(" ")} ${answer}`;
}

function spokenOverlay(frame: Frame): string | undefined {
  const { overlay } = frame.state;
  switch (overlay?.kind) {
    case undefined:
      return undefined;
    case "filter":
      return `Filter: ${overlay.field.text || "empty"}. ${frame.visible.length} jobs match.`;
    case "limit":
      return `Speed limit for ${overlay.jobId}: ${overlay.field.text || "empty"}. ${overlay.problem ?? ""}`;
    case "sort":
      return `Sort by ${SORT_KEYS[overlay.index] ?? ""}; Enter accepts.`;
    case "help":
      return `Keys: ${spokenKeys(frame)}. Escape closes.`;
    case "error": {
      const view = frame.views.get(overlay.jobId);
      const advice = view === undefined ? undefined : adviceOf(view, frame.keymap);
      return `Error of ${overlay.jobId}. ${advice?.text ?? "It has none any more."} Escape closes.`;
    }
    case "confirm":
      return spokenConfirmation(frame, overlay);
    case "form": {
      const { form } = overlay;
      const value = isTextField(form.focus)
        ? form.texts[form.focus].text || "empty"
        : isChoice(form.focus)
          ? form.choices[form.focus]
          : "press Enter";
      return `New mirror. ${FIELD_NAMES[form.focus]}: ${value}. ${problemOf(form, form.focus) ?? ""}`;
    }
  }
}

/**
 * The screen as sentences: one per job, changing only with its state or every ten percent, so that a screen reader is
 * not made to read all the time. No pictures, no frame.
 */
export function SpokenScreen({ frame }: { readonly frame: Frame }): ReactNode {
  const overlay = spokenOverlay(frame);
  const { status, selectedId } = frame.state;
  return (
    <Box flexDirection="column">
      <Box flexDirection="column" aria-role="list">
        {frame.visible.length === 0 ? (
          <Text>No jobs.</Text>
        ) : (
          frame.visible.map((view) => (
            <Box key={view.snapshot.id} aria-role="listitem">
              <Text>
                {sentenceOf(
                  view,
                  {
                    selected: view.snapshot.id === selectedId,
                    pending: frame.state.pending.get(view.snapshot.id),
                    detailed: frame.state.view === "detail",
                  },
                  frame.keymap,
                )}
              </Text>
            </Box>
          ))
        )}
      </Box>
      {frame.exports?.map((view) => (
        <Text key={view.name}>{exportSentence(view)}</Text>
      ))}
      {status === undefined ? null : <Text>{status.text}</Text>}
      {overlay === undefined ? null : <Text>{overlay}</Text>}
    </Box>
  );
}
