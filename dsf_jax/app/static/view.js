// Shows answers: cards, and facets to filter by.
import {thumbnail} from "./api.js";

export const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const STEPS = 5;
const FAINT = 0.3; // agreement, of the best, below which nothing is coloured
const LEAST = 0.01; // probability of a guess that is shown
const SURE = 0.5; // probability from which on a class that the gallery does not have is named
const NARROW = 0.72, WIDE = 2.4; // width by height of a thumbnail; what goes beyond is cropped
export const WORDS = ["", "not near", "somewhat near", "near", "very near", "stands out"];

export const pictures = (n) => `${count.format(n)} picture${n === 1 ? "" : "s"}`;
export const nameOf = (result) => result.label ?? result.path.split(/[\\/]/).at(-1);

export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const icon = (name) => svg("svg", {"aria-hidden": "true"}, svg("use", {href: `static/icons.svg#${name}`}));

// Says something to who does not see the paper; the same once more is said once more.
export function tell(text) {
  const line = byId("told");
  line.textContent = line.textContent === text ? `${text}\u00a0` : text;
}

export function stepsBar(filled) {
  const bar = made("span", {class: "steps", role: "img", "aria-label": `${filled} of ${STEPS}: ${WORDS[filled]}`});
  for (let i = 1; i <= STEPS; i++) bar.append(made("i", {class: i <= filled ? "on" : null}));
  return bar;
}

// A picture that is searched with lies on the paper; none where the drawing is seen.
let shownFile = null;
export function showOnPaper({file, picture}) {
  const shown = byId("shown");
  shown.hidden = !file && !picture;
  if (shown.hidden) return;
  if (file !== shownFile && shown.src.startsWith("blob:")) URL.revokeObjectURL(shown.src);
  if (!file || file !== shownFile) shown.src = file ? URL.createObjectURL(file) : thumbnail(picture.id);
  shownFile = file;
  shown.alt = file ? file.name || "Your picture" : nameOf(picture);
  shown.onload = () => {
    shown.classList.toggle("tall", shown.naturalHeight > shown.naturalWidth);
    shown.classList.remove("unreadable");
  };
  shown.onerror = () => shown.classList.add("unreadable"); // its name is below
}

// Cards stay the same elements as long as their picture is listed: nothing flickers, focus stays.
export function showResults(list, results, liked, acts) {
  const there = new Map([...list.querySelectorAll(".card[data-id]")].map((card) => [card.dataset.id, card]));
  const cards = results.map((result, i) => {
    const card = there.get(result.id) ?? newCard(result.id, acts);
    fill(card, result, i + 1, liked);
    return card;
  });
  const same = cards.length === list.children.length && cards.every((card, i) => list.children[i] === card);
  if (same) return;
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  list.replaceChildren(...cards);
  if (focused?.isConnected) focused.focus({preventScroll: true});
  else if (focused) (list.querySelector("button") ?? list).focus({preventScroll: true});
}

function newCard(id, acts) {
  const image = made("img", {src: thumbnail(id), alt: "", loading: "lazy", decoding: "async"});
  image.addEventListener("error", () => image.classList.add("broken"));
  image.addEventListener("load", () => image.classList.remove("broken"));
  const act = (name, title, symbol) => {
    const button = made("button", {type: "button", class: name, title}, icon(symbol));
    button.addEventListener("click", () => acts[name](id));
    return button;
  };
  const open = made("button", {type: "button", class: "thumb"}, image);
  open.addEventListener("click", () => acts.open(id));
  const copies = made("button", {type: "button", class: "copies", "aria-haspopup": "dialog", title: "The same picture, resized or saved again: show them all"});
  copies.addEventListener("click", () => acts.copies(id));
  const card = made("li", {class: "card", "data-id": id},
    open,
    copies,
    made("div", {class: "about"}, made("b"), made("div", {class: "closeness"})),
    made("div", {class: "acts"},
      act("like", "Right: more of this (+)", "plus"),
      act("unlike", "Wrong: away with it (−)", "minus"),
      act("alike", "More like this (L)", "alike")));
  card.addEventListener("keydown", (event) => {
    const name = {"+": "like", "=": "like", "-": "unlike", l: "alike"}[event.key];
    if (name && !event.ctrlKey && !event.metaKey) acts[name](id);
  });
  return card;
}

function fill(card, result, rank, liked) {
  const name = nameOf(result), find = (selector) => card.querySelector(selector);
  const ratio = Math.min(WIDE, Math.max(NARROW, result.width / result.height));
  card.style.setProperty("--ratio", ratio.toFixed(4));
  find(".thumb").setAttribute("aria-label", `${rank}: ${name}, ${WORDS[result.steps]}. Open`);
  const alike = `${result.duplicates.length + 1} alike`;
  find(".copies").hidden = !result.duplicates.length;
  find(".copies").textContent = alike;
  find(".copies").setAttribute("aria-label", `${name}: ${alike}. Show them`);
  find("b").textContent = name;
  find("b").title = name;
  find(".closeness").replaceChildren(stepsBar(result.steps));
  find(".closeness").title = WORDS[result.steps];
  find(".like").setAttribute("aria-pressed", liked.has(result.id));
  for (const [act, words] of [["like", "is right"], ["unlike", "is wrong"], ["alike", ": more like this"]]) {
    find(`.${act}`).setAttribute("aria-label", `${name} ${words}`.replace(" :", ":"));
  }
  card.classList.toggle("liked", liked.has(result.id));
}

// Thumbnails that failed while the server was away.
export function reloadThumbnails(list) {
  for (const image of list.querySelectorAll(".broken")) image.src = thumbnail(image.closest(".card").dataset.id);
}

export function showWaiting(list) {
  if (!list.children.length) list.replaceChildren(...Array.from({length: 8}, () => made("li", {class: "card waiting", "aria-hidden": "true"})));
}

// What the query may show; calls press(label) for one that is to filter.
export function showGuesses({taken, results}, guesses, chosen, press) {
  byId("guesses-title").textContent = {drawing: "You may have drawn", photo: "It may show", picture: "Labels", words: "Labels"}[taken];
  const some = showFacets(byId("facets"), guesses, results, chosen, press), absent = absentClass(guesses);
  byId("guesses").hidden = !some && !absent;
  byId("guesses-title").hidden = !some;
  byId("absent").hidden = !absent;
  byId("absent").textContent = `The network takes it for “${absent}”, of which this gallery has no pictures.`;
}

export function showMarks(liked, disliked) {
  const marked = [[liked, "right"], [disliked, "wrong"]].filter(([ids]) => ids.length).map(([ids, word]) => `${ids.length} ${word}`);
  byId("marks").hidden = !marked.length;
  byId("marks-text").textContent = `Ranked anew by ${marked.join(" and ")}.`;
}

// The guessed classes that can be found, then labels that several results have: they filter when pressed.
function showFacets(list, guesses, results, chosen, press) {
  const facets = guesses.filter((guess) => guess.label !== null && guess.probability >= LEAST)
    .map((guess) => ({...guess, share: guess.probability, text: count.format(guess.pictures)}));
  const counts = new Map();
  for (const {label} of results) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
  for (const [label, n] of [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6)) {
    if (n > 1 && n < results.length && !facets.some((facet) => facet.label === label)) facets.push({label, text: `${n} here`});
  }
  for (const label of chosen) if (!facets.some((facet) => facet.label === label)) facets.unshift({label, text: ""});
  const focused = document.activeElement?.dataset?.label;
  list.replaceChildren(...facets.map((facet) => {
    const content = [made("b", {}, facet.label), made("small", {}, facet.text)];
    const fillings = made("i");
    fillings.style.width = `${100 * (facet.share ?? 0)}%`;
    const button = made("button", {
      type: "button", class: "facet", "data-label": facet.label, "aria-pressed": chosen.includes(facet.label),
      title: facet.pictures ? `Show only the ${pictures(facet.pictures)} labelled ${facet.label}. The bar is how likely the network thinks it` : `Show only those labelled ${facet.label}`,
    }, fillings, ...content);
    button.addEventListener("click", () => press(facet.label));
    if (facet.label === focused) queueMicrotask(() => button.focus());
    return made("li", {}, button);
  }));
  return facets.length > 0;
}

// What the network takes the query for, where the gallery has no such pictures; "" where it has.
function absentClass(guesses) {
  const likeliest = guesses.reduce((one, other) => other.probability > (one?.probability ?? 0) ? other : one, null);
  return likeliest && likeliest.label === null && likeliest.probability >= SURE ? likeliest.name.replaceAll("_", " ") : "";
}

// The map's few places, smoothly enlarged, over a picture without colours.
export function paintMap(canvas, strength) {
  const [h, w] = [strength.length, strength[0].length];
  const small = new OffscreenCanvas(w, h), brush = small.getContext("2d"), pixels = brush.createImageData(w, h);
  strength.flat().forEach((value, i) => {
    const heat = Math.max(0, (value / 255 - FAINT) / (1 - FAINT));
    pixels.data.set([255, 110, 0, 215 * heat], 4 * i);
  });
  brush.putImageData(pixels, 0, 0);
  canvas.width = canvas.height = 320;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, 320, 320);
}
