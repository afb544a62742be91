// The page: what the person does -> a step -> an answer on the screen.
import {Away, Refused, UNKNOWN_LABEL, ask, health} from "./api.js";
import {openDialog, openPicture, prepareDialogs, showAgain} from "./dialogs.js";
import {Surface} from "./drawing.js";
import {savePage, saveTable} from "./files.js";
import {Steps, dialogEntries} from "./history.js";
import {leaveUnread, takeFiles} from "./intake.js";
import {prepareKeys} from "./keys.js";
import {strokesOfAddress} from "./links.js";
import {hush, notice, say} from "./notices.js";
import {prepareDrawings, showDrawings} from "./saved.js";
import {EXAMPLES} from "./strokes.js";
import {byId, nameOf, pictures, reloadThumbnails, showGuesses, showMarks, showOnPaper, showResults, showWaiting, tell} from "./view.js";
import {joined, offerWords, prepareWords, said, showWords, unsettled} from "./words.js";

const FIRST = 24, MOST = 200; // results
const MOST_MARKS = 50; // of each kind: the server takes no more
const WHILE_DRAWING = 250; // ms between searches as the pen moves; when it lifts, at once
const UNTIL_VOTE = 450; // ms without change until 18 views are asked for
const LOOK_AGAIN = 2000; // ms between looks for a server that is away

const NO_FILTERS = {labels: [], liked: [], disliked: []};
const DRAWING = {...NO_FILTERS, file: null, picture: null, as: "auto"};

const surface = new Surface(byId("canvas"));
const steps = new Steps();
let count = FIRST, answer = null, guesses = [];

// --- Asking -----------------------------------------------------------------------------------

let number = 0, flight = null, timer = 0, voting = null, voteTimer = 0, looking = 0;

const isDrawing = () => surface.busy || !(steps.file || steps.now.picture); // the pen is put on top of the others

function query() {
  if (!isDrawing()) return steps.file ? {file: steps.file, as: steps.now.as} : {picture: steps.now.picture.id};
  if (surface.visible.length) return {strokes: surface.visible};
  return said() ? {words: said()} : null;
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
  const {labels, liked, disliked} = steps.now;
  const started = performance.now();
  try {
    const got = await ask("search", asked, {count, label: labels, like: liked, unlike: disliked, ...joined(asked)}, own.signal);
    if (mine !== number) return;
    flight = null;
    answer = got;
    guesses = got.guesses;
    show(performance.now() - started);
    if (["drawing", "photo"].includes(got.taken) && got.results.length) voteTimer = setTimeout(() => vote(asked, mine), UNTIL_VOTE);
  } catch (error) {
    if (mine !== number || error.name === "AbortError") return;
    flight = null;
    fail(error);
  }
}

async function vote(asked, mine) {
  voting = new AbortController();
  try {
    const voted = await ask("guesses", asked, {}, voting.signal);
    if (mine !== number) return;
    guesses = voted.guesses;
    facets();
  } catch (error) {
    if (mine === number && error.name !== "AbortError" && !(error instanceof Refused)) fail(error);
  }
}

// --- Showing ----------------------------------------------------------------------------------

function busy(is) {
  document.querySelector(".found").setAttribute("aria-busy", is);
  if (is) showWaiting(byId("results"));
}

function show(milliseconds) {
  const {results, pictures: all} = answer, {liked} = steps.now;
  busy(false);
  hush("error");
  byId("results").classList.remove("stale");
  showResults(byId("results"), results, new Set(liked), acts);
  byId("gallery").textContent = pictures(all);
  const nearest = results.slice(0, 3).map(nameOf).join(", ");
  byId("status").textContent = results.length
    ? `${results.length} of ${pictures(all)} in ${Math.round(milliseconds)} ms, nearest: ${nearest}`
    : all ? "No picture is left: take a filter or a mark away." : "The gallery is empty: fill it with launch.index.";
  byId("none-near").hidden = !answer.nothing_near;
  byId("more").hidden = results.length < count || count >= MOST;
  byId("files").hidden = !results.length;
  byId("results").dataset.number = number;
  facets();
  queryBar();
}

function facets() {
  const {labels, liked, disliked} = steps.now;
  showGuesses(answer, guesses, labels, (label) => {
    count = FIRST;
    act({labels: labels.includes(label) ? [] : [label]});
  });
  showMarks(liked, disliked);
}

function queryBar() {
  const {picture, as} = steps.now, {file} = steps;
  const drawing = isDrawing(), kind = as === "auto" ? answer?.taken : as;
  byId("query").hidden = drawing;
  byId("query-kind").hidden = !file;
  byId("query-name").textContent = byId("query-name").title = drawing ? "" : file ? `${file.name || "The picture"} as` : `More like ${nameOf(picture)}`;
  byId("back").textContent = surface.strokes.length ? "Back to my drawing" : "Back to drawing";
  byId("weighing").hidden = !said() || Boolean(query()?.words);
  for (const one of ["drawing", "photo"]) byId(`as-${one}`).setAttribute("aria-pressed", kind === one);
}

function fail(error) {
  busy(false);
  byId("results").querySelectorAll(".waiting").forEach((card) => card.remove());
  byId("status").textContent = "";
  queryBar();
  const away = error instanceof Away;
  if (away) byId("results").classList.add("stale");
  else nothingFound(); // what is there belongs to another query
  const about = steps.file && !isDrawing() ? `${steps.file.name || "The picture"}: ` : "";
  const refused = error instanceof Refused, change = without(error);
  say(refused ? about + error.message : error.message, {kind: change ? "notice" : "error", retry: !refused || error.status >= 500});
  if (away) lookAgain();
  if (change) step(change);
}

// A picture, a mark or a label may be of a gallery that was served here before: the change that leaves it out.
function without({status, code}) {
  const {picture, liked, disliked, labels} = steps.now;
  if (status === 404 && picture) return DRAWING;
  if (status === 404 && liked.length + disliked.length) return {liked: [], disliked: []};
  return code === UNKNOWN_LABEL && labels.length ? {labels: []} : null;
}

function lookAgain() {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    try {
      await meet();
      looking = 0;
      hush();
      reloadThumbnails(byId("results"));
      showAgain();
      showQuery();
      search();
    } catch (error) {
      if (error instanceof Away) lookAgain();
      else fail(error);
    }
  }, LOOK_AGAIN);
}

// Another server than before may answer: another gallery, a network that knows no words, or does now.
async function meet() {
  const served = await health();
  byId("gallery").textContent = pictures(served.pictures);
  byId("expectation").textContent = served.expectation;
  if (offerWords(served.words)) render();
  if (!served.pictures) byId("status").textContent = "The gallery is empty: fill it with launch.index.";
}

function nothingFound() {
  answer = null;
  guesses = [];
  byId("results").replaceChildren();
  byId("results").classList.remove("stale");
  for (const id of ["guesses", "marks", "more", "files", "none-near"]) byId(id).hidden = true;
}

function reset() {
  busy(false);
  hush("error");
  nothingFound();
  count = FIRST;
  byId("status").textContent = "";
  byId("empty").hidden = false;
  queryBar();
}

// --- Steps ------------------------------------------------------------------------------------

function act(change, options) {
  leaveUnread();
  step(change, options);
}

function step(change, {again = false} = {}) {
  settle();
  if (again) steps.amend(change); else steps.do(change);
  render();
}

// What was typed or slid and is no step yet becomes one; returns whether there was something.
function settle() {
  const change = unsettled(steps.now);
  if (change) steps.do(change);
  return Boolean(change);
}

// Shows the step that is the current one, and searches.
function render() {
  if (surface.strokes !== steps.now.strokes) surface.show(steps.now.strokes);
  showWords(steps.now);
  showQuery();
  tools();
  queryBar();
  search();
}

const showQuery = () => showOnPaper(isDrawing() ? {} : {file: steps.file, picture: steps.now.picture});

function openFile(file, note) {
  count = FIRST;
  notice(note);
  act({...DRAWING, file});
  openDialog()?.close();
}

function refuse(message) {
  openDialog()?.close();
  notice(message);
}

const result = (id) => answer?.results.find((one) => one.id === id);

function alike(picture) {
  if (!picture) return;
  count = FIRST;
  hush();
  act({...DRAWING, picture});
  openDialog()?.close();
}

function mark(id, to, from) {
  const others = steps.now[to].filter((one) => one !== id), before = steps.now[to];
  if (others.length === MOST_MARKS) return notice(`At most ${MOST_MARKS} pictures can be marked; take a mark away first.`);
  act({[to]: others.length < before.length ? others : [...before, id], [from]: steps.now[from].filter((one) => one !== id)});
}

const acts = {
  open: (id) => openPicture(id, answer?.results ?? []),
  copies: (id) => openPicture(id, [result(id), ...result(id).duplicates]),
  like: (id) => mark(id, "liked", "disliked"),
  unlike: (id) => mark(id, "disliked", "liked"),
  alike: (id) => alike(result(id)),
};

// --- The tools --------------------------------------------------------------------------------

function tools() {
  const drawn = isDrawing(), focused = document.activeElement; // some browsers take the focus away at once
  byId("undo").disabled = !steps.canUndo;
  byId("redo").disabled = !steps.canRedo;
  byId("clear").disabled = drawn && !surface.strokes.length;
  byId("invitation").hidden = !drawn || surface.visible.length > 0;
  for (const tool of ["pen", "eraser"]) byId(tool).setAttribute("aria-pressed", surface.tool === tool);
  if (focused?.disabled) byId("canvas").focus({preventScroll: true}); // what is switched off loses the focus
}

const choose = (tool) => { surface.tool = tool; tools(); tell(tool === "pen" ? "Pen" : "Eraser"); };
const counted = () => `${surface.strokes.length || "no"} stroke${surface.strokes.length === 1 ? "" : "s"}`;

function clear() {
  if (byId("clear").disabled) return;
  act(isDrawing() ? {...DRAWING, strokes: []} : DRAWING);
  choose("pen");
  tell("Cleared");
}

// Another drawing on the paper: undo and Back bring back what was there.
function putDown(strokes, about) {
  count = FIRST;
  act({...DRAWING, strokes, sheet: Date.now()});
  openDialog()?.close();
  tell(`${about}: ${counted()}`);
}

function putDownLinked() {
  try {
    const strokes = strokesOfAddress();
    if (strokes) putDown(strokes, "A drawing from a link");
  } catch (error) {
    notice(error.message);
  }
}

async function savePictures() {
  tell("The page is being made");
  try {
    const strokes = isDrawing() ? surface.strokes : [], {picture, labels} = steps.now;
    const shown = strokes.length ? "a drawing" : isDrawing() ? "" : steps.file ? steps.file.name || "a picture" : `more like ${nameOf(picture)}`;
    const title = [shown, said() && `“${said()}”`, ...labels].filter(Boolean).join(", ");
    await savePage(answer.results, {title, strokes, among: answer.pictures});
    tell("The page is saved");
  } catch (error) {
    if (error instanceof Away) fail(error); else notice(error.message);
  }
}

const deeds = {
  pen: () => choose("pen"),
  eraser: () => choose("eraser"),
  undo: () => steps.undo(),
  redo: () => steps.redo(),
  clear,
  open: () => byId("file").click(),
  back: () => act(DRAWING),
  more: () => { count = Math.min(MOST, 2 * count); search(); },
  forget: () => act({liked: [], disliked: []}),
  retry: () => search(),
  dismiss: () => hush(),
  "as-drawing": () => act({as: "drawing"}),
  "as-photo": () => act({as: "photo"}),
  keep: () => showDrawings(surface.strokes),
  "files-csv": () => { saveTable(answer.results); tell("The table is saved"); },
  "files-html": savePictures,
  "show-help": () => byId("help").showModal(),
};
for (const [id, deed] of Object.entries(deeds)) byId(id).addEventListener("click", deed);
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    putDown(EXAMPLES[button.dataset.example], button.textContent);
    byId("canvas").focus({preventScroll: true});
  });
}

surface.addEventListener("change", ({detail}) => {
  leaveUnread();
  hush("notice");
  if (detail.settled) {
    const other = steps.file || steps.now.picture || !surface.strokes.length;
    const more = surface.strokes.length > steps.now.strokes.length;
    act({...(other ? DRAWING : {}), strokes: surface.strokes}, detail);
    return tell(`${more ? "Drawn" : "Erased"}: ${counted()}`);
  }
  tools();
  showQuery();
  if (!isDrawing() && surface.strokes === steps.now.strokes) { settle(); render(); } // the pen is away again, and drew nothing
  else search({soon: true});
});

surface.addEventListener("held", ({detail}) => {
  const [across, down] = detail.at.map((place) => `${Math.round(100 * place)} %`);
  tell(`${surface.tool === "pen" ? "Pen" : "Eraser"} down, ${across} across, ${down} down`);
});

// While one types or slides, searches follow; what is settled is a step.
prepareWords({typed: () => { queryBar(); search({soon: true}); }, settled: () => { if (settle()) render(); }});

steps.addEventListener("travel", () => { leaveUnread(); count = FIRST; hush(); render(); tell(isDrawing() ? `Now ${counted()}` : byId("query-name").textContent); });
steps.addEventListener("unkept", () => notice("This browser keeps no drawings: a reload or a closed tab will lose it."), {once: true});
addEventListener("away", lookAgain);

takeFiles({
  open: openFile,
  alike: (id) => alike(result(id)),
  refuse,
});
prepareDialogs({currentQuery: query, alike});
prepareDrawings({show: putDown});
addEventListener("hashchange", putDownLinked);
for (const dialog of document.querySelectorAll("dialog")) dialogEntries(dialog);

prepareKeys(deeds, byId("results"));

// --- Start ------------------------------------------------------------------------------------

render();
putDownLinked();
if (steps.lost) notice(`${steps.lost.name || "The picture"} has to be opened again: a reload loses files.`);
try {
  await meet();
} catch (error) {
  fail(error);
}
document.documentElement.dataset.ready = "";
