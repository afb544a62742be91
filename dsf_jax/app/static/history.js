// What was done, step by step. A step is all that a search depends on: {strokes, picture, file, as,
// words, share, labels, liked, disliked}, and the sheet, another one where a whole drawing is put down. Undo
// and redo walk from step to step. Of the browser's history, every step but a stroke is an entry, and each
// entry carries its step: Back and Forward walk between them, and a reload finds its own. The drawing is
// also kept for when the tab has been closed.

import {LEAVING} from "./drawing.js";
import {rounded} from "./strokes.js";

const EMPTY = {strokes: [], picture: null, file: null, as: "auto", words: "", share: 50, labels: [], liked: [], disliked: [], sheet: 0};
const KEY = "dsf_jax.drawing";
const SOON = 50; // ms until a stroke is kept: browsers count how often
const PATIENCE = 1000; // ms until a journey through the browser's history is given up

// Fires "travel" when the current step is an earlier or a later one, "unkept" when it cannot be stored.
export class Steps extends EventTarget {
  #past; #future = []; #files = new Map(); #at; #timer = 0; #travelling = 0; #toward = 0; #waiting = [];

  constructor() {
    super();
    const {step = {...EMPTY, strokes: kept()}, at = 0} = history.state ?? {};
    this.#at = at;
    this.now = {...EMPTY, ...step, ...(step.file ? {file: null} : {})}; // a reload loses files
    this.lost = step.file;
    this.#past = leadingTo(this.now);
    farthest = at;
    if (!history.state?.step) this.#keep(); // a dialog may bring the first step
    for (const name of LEAVING) addEventListener(name, () => this.#keep());
    addEventListener("popstate", ({state}) => { if (state?.step) this.#arrive(state); });
  }

  get canUndo() { return this.#past.length > 0; }
  get canRedo() { return this.#future.length > 0; }
  get file() { return this.#files.get(this.now.file?.id) ?? null; }

  do(change) {
    const next = {...this.now, ...change, id: newId()};
    if (change.file) {
      next.file = {id: next.id, name: change.file.name};
      this.#files.set(next.id, change.file);
    }
    const entry = isEntry(this.now, next), dialog = history.state?.dialog; // whose entry is replaced
    this.#past.push(this.now);
    this.#future = [];
    if (entry && !dialog) this.#keep(); // what is left behind
    this.now = next;
    if (entry) this.#enter(dialog ? "replaceState" : "pushState"); else this.#keepSoon();
  }

  #enter(how) {
    farthest = ++this.#at;
    this.#keep(how);
  }

  // Puts another in the place of the current step; or takes it back, where nothing is left of it.
  amend(change) {
    const before = this.#past.at(-1);
    this.now = {...this.now, ...change, id: newId()};
    if (before?.strokes === this.now.strokes && !isEntry(before, this.now)) this.now = this.#past.pop();
    this.#future = [];
    this.#keepSoon();
  }

  undo() { this.#travel(-1); }
  redo() { this.#travel(1); }

  #travel(direction) {
    if (this.#travelling) return this.#waiting.push(direction);
    const [from, to] = direction < 0 ? [this.#past, this.#future] : [this.#future, this.#past];
    if (!from.length) return;
    const entry = isEntry(this.now, from.at(-1)), again = entry && direction > 0 && this.#at >= farthest; // its entry is gone
    if (again && closing) return addEventListener("popstate", () => this.#travel(direction), {once: true});
    const travels = entry && !again && (direction > 0 || this.#at > 0);
    if (travels || again) this.#keep(); // what is left behind
    if (travels) {
      this.#toward = direction;
      this.#travelling = setTimeout(() => this.#rest(), PATIENCE);
      return history.go(direction); // and arrives
    }
    to.push(this.now);
    this.now = from.pop();
    if (again) this.#enter("pushState"); else this.#keepSoon();
    this.dispatchEvent(new Event("travel"));
  }

  #rest() {
    clearTimeout(this.#travelling);
    this.#travelling = 0;
    while (this.#waiting.length && !this.#travelling) this.#travel(this.#waiting.shift()); // not every step is a journey
  }

  #arrive({step, at}) {
    if (closing && !this.#travelling && step.id !== this.now.id) // of the entry before a dialog's: what was done meanwhile stays
      return this.#keep(at < this.#at ? "pushState" : "replaceState");
    const back = at < this.#at, [from, to] = back ? [this.#past, this.#future] : [this.#future, this.#past];
    farthest = Math.max(farthest, this.#at, at);
    this.#at = at;
    if (step.id === this.now.id) { // of a dialog's entry, and of the one before it: there is more to go
      if (this.#travelling && !closing) { this.#waiting.unshift(this.#toward); this.#rest(); }
      return;
    }
    if (from.some((one) => one.id === step.id)) {
      to.push(this.now);
      while (from.at(-1).id !== step.id) to.push(from.pop());
      from.pop();
    } else if (back) { // before a reload, or what undo and another step had replaced
      this.#future.push(this.now);
      this.#past = leadingTo(step);
    } else {
      this.#past.push(this.now);
      this.#future = [];
    }
    this.now = step.file && !this.#files.has(step.file.id) ? {...step, file: null} : step;
    this.dispatchEvent(new Event("travel"));
    this.#rest();
  }

  #keepSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), SOON);
  }

  #keep(how = "replaceState") {
    clearTimeout(this.#timer);
    try {
      history[how]({step: this.now, at: this.#at}, "");
      localStorage.setItem(KEY, JSON.stringify(rounded(this.now.strokes)));
    } catch { // full, switched off, or too often
      this.dispatchEvent(new Event("unkept"));
    }
  }
}

let farthest = 0; // number of the last entry that carries a step: a new one, as a dialog's, ends those ahead of it
let closing = false; // a dialog closes, and takes its entry back by itself

// A dialog is an entry too: Back closes it.
export function dialogEntries(dialog) {
  const show = dialog.showModal.bind(dialog);
  dialog.showModal = () => {
    show();
    farthest = history.state?.at ?? 0;
    history.pushState({...history.state, dialog: true}, "");
  };
  dialog.addEventListener("close", () => {
    closing = Boolean(history.state?.dialog);
    if (closing) history.back();
  });
  addEventListener("popstate", ({state}) => { closing = false; if (dialog.open && !state?.dialog) dialog.close(); });
}

const newId = () => `${Date.now()}-${Math.random()}`;
const isEntry = (one, other) => ["picture", "file", "as", "words", "share", "labels", "liked", "disliked", "sheet"].some((part) => JSON.stringify(one[part]) !== JSON.stringify(other[part]));

// The steps that a drawing may have been made in, where they are not known any more.
function leadingTo({picture, file, strokes, ...rest}) {
  const none = {...EMPTY, ...(picture || file ? {} : rest)};
  const drawings = strokes.map((_, i) => ({...none, strokes: strokes.slice(0, i), id: newId()}));
  return picture || file ? [...drawings, {...none, strokes, id: newId()}] : drawings;
}

function kept() {
  try {
    const strokes = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    const isPoint = (point) => Array.isArray(point) && (point.length === 2 || point.length === 3) && point.every(Number.isFinite);
    return strokes.every((stroke) => stroke.length && stroke.every(isPoint)) ? strokes : [];
  } catch {
    return []; // written by something else, or storage is switched off
  }
}
