// The surface in a cell of a notebook, as anywidget asks for it: strokes go to Python, and the pictures that
// were found with them come back. Python joins this module and those that it imports to one.
import {Surface} from "./drawing.js";
import {rounded} from "./strokes.js";

const MANUAL = "Drawing surface. Arrow keys move the pen, Space puts it down and lifts it.";

function add(parent, name, content) {
  return parent.appendChild(Object.assign(document.createElement(name), content));
}

function render({model, el}) {
  const widget = add(el, "div", {className: "dsf-drawing"});
  widget.addEventListener("keydown", (event) => event.stopPropagation()); // or D, D would delete the cell
  const board = add(widget, "div"), tools = add(board, "div", {role: "toolbar", ariaLabel: "Drawing tools"});
  const [pen, eraser, undo, clear] = ["Pen", "Eraser", "Undo", "Clear"].map((name) => add(tools, "button", {type: "button", textContent: name}));
  const canvas = add(board, "canvas", {tabIndex: 0, role: "application", ariaLabel: MANUAL});
  const status = add(board, "p", {role: "status"}), found = add(widget, "ol", {ariaLabel: "Pictures found"});
  const surface = new Surface(canvas), past = [];
  surface.show(model.get("strokes"));
  let now = surface.strokes; // what it was when the pen was last lifted

  function showTools() {
    pen.ariaPressed = surface.tool === "pen";
    eraser.ariaPressed = surface.tool === "eraser";
    undo.disabled = !past.length;
    clear.disabled = !now.length;
  }

  function send() {
    now = surface.strokes;
    showTools();
    model.set("_status", now.length && model.get("_searches") ? "Searching …" : "");
    model.set("strokes", rounded(now));
    model.save_changes();
  }

  function draw(strokes) {
    surface.show(strokes);
    send();
  }

  function choose(tool) {
    surface.tool = tool;
    showTools();
  }

  surface.addEventListener("change", ({detail}) => {
    if (!detail.settled) return;
    if (!detail.again) past.push(now); // what settled before is replaced
    send();
  });
  pen.onclick = () => choose("pen");
  eraser.onclick = () => choose("eraser");
  undo.onclick = () => draw(past.pop());
  clear.onclick = () => { past.push(now); draw([]); };

  const shown = {
    strokes() { // Python's, or another view's
      const strokes = model.get("strokes");
      if (JSON.stringify(strokes) === JSON.stringify(rounded(now))) return;
      past.push(now);
      surface.show(now = strokes);
      showTools();
    },
    _found() {
      found.replaceChildren(...model.get("_found").map(({source, name, distance}) => {
        const item = document.createElement("li"), title = `${name}, distance ${distance.toFixed(3)}`;
        add(item, "img", {src: source, alt: "", title});
        add(item, "span", {textContent: name, title});
        return item;
      }));
    },
    _status() { status.textContent = model.get("_status"); },
  };
  for (const [name, show] of Object.entries(shown)) {
    model.on(`change:${name}`, show);
    show();
  }
  showTools();
  return () => { for (const [name, show] of Object.entries(shown)) model.off(`change:${name}`, show); };
}

export default {render};
