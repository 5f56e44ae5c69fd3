import { type SuspendTerminal, useApp, useInput, usePaste, useWindowSize } from "ink";
import { type ReactNode, useEffect, useSyncExternalStore } from "react";
import type { UiController } from "../controller.ts";
import { keyPressesOf } from "../key-names.ts";
import type { UiStyle } from "../style-context.ts";
import { jobsPerPage } from "./job-table.tsx";
import { listRows, Screen } from "./screen.tsx";
import { SpokenScreen } from "./spoken-screen.tsx";

/** Properties of {@link App}. */
export interface AppProps {
  readonly controller: UiController;
  readonly style: UiStyle;
  /** Sentences instead of pictures. */
  readonly spoken: boolean;
  /** Whether there is a keyboard to listen to. */
  readonly keyboard: boolean;
  /** Receives ink's way of lending out the terminal, which exists only inside its tree. */
  readonly onTerminal: (suspend: SuspendTerminal) => void;
}

/** Joins the controller to the terminal: its size, its keys, and the latest frame. */
export function App({ controller, style, spoken, keyboard, onTerminal }: AppProps): ReactNode {
  const frame = useSyncExternalStore(controller.subscribe, controller.frame, controller.frame);
  const { columns, rows } = useWindowSize();
  const { suspendTerminal } = useApp();
  useEffect(() => {
    onTerminal(suspendTerminal);
  }, [onTerminal, suspendTerminal]);
  useInput(
    (input, key) => {
      if (key.eventType !== "release") controller.press(keyPressesOf(input, key));
    },
    { isActive: keyboard },
  );
  usePaste(
    (text) => {
      controller.paste(text);
    },
    { isActive: keyboard },
  );
  const height = listRows(frame, columns, rows);
  useEffect(() => {
    controller.setPageSize(jobsPerPage(columns, height));
  }, [controller, columns, height]);
  if (spoken) return <SpokenScreen frame={frame} />;
  return (
    <Screen
      frame={frame}
      columns={columns}
      rows={rows}
      style={style}
      refusal={controller.refusal}
      readMap={controller.map}
    />
  );
}
