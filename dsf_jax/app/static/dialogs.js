// The large picture with the reasons for it, and what both dialogs share.
import {Away, ask, large, thumbnail, whyNotLarge} from "./api.js";
import {copied} from "./clipboard.js";
import {byId, made, nameOf, paintMap, stepsBar, WORDS} from "./view.js";

let shown = null, among = []; // a result, and the results that it was opened from
let explained = 0; // how often an explanation was asked for or put away: an answer to an earlier wish is dropped
let query = () => null;

export function openPicture(id, results) {
  const at = results.findIndex((one) => one.id === id);
  if (at < 0) return;
  [shown, among] = [results[at], results];
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === among.length - 1;
  show(shown);
  byId("why").hidden = Boolean(query()?.words); // words have no places to compare
  if (!byId("why").hidden && byId("why").getAttribute("aria-pressed") === "true") explain(); else plain();
  if (!byId("picture").open) byId("picture").showModal();
}

export function turn(step) {
  const next = among[among.indexOf(shown) + step];
  if (next) openPicture(next.id, among);
}

// The server is back: what could not be shown is asked for again.
export function showAgain() {
  if (byId("picture").open && !byId("picture-error").hidden) openPicture(shown.id, among);
}

function show(result) {
  const image = byId("picture-image"), full = made("img", {alt: nameOf(result), "data-shown": result.id});
  const isShown = () => image.isConnected && image.dataset.shown === result.id; // not the next one already
  byId("picture-error").hidden = true;
  image.src = thumbnail(result.id); // until the file is read
  image.alt = nameOf(result);
  image.dataset.shown = result.id;
  full.onload = () => { if (isShown()) { Object.assign(full, {id: image.id, hidden: image.hidden}); image.replaceWith(full); } };
  full.onerror = async () => {
    let error = new Error("The picture cannot be shown large.");
    try { await whyNotLarge(result.id); } catch (reason) { error = reason; }
    if (isShown()) complain(error);
  };
  full.src = large(result.id);
  byId("picture-label").textContent = nameOf(result);
  byId("picture-path").textContent = result.path;
  const place = among[0].duplicates?.includes(among[1]) ? `, ${among.indexOf(result) + 1} of ${among.length} alike` : "";
  byId("picture-size").textContent = `${result.width} × ${result.height} pixels${place}`;
  byId("picture-closeness").replaceChildren(stepsBar(result.steps), ` ${WORDS[result.steps]} (distance ${result.distance.toFixed(3)})`);
}

function complain(error) {
  byId("picture-error").textContent = error.message;
  byId("picture-error").hidden = false;
  if (error instanceof Away) dispatchEvent(new Event("away"));
}

function plain() {
  explained++;
  byId("why").setAttribute("aria-pressed", false);
  byId("why-sides").hidden = true;
  byId("picture-image").hidden = false;
}

async function explain() {
  plain();
  const mine = explained;
  byId("why").setAttribute("aria-pressed", true);
  try {
    const answer = await ask("why", query(), {result: shown.id});
    if (mine !== explained) return;
    for (const side of ["query", "result"]) {
      byId(`why-${side}`).src = answer[side].view;
      paintMap(byId(`why-${side}-map`), answer[side].strength);
    }
    byId("why-sides").hidden = false;
    byId("picture-image").hidden = true;
  } catch (error) {
    if (mine !== explained) return;
    plain();
    complain(error);
  }
}

async function copyPath() {
  const done = await copied(byId("picture-path").textContent);
  if (!done) getSelection().selectAllChildren(byId("picture-path"));
  byId("copy").textContent = done ? "Copied" : "Selected";
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
}

const cardOf = ({id}) => document.querySelector(`[data-id="${id}"]`);

export const openDialog = () => document.querySelector("dialog[open]");

export function prepareDialogs({currentQuery, alike}) {
  query = currentQuery;
  const picture = byId("picture");
  byId("why").addEventListener("click", () => byId("why").getAttribute("aria-pressed") === "true" ? plain() : explain());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("copy").addEventListener("click", copyPath);
  byId("picture-alike").addEventListener("click", () => alike(shown));
  byId("picture-close").addEventListener("click", () => picture.close());
  picture.addEventListener("close", () => { plain(); (cardOf(shown) ?? cardOf(among[0]))?.querySelector(".thumb").focus(); });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
}
