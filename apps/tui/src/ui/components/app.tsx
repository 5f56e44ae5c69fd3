import { type SuspendTerminal, useApp, useInput, usePaste } from "ink";
import { type ReactNode, useEffect, useSyncExternalStore } from "react";
import type { UiController } from "../controller.ts";
import { keyPressesOf } from "../key-names.ts";
import { SpokenScreen } from "./spoken-screen.tsx";

/** Properties of {@link App}. */
export interface AppProps {
  readonly controller: UiController;
  /** Sentences instead of pictures. */
  readonly spoken: boolean;
  /** Whether there is a keyboard to listen to. */
  readonly keyboard: boolean;
  /** Receives ink's way of lending out the terminal, which exists only inside its tree. */
  readonly onTerminal: (suspend: SuspendTerminal) => void;
}

/** Joins the controller to the keyboard. Pictures are drawn past ink, by `LiveScreen`; sentences are drawn by it. */
export function App({ controller, spoken, keyboard, onTerminal }: AppProps): ReactNode {
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
  return spoken ? <Spoken controller={controller} /> : null;
}

function Spoken({ controller }: { readonly controller: UiController }): ReactNode {
  const frame = useSyncExternalStore(controller.subscribe, controller.frame, controller.frame);
  return <SpokenScreen frame={frame} />;
}
