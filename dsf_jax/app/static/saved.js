// Drawings saved by name in this browser, and the link to the one on the paper: the dialog of both.
import {copied} from "./clipboard.js";
import {SIDE} from "./drawing.js";
import {MOST, lengthOf, linkOf, strokesOf, textOf} from "./links.js";
import {byId, icon, made, svg} from "./view.js";

const KEY = "dsf_jax.saved"; // a list of {name, text, at}, the newest first
const UNNAMED = "drawing";
const OWN = /^(localhost|127\.[\d.]+|\[::1\])$/; // names by which a machine calls itself
const day = new Intl.DateTimeFormat("en", {dateStyle: "medium"});

let strokes = [], deleted = null; // on the paper; {saved, at}: what was deleted last, and where it was

function all() {
  let list = [];
  try { list = JSON.parse(localStorage.getItem(KEY) ?? "[]"); } catch { /* written by something else, or storage is switched off */ }
  return Array.isArray(list) ? list.filter(isSaved) : [];
}

function isSaved(one) {
  try {
    return typeof one.name === "string" && Number.isFinite(one.at) && strokesOf(one.text).length > 0;
  } catch {
    return false;
  }
}

// Returns whether the browser keeps them.
function keep(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
  } catch {
    say("This browser keeps nothing more: its storage is full or switched off. Delete a drawing, or keep the link.");
    return false;
  }
  fill();
  return true;
}

function say(text, {undo = false} = {}) {
  byId("saved-status").textContent = text;
  byId("bring-back").hidden = !undo;
}

// No drawing is written over: a name that is taken gets a number.
function free(name, list) {
  const taken = new Set(list.map((one) => one.name));
  if (!taken.has(name)) return name;
  let number = 2;
  while (taken.has(`${name} ${number}`)) number++;
  return `${name} ${number}`;
}

function save(event) {
  event.preventDefault();
  const list = all(), name = free(byId("saved-name").value.trim().replace(/\s+/g, " ") || UNNAMED, list);
  if (!keep([{name, text: textOf(strokes), at: Date.now()}, ...list])) return;
  byId("saved-name").value = "";
  say(`Saved as “${name}”.`);
}

function remove(name) {
  const list = all(), at = list.findIndex((one) => one.name === name);
  if (at < 0) return fill(); // another tab was faster
  deleted = {saved: list[at], at};
  if (!keep(list.toSpliced(at, 1))) return;
  say(`“${name}” is deleted.`, {undo: true});
  const left = byId("saved").querySelectorAll(".delete");
  (left[Math.min(at, left.length - 1)] ?? byId("bring-back")).focus();
}

function bringBack() {
  const list = all(), {saved, at} = deleted, name = free(saved.name, list);
  if (!keep(list.toSpliced(at, 0, {...saved, name}))) return;
  say(`“${name}” is back.`);
  byId("saved").querySelectorAll(".load")[Math.min(at, list.length)].focus();
}

function fill() {
  const list = all();
  byId("saved").replaceChildren(...list.map(row));
  byId("none-saved").hidden = list.length > 0;
}

let open = () => {};

function row({name, text, at}) {
  const drawn = strokesOf(text), date = day.format(at);
  const load = made("button", {type: "button", class: "load", "aria-label": `Show “${name}”, saved ${date}`}, preview(drawn),
    made("span", {}, made("b", {}, name), made("small", {class: "quiet"}, date)));
  const away = made("button", {type: "button", class: "delete plain", "aria-label": `Delete “${name}”`, title: "Delete"}, icon("clear"));
  load.addEventListener("click", () => open(drawn, name));
  away.addEventListener("click", () => remove(name));
  const item = made("li", {}, load, away);
  item.addEventListener("keydown", (event) => { if (event.key === "Delete") remove(name); });
  return item;
}

export function preview(drawn) {
  const path = (stroke) => `M${stroke.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}h.1`; // a dot is seen too
  return svg("svg", {viewBox: `0 0 ${SIDE} ${SIDE}`, "aria-hidden": "true"}, svg("path", {d: drawn.map(path).join("")}));
}

function showLink() {
  const link = strokes.length ? linkOf(strokes) : "", long = link && lengthOf(link) > MOST;
  byId("link").value = long ? "" : link;
  byId("copy-link").disabled = !link || long;
  byId("link-note").textContent = !link ? "There is no drawing yet."
    : long ? `The drawing is too long for a link: ${lengthOf(link)} characters, at most ${MOST}. Save it instead.`
      : `The strokes are in the link itself, ${lengthOf(link)} characters; no server keeps them.`
        + (OWN.test(location.hostname) ? " This address opens on this machine only: launch.serve --host lets others in." : "");
}

async function copyLink() {
  const done = await copied(byId("link").value);
  if (!done) byId("link").select();
  say(done ? "The link is copied." : "The link is selected: copy it with Ctrl+C.");
}

export function showDrawings(current) {
  strokes = current;
  say("");
  fill();
  showLink();
  byId("saved-name").disabled = byId("save").disabled = !strokes.length;
  byId("drawings").showModal();
}

// Calls show(strokes, name) for the one that is chosen.
export function prepareDrawings({show}) {
  open = show;
  byId("save-form").addEventListener("submit", save);
  byId("copy-link").addEventListener("click", copyLink);
  byId("link").addEventListener("focus", ({target}) => target.select());
  byId("bring-back").addEventListener("click", bringBack);
  addEventListener("storage", ({key}) => { if (key === KEY && byId("drawings").open) fill(); }); // another tab
}
