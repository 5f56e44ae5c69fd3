import { type SuspendTerminal, useApp, useInput, usePaste } from "ink";
import { type ReactNode, useEffect, useState, useSyncExternalStore } from "react";
import type { UiController } from "../controller.ts";
import { keyPressesOf } from "../key-names.ts";
import type { ScreenStyle } from "../screen-style.ts";
import { Picture } from "./picture.tsx";
import { SpokenScreen } from "./spoken-screen.tsx";

/** How long the screen is empty when it is written anew: longer than ink waits between two pictures. */
const BLANK_MS = 50;

/** Properties of {@link App}. */
export interface AppProps {
  readonly controller: UiController;
  readonly style: ScreenStyle;
  /** Sentences instead of pictures. */
  readonly spoken: boolean;
  /** Whether there is a keyboard to listen to. */
  readonly keyboard: boolean;
  /** Receives ink's way of lending out the terminal, which exists only inside its tree. */
  readonly onTerminal: (suspend: SuspendTerminal) => void;
  /** Receives the way to have everything written again, also what has not changed. */
  readonly onRedraw: (redraw: () => void) => void;
}

/** Joins the controller to the terminal: its keys, and pictures or sentences of the latest frame. */
export function App({ controller, style, spoken, keyboard, onTerminal, onRedraw }: AppProps): ReactNode {
  const { suspendTerminal } = useApp();
  const [blank, setBlank] = useState(false);
  useEffect(() => {
    onTerminal(suspendTerminal);
  }, [onTerminal, suspendTerminal]);
  useEffect(() => {
    onRedraw(() => setBlank(true));
  }, [onRedraw]);
  useEffect(() => {
    if (!blank) return undefined;
    // The empty picture has to reach the terminal first: ink writes what differs from the one before.
    const timer = setTimeout(() => setBlank(false), BLANK_MS);
    return () => clearTimeout(timer);
  }, [blank]);
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
  if (spoken) return <Spoken controller={controller} />;
  return <Picture controller={controller} style={style} blank={blank} />;
}

function Spoken({ controller }: { readonly controller: UiController }): ReactNode {
  const frame = useSyncExternalStore(controller.subscribe, controller.frame, controller.frame);
  return <SpokenScreen frame={frame} />;
}
