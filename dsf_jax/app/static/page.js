// The page: what the person does -> a query -> an answer on the screen.
import {Refused, ask, health, sendable} from "./api.js";
import {EXAMPLES, Surface} from "./drawing.js";
import {byId, nameOf, pictures, showFacets, showPicture, showResults, showWaiting, showWhy} from "./view.js";

const FIRST = 24, MOST = 200; // results
const MOST_MARKS = 50; // of each kind: the server takes no more
const WHILE_DRAWING = 250; // ms between searches as the pen moves; when it lifts, at once
const UNTIL_VOTE = 450; // ms without change until 18 views are asked for

const surface = new Surface(byId("canvas"));
const state = {
  file: null, as: "auto", picture: null, // at most one of file and picture; the drawing when none
  labels: new Set(), liked: new Map(), disliked: new Map(),
  count: FIRST, answer: null, guesses: [], open: null, among: [], // the results that one was opened from
};

// --- Asking -----------------------------------------------------------------------------------

let number = 0, flight = null, timer = 0, voting = null, voteTimer = 0;

function query() {
  if (state.file) return {file: state.file, as: state.as};
  if (state.picture) return {picture: state.picture.id};
  return surface.visible.length ? {strokes: surface.visible} : null;
}

// Soon is while the pen moves: such a search waits for the one before it; others replace it.
function search({soon = false} = {}) {
  clearTimeout(voteTimer);
  voting?.abort();
  if (soon) {
    if (!timer) timer = setTimeout(() => { timer = 0; if (flight) search({soon}); else send(); }, WHILE_DRAWING);
  } else {
    clearTimeout(timer);
    timer = 0;
    send();
  }
}

async function send() {
  flight?.abort();
  const asked = query(), mine = ++number;
  if (!asked) { flight = null; return reset(); }
  const own = flight = new AbortController();
  byId("empty").hidden = true;
  busy(true);
  const options = {count: state.count, label: [...state.labels], like: [...state.liked.keys()], unlike: [...state.disliked.keys()]};
  const started = performance.now();
  try {
    const answer = await ask("search", asked, options, own.signal);
    if (mine !== number) return;
    flight = null;
    state.answer = answer;
    state.guesses = answer.guesses;
    show(performance.now() - started);
    if (answer.taken !== "picture" && answer.results.length) voteTimer = setTimeout(() => vote(asked, mine), UNTIL_VOTE);
  } catch (error) {
    if (mine !== number || error.name === "AbortError") return;
    flight = null;
    if (error.status === 404) { state.liked.clear(); state.disliked.clear(); } // one may be gone: the next try is without
    fail(error);
  }
}

async function vote(asked, mine) {
  voting = new AbortController();
  try {
    const {guesses} = await ask("guesses", asked, {}, voting.signal);
    if (mine !== number) return;
    state.guesses = guesses;
    facets();
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof Refused)) fail(error);
  }
}

// --- Showing ----------------------------------------------------------------------------------

function busy(is) {
  document.querySelector(".found").setAttribute("aria-busy", is);
  if (is) { byId("error").hidden = true; showWaiting(byId("results")); }
}

function show(milliseconds) {
  const {results, pictures: all} = state.answer;
  busy(false);
  byId("results").classList.remove("stale");
  showResults(byId("results"), results, state, acts);
  byId("gallery").textContent = pictures(all);
  const nearest = results.slice(0, 3).map(nameOf).join(", ");
  byId("status").textContent = results.length
    ? `${results.length} of ${pictures(all)} in ${Math.round(milliseconds)} ms, nearest: ${nearest}`
    : all ? "No picture is left: take a filter or a mark away." : "The gallery is empty: fill it with launch.index.";
  byId("more").hidden = results.length < state.count || state.count >= MOST;
  byId("results").dataset.number = number;
  facets();
  marks();
  queryBar();
}

function facets() {
  const titles = {drawing: "You drew", photo: "You showed", picture: "Labels"};
  byId("guesses-title").textContent = titles[state.answer.taken];
  byId("guesses").hidden = !showFacets(byId("facets"), state.guesses, state.answer.results, state.labels, (label) => {
    if (!state.labels.delete(label)) state.labels = new Set([label]);
    state.count = FIRST;
    search();
  });
}

function marks() {
  const parts = [[state.liked, "right"], [state.disliked, "wrong"]].filter(([map]) => map.size).map(([map, word]) => `${map.size} ${word}`);
  byId("marks").hidden = !parts.length;
  byId("marks-text").textContent = `Ranked anew by ${parts.join(" and ")}.`;
}

function queryBar() {
  const {file, picture, answer} = state;
  byId("query").hidden = !(file || picture);
  byId("query-kind").hidden = !file;
  byId("query-name").textContent = file ? `${file.name ?? "The picture"} as` : picture ? `More like ${nameOf(picture)}` : "";
  byId("back").textContent = surface.strokes.length ? "Back to my drawing" : "Back to drawing";
  for (const kind of ["drawing", "photo"]) byId(`as-${kind}`).setAttribute("aria-pressed", (state.as === "auto" ? answer?.taken : state.as) === kind);
}

function fail(error) {
  busy(false);
  byId("results").querySelectorAll(".waiting").forEach((card) => card.remove());
  byId("results").classList.add("stale");
  byId("error-text").textContent = error.message;
  byId("error").hidden = false;
  byId("status").textContent = "";
  queryBar();
}

function reset() {
  busy(false);
  byId("error").hidden = true;
  Object.assign(state, {answer: null, guesses: [], count: FIRST});
  byId("results").replaceChildren();
  for (const id of ["guesses", "marks", "more"]) byId(id).hidden = true;
  byId("status").textContent = "";
  byId("empty").hidden = false;
  queryBar();
}

// --- Another query ----------------------------------------------------------------------------

function forget() {
  state.labels.clear();
  state.liked.clear();
  state.disliked.clear();
  state.count = FIRST;
}

function become(change) {
  forget();
  const shown = byId("shown");
  if (shown.src.startsWith("blob:")) URL.revokeObjectURL(shown.src);
  Object.assign(state, {file: null, picture: null, as: "auto"}, change);
  shown.hidden = !(state.file || state.picture);
  if (state.file) shown.src = URL.createObjectURL(state.file);
  else if (state.picture) shown.src = `api/pictures/${state.picture.id}`;
  else shown.removeAttribute("src");
  shown.alt = state.picture ? nameOf(state.picture) : state.file ? "Your picture" : "";
  tools();
  queryBar();
  search();
}

async function openFile(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) return fail(new Error(`${file.name} is not a picture.`));
  const sent = await sendable(file);
  become({file: sent.name ? sent : new File([sent], file.name, {type: sent.type})});
}

const result = (id) => state.answer?.results.find((one) => one.id === id);

const acts = {
  open: (id) => openPicture(id),
  like: (id) => mark(id, state.liked, state.disliked),
  unlike: (id) => mark(id, state.disliked, state.liked),
  alike: (id) => { const picture = result(id); if (picture) become({picture}); },
};

function mark(id, to, from) {
  if (to.size === MOST_MARKS && !to.has(id)) {
    byId("status").textContent = `At most ${MOST_MARKS} pictures can be marked; take a mark away first.`;
    return;
  }
  from.delete(id);
  if (!to.delete(id)) to.set(id, true);
  search();
}

// --- The tools --------------------------------------------------------------------------------

function tools() {
  const drawn = !(state.file || state.picture);
  byId("undo").disabled = !surface.canUndo;
  byId("redo").disabled = !surface.canRedo;
  byId("clear").disabled = drawn && !surface.strokes.length;
  byId("invitation").hidden = !drawn || surface.visible.length > 0;
  for (const tool of ["pen", "eraser"]) byId(tool).setAttribute("aria-pressed", surface.tool === tool);
}

const choose = (tool) => { surface.tool = tool; tools(); };
const deeds = {
  pen: () => choose("pen"),
  eraser: () => choose("eraser"),
  undo: () => surface.undo(),
  redo: () => surface.redo(),
  clear: () => { if (state.file || state.picture) become({}); else { forget(); surface.clear(); choose("pen"); } },
  open: () => byId("file").click(),
  back: () => become({}),
  more: () => { state.count = Math.min(MOST, 2 * state.count); search(); },
  forget: () => { state.liked.clear(); state.disliked.clear(); search(); },
  retry: () => search(),
  "as-drawing": () => { state.as = "drawing"; search(); },
  "as-photo": () => { state.as = "photo"; search(); },
  "show-help": () => byId("help").showModal(),
};
for (const [id, deed] of Object.entries(deeds)) byId(id).addEventListener("click", deed);
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => { surface.replace(EXAMPLES[button.dataset.example]); byId("canvas").focus({preventScroll: true}); });
}

surface.addEventListener("change", ({detail}) => {
  tools();
  if (state.file || state.picture) { // the pen is put on top of it: back to the drawing
    if (!detail.settled || surface.strokes.length) become({});
    return;
  }
  if (!surface.visible.length) forget();
  search({soon: !detail.settled});
});

byId("file").addEventListener("change", ({target}) => { openFile(target.files[0]); target.value = ""; });
addEventListener("paste", ({clipboardData}) => openFile([...clipboardData.files][0]));
let over = 0;
const carriesFile = (event) => [...event.dataTransfer?.types ?? []].includes("Files");
addEventListener("dragenter", (event) => { if (carriesFile(event)) byId("drop").hidden = !++over; });
addEventListener("dragleave", (event) => { if (carriesFile(event)) byId("drop").hidden = !(over = Math.max(0, over - 1)); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").hidden = !(over = 0);
  openFile(event.dataTransfer.files[0]);
});

addEventListener("keydown", (event) => {
  const dialog = byId("picture").open ? "picture" : byId("help").open ? "help" : null;
  const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  const deed = dialog
    ? dialog === "picture" && {arrowleft: () => turn(-1), arrowright: () => turn(1)}[key]
    : control
      ? {z: event.shiftKey ? deeds.redo : deeds.undo, y: deeds.redo}[key]
      : !event.altKey && {p: deeds.pen, e: deeds.eraser, o: deeds.open, delete: deeds.clear, "?": deeds["show-help"]}[key];
  if (deed) { event.preventDefault(); deed(); }
  else if (!dialog) walk(event);
});

// Arrows walk among the results as they lie on the screen.
function walk(event) {
  const thumbs = [...byId("results").querySelectorAll(".thumb")], at = thumbs.indexOf(document.activeElement);
  if (at < 0) return;
  const columns = getComputedStyle(byId("results")).gridTemplateColumns.split(" ").length;
  const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
  if (!step || !thumbs[at + step]) return;
  event.preventDefault();
  thumbs[at + step].focus();
}

// --- The large picture ------------------------------------------------------------------------

let explained = 0; // how often an explanation was asked for or put away: an answer to an earlier wish is dropped

function openPicture(id, among = state.answer?.results ?? []) {
  const at = among.findIndex((one) => one.id === id);
  if (at < 0) return;
  Object.assign(state, {open: among[at], among});
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === among.length - 1;
  showPicture(state.open);
  if (byId("why").getAttribute("aria-pressed") === "true") explain(); else plain();
  if (!byId("picture").open) byId("picture").showModal();
}

function turn(step) {
  const next = state.among[state.among.indexOf(state.open) + step];
  if (next) openPicture(next.id, state.among);
}

function plain() {
  explained++;
  byId("why").setAttribute("aria-pressed", false);
  byId("why-sides").hidden = true;
  byId("picture-image").hidden = false;
}

async function explain() {
  plain();
  const mine = explained, {id} = state.open;
  byId("why").setAttribute("aria-pressed", true);
  try {
    const answer = await ask("why", query(), {result: id});
    if (mine !== explained) return;
    showWhy(answer);
    byId("why-sides").hidden = false;
    byId("picture-image").hidden = true;
  } catch (error) {
    if (mine !== explained) return;
    plain();
    byId("picture-error").textContent = error.message;
    byId("picture-error").hidden = false;
  }
}

byId("why").addEventListener("click", () => byId("why").getAttribute("aria-pressed") === "true" ? plain() : explain());
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
byId("picture-alike").addEventListener("click", () => { byId("picture").close(); acts.alike(state.open.id); });
byId("picture-close").addEventListener("click", () => byId("picture").close());
byId("picture").addEventListener("click", (event) => { if (event.target === byId("picture")) byId("picture").close(); });
byId("picture").addEventListener("close", () => { plain(); document.querySelector(`[data-id="${state.open.id}"] .thumb`)?.focus(); });
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("picture-path").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("picture-path"));
    byId("copy").textContent = "Selected";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
});

// --- Start ------------------------------------------------------------------------------------

tools();
try {
  const served = await health();
  byId("gallery").textContent = pictures(served.pictures);
  if (!served.pictures) byId("status").textContent = "The gallery is empty: fill it with launch.index.";
} catch (error) {
  fail(error);
}
document.documentElement.dataset.ready = "";
