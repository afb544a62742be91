// Keys that work anywhere on the page, and the way of the arrows among the results.
import {openDialog, turn} from "./dialogs.js";

// Does what deeds, by the ids of their buttons, are asked for; walks in list.
export function prepareKeys(deeds, list) {
  addEventListener("keydown", (event) => {
    if (event.target.matches?.("input:not([type=range])")) return; // letters are letters there
    const dialog = openDialog()?.id, control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    const deed = dialog
      ? dialog === "picture" && {arrowleft: () => turn(-1), arrowright: () => turn(1)}[key]
      : control
        ? {z: event.shiftKey ? deeds.redo : deeds.undo, y: deeds.redo}[key]
        : !event.altKey && {p: deeds.pen, e: deeds.eraser, o: deeds.open, s: deeds.keep, delete: deeds.clear, "?": deeds["show-help"]}[key];
    if (deed) { event.preventDefault(); deed(); }
    else if (!dialog) walk(list, event);
  });
}

// As the results lie on the screen.
function walk(list, event) {
  const thumbs = [...list.querySelectorAll(".thumb")], at = thumbs.indexOf(document.activeElement);
  const way = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1}[event.key];
  if (at < 0 || !way) return;
  event.preventDefault();
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") return thumbs[at + way]?.focus();
  const [x, y] = middle(thumbs[at]);
  const below = thumbs.map(middle).map(([u, v], i) => [way * (v - y), Math.abs(u - x), i]).filter(([down]) => down > 1);
  const row = Math.min(...below.map(([down]) => down));
  const next = below.filter(([down]) => down < row + 1).sort((a, b) => a[1] - b[1])[0];
  if (next) thumbs[next[2]].focus();
}

function middle(element) {
  const {left, right, top, bottom} = element.getBoundingClientRect();
  return [(left + right) / 2, (top + bottom) / 2];
}
