// The surface: strokes by pointer or keys, an eraser of whole strokes. What was done before, and how to
// undo it, is not its business. Coordinates are those of a square of SIDE units, whatever its size.
import {distance, simplified} from "./strokes.js";

export const SIDE = 681; // the server's lattice: nothing finer matters to it
const REACH = 16; // units around the eraser
const WIDTH = 5, THINNEST = 2; // of a stroke, in units, by how hard the pen is pressed
const STEP = 14, FINE_STEP = 3; // of the pen moved by keys
const ERASER_END = 5; // the button that the other end of a pen presses

export class Surface extends EventTarget {
  // Fires "change" when the drawing is another, with detail {settled: whether the pen is up}.
  #canvas; #ink; #stroke = null; #erasing = null; #pointer = null; #cursor = null; #frame = 0;
  strokes = [];
  tool = "pen";

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#ink = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => { if (event.pointerId === this.#pointer?.pointerId) this.#up(); });
    }
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
    this.#stroke = this.#erasing = this.#pointer = null;
    this.strokes = strokes;
    this.#draw();
  }

  #changed(settled) {
    this.#draw();
    this.dispatchEvent(new CustomEvent("change", {detail: {settled}}));
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    const place = [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
    return event.pointerType === "pen" && event.pressure ? [...place, event.pressure] : place; // others feel none
  }

  #down(event) {
    const turned = event.button === ERASER_END;
    if (event.button !== 0 && !turned || !event.isPrimary) return;
    event.preventDefault();
    if (this.#pointer) { // one draws at a time; the hand that rests beside a pen does not
      if (event.pointerType !== "pen" || this.#pointer.pointerType !== "touch") return;
      this.#drop();
    }
    this.#up(); // what keys had begun
    this.#pointer = event;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#cursor = null;
    this.#start(this.#point(event), turned ? "eraser" : this.tool);
  }

  #move(event) {
    if (event.pointerId !== this.#pointer?.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#go(this.#point(one));
  }

  #start(point, tool) {
    if (tool === "eraser") {
      this.#erasing = {strokes: this.strokes, at: point};
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
    this.#stroke.push(point);
    this.#changed(false);
  }

  #up() {
    const [stroke, erased] = [this.#stroke, this.#erasing];
    this.#stroke = this.#erasing = this.#pointer = null;
    if (stroke) this.strokes = [...this.strokes, simplified(stroke)];
    if (stroke || erased && erased.strokes !== this.strokes) this.#changed(true);
  }

  #drop() {
    if (this.#erasing) this.strokes = this.#erasing.strokes;
    this.#stroke = this.#erasing = this.#pointer = null;
    this.#changed(false);
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
    if (way) {
      const step = event.shiftKey ? FINE_STEP : STEP;
      this.#cursor ??= [SIDE / 2, SIDE / 2];
      this.#cursor = this.#cursor.map((at, i) => Math.min(SIDE, Math.max(0, at + step * way[i])));
      if (this.#stroke || this.#erasing) this.#go(this.#cursor);
    } else if (event.key === " " || event.key === "Enter") {
      this.#cursor ??= [SIDE / 2, SIDE / 2];
      if (this.#stroke || this.#erasing) this.#up(); else this.#start(this.#cursor, this.tool);
    } else if (event.key === "Escape") {
      this.#up();
    } else return;
    event.preventDefault();
    this.#draw();
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
