// The surface: strokes by pointer or keys, an eraser of whole strokes. What was done before, and how to
// undo it, is not its business. Coordinates are those of a square of SIDE units, whatever its size.
import {distance, simplified} from "./strokes.js";

// A page is left by both or one. Of what is kept by the second, a reload may miss the history's part.
export const LEAVING = ["beforeunload", "pagehide"];
export const SIDE = 681; // the server's lattice: nothing finer matters to it
const REACH = 16; // units around the eraser
const WIDTH = 5, THINNEST = 2; // of a stroke, in units, by how hard the pen is pressed
const STEP = 14, FINE_STEP = 3; // of the pen moved by keys
const ERASER = 5, ERASING = 32 | 2; // the button that a pen's other end presses; it and the barrel's, as PointerEvent.buttons has them
const BESIDE = 1000; // ms from a pen's last event in which a touch is of the hand that holds it
const PINCH = 10; // units that the first of two fingers has moved at most when the second comes

export class Surface extends EventTarget {
  // Fires "change" when the drawing is another, with detail {settled: whether the pen is up, again: whether
  // that takes the place of what settled before}, and "held" when a key puts the tool down, with detail {at: the
  // place, of 1}.
  #canvas; #ink; #stroke = null; #erasing = null; #pointer = null; #cursor = null; #frame = 0;
  #broken = null; // {pointer, strokes, stroke, erasing, settled, at}: what the browser broke off, and may go on
  #again = false; // it does
  #penAt = -Infinity; // when a pen was last heard of
  strokes = [];
  tool = "pen";

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#ink = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => { if (this.#isOwn(event)) this.#up(); });
    for (const name of ["pointercancel", "lostpointercapture"]) canvas.addEventListener(name, (event) => this.#break(event));
    for (const name of ["pointerover", "pointerdown", "pointermove", "pointerup"]) addEventListener(name, (event) => this.#watch(event), true);
    for (const name of LEAVING) addEventListener(name, () => this.#up());
    canvas.addEventListener("contextmenu", (event) => { if (this.#pointer || event.pointerType === "pen") event.preventDefault(); });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#draw());
    canvas.addEventListener("blur", () => { this.#up(); this.#cursor = null; this.#draw(); });
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  get visible() { return this.#stroke ? [...this.strokes, this.#stroke] : this.strokes; }
  get busy() { return Boolean(this.#stroke || this.#erasing); }

  // Shows another drawing: nothing was drawn, and no change is fired.
  show(strokes) {
    this.#rest();
    this.strokes = strokes;
    this.#draw();
  }

  #rest() {
    this.#stroke = this.#erasing = this.#pointer = this.#broken = null;
    this.#again = false;
  }

  #changed(settled, again = false) {
    this.#draw();
    this.dispatchEvent(new CustomEvent("change", {detail: {settled, again}}));
  }

  #isOwn(event) { return event.pointerId === this.#pointer?.pointerId; }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    const place = [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
    return event.pointerType === "pen" && event.pressure ? [...place, event.pressure] : place; // others feel none
  }

  // A pen's other end erases whatever the tool, and so does the button on its barrel.
  #toolOf({button, buttons, pointerType}) {
    if (button === ERASER || pointerType === "pen" && (button === 2 || buttons & ERASING)) return "eraser";
    return button === 0 ? this.tool : null;
  }

  #down(event) {
    const tool = this.#toolOf(event), touch = event.pointerType === "touch";
    if (touch && !event.isPrimary && this.#pointer?.pointerType === "touch" && this.#isShort()) return this.#drop(); // two fingers do not draw
    if (!tool || !event.isPrimary) return;
    event.preventDefault();
    if (this.#pointer || touch && event.timeStamp - this.#penAt < BESIDE) return; // one draws at a time; the hand beside a pen does not
    this.#up(); // what keys had begun
    this.#take(event);
    this.#cursor = null;
    this.#start(this.#point(event), tool);
  }

  #take(event) {
    this.#pointer = event;
    try { this.#canvas.setPointerCapture(event.pointerId); } catch { /* gone already: what comes over the canvas is heard */ }
  }

  // What pointers do anywhere on the page. Where a pen is near, touches are of the hand: what one began is dropped.
  #watch(event) {
    const broken = this.#broken;
    if (event.pointerId === broken?.pointer.pointerId && !isDown(event)) this.#broken = null; // it was lifted elsewhere
    if (event.pointerType !== "pen") return;
    this.#penAt = event.timeStamp;
    if (this.#pointer?.pointerType === "touch") this.#drop();
    else if (this.#broken?.pointer.pointerType === "touch" && event.timeStamp - broken.at < BESIDE) this.#withdraw();
  }

  #move(event) {
    if (event.pointerId === this.#broken?.pointer.pointerId) this.#resume(event);
    if (!this.#isOwn(event)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#go(this.#point(one));
  }

  // The browser takes the pointer away: a gesture of the system, too many fingers, a palm that it knows. What is
  // drawn stays; some pens draw on all the same, and it is one stroke then.
  #break(event) {
    if (!this.#isOwn(event)) return;
    const [stroke, erasing, pointer] = [this.#stroke, this.#erasing, this.#pointer], strokes = erasing?.strokes ?? this.strokes;
    const settled = this.#again || Boolean(stroke) || strokes !== this.strokes;
    this.#up();
    this.#broken = {pointer, strokes, stroke, erasing, settled, at: event.timeStamp};
  }

  #resume(event) {
    const {strokes, stroke, erasing, settled} = this.#broken;
    this.#rest();
    this.#again = settled;
    this.#take(event);
    if (stroke) [this.strokes, this.#stroke] = [strokes, stroke];
    else this.#erasing = erasing;
  }

  #withdraw() {
    const {strokes, settled} = this.#broken;
    this.#rest();
    this.strokes = strokes;
    if (settled) this.#changed(true, true);
  }

  #isShort() {
    const path = this.#stroke ?? [this.#erasing.from, this.#erasing.at];
    return path.every(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1]) < PINCH);
  }

  #start(point, tool) {
    this.#broken = null;
    if (tool === "eraser") {
      this.#erasing = {strokes: this.strokes, from: point, at: point};
      this.#erase(point);
    } else {
      this.#stroke = [point];
      this.#changed(false);
    }
  }

  #go(point) {
    if (this.#erasing) return this.#erase(point);
    const last = this.#stroke.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.5) return;
    const felt = point.length === 3, before = last.length === 3; // some pens feel nothing at first, or for a moment
    if (felt && !before) this.#stroke = this.#stroke.map((one) => [...one, point[2]]);
    this.#stroke.push(before && !felt ? [...point, last[2]] : point);
    this.#changed(false);
  }

  #up() {
    const [stroke, erased, again] = [this.#stroke, this.#erasing, this.#again];
    if (!stroke && !erased) return;
    this.#rest();
    if (stroke) this.strokes = [...this.strokes, simplified(stroke)];
    if (stroke || erased.strokes !== this.strokes) this.#changed(true, again);
  }

  #drop() {
    const again = this.#again;
    if (this.#erasing) this.strokes = this.#erasing.strokes;
    this.#rest();
    this.#changed(again, again);
  }

  #erase(to) {
    const from = this.#erasing.at, parts = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / REACH) || 1;
    const swept = Array.from({length: parts}, (_, i) => [0, 1].map((axis) => from[axis] + (to[axis] - from[axis]) * (i + 1) / parts));
    this.#erasing.at = to;
    const left = this.strokes.filter((stroke) => swept.every((point) => distance(stroke, point) > REACH));
    if (left.length === this.strokes.length) return;
    this.strokes = left;
    this.#changed(false);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!way && ![" ", "Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (this.#pointer && event.key !== "Escape") return; // the stroke is the pointer's
    if (way) {
      const step = event.shiftKey ? FINE_STEP : STEP;
      this.#cursor ??= [SIDE / 2, SIDE / 2];
      this.#cursor = this.#cursor.map((at, i) => Math.min(SIDE, Math.max(0, at + step * way[i])));
      if (this.#stroke || this.#erasing) this.#go(this.#cursor);
    } else if (event.key === "Escape" || this.busy) {
      this.#up();
    } else {
      this.#cursor ??= [SIDE / 2, SIDE / 2];
      this.#hold();
    }
    this.#draw();
  }

  #hold() {
    this.#start(this.#cursor, this.tool);
    this.dispatchEvent(new CustomEvent("held", {detail: {at: this.#cursor.map((place) => place / SIDE)}}));
  }

  #draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#paint(); });
  }

  #line(points, width) {
    const ink = this.#ink;
    ink.lineWidth = width;
    ink.beginPath();
    ink.moveTo(points[0][0], points[0][1]);
    for (const [x, y] of points) ink.lineTo(x + 0.01, y); // a line without length would not be seen
    ink.stroke();
  }

  #paint() {
    const canvas = this.#canvas, ink = this.#ink, side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const style = getComputedStyle(canvas);
    ink.setTransform(side / SIDE, 0, 0, side / SIDE, 0, 0);
    ink.clearRect(0, 0, SIDE, SIDE);
    ink.lineCap = ink.lineJoin = "round";
    ink.strokeStyle = style.color;
    for (const stroke of this.visible) {
      if (stroke[0].length === 2) this.#line(stroke, WIDTH);
      else stroke.forEach((point, i) => this.#line([stroke[Math.max(0, i - 1)], point], THINNEST + (WIDTH - THINNEST) * point[2]));
    }
    if (!this.#cursor) return;
    const [x, y] = this.#cursor, held = this.#stroke || this.#erasing;
    ink.lineWidth = 2;
    ink.strokeStyle = style.getPropertyValue("--accent");
    ink.beginPath();
    ink.arc(x, y, held ? 6 : 12, 0, 7);
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      ink.moveTo(x - 20 * dx, y - 20 * dy);
      ink.lineTo(x + 20 * dx, y + 20 * dy);
    }
    ink.stroke();
  }
}

// Whether a pointer touches, or its button is pressed: a touch is not there otherwise.
const isDown = ({type, buttons, pointerType}) => type !== "pointerup" && Boolean(buttons || pointerType === "touch");
