// Shows answers: cards, facets, the large picture and the reasons for it.
import {large, thumbnail} from "./api.js";

export const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const STEPS = 5;
const FAINT = 0.3; // agreement, of the best, below which nothing is coloured
const LEAST = 0.01; // probability of a guess that is shown
const WORDS = ["", "usual", "a little closer", "closer", "much closer", "stands out"];

export const pictures = (n) => `${count.format(n)} picture${n === 1 ? "" : "s"}`;
export const nameOf = (result) => result.label ?? result.path.split(/[\\/]/).at(-1);

function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS(svg.namespaceURI, "use");
  use.setAttribute("href", `static/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

function percentage(share) {
  const tenths = Math.floor(1000 * share + 1e-9) / 10; // never rounded up to 100
  return `${tenths >= 99 ? Math.min(tenths, 99.9).toFixed(1) : Math.floor(tenths)} %`;
}

export const closeness = (result) => `closer than ${percentage(result.closer_than)} of the gallery`;

function steps(filled) {
  const bar = made("span", {class: "steps", role: "img", "aria-label": `${filled} of ${STEPS}: ${WORDS[filled]}`});
  for (let i = 1; i <= STEPS; i++) bar.append(made("i", {class: i <= filled ? "on" : null}));
  return bar;
}

// Cards stay the same elements as long as their picture is listed: nothing flickers, focus stays.
export function showResults(list, results, marks, acts) {
  const there = new Map([...list.querySelectorAll(".card[data-id]")].map((card) => [card.dataset.id, card]));
  const cards = results.map((result, i) => {
    const card = there.get(result.id) ?? newCard(result.id, acts);
    fill(card, result, i + 1, marks);
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
  const act = (name, title, symbol) => {
    const button = made("button", {type: "button", class: name, title}, icon(symbol));
    button.addEventListener("click", () => acts[name](id));
    return button;
  };
  const open = made("button", {type: "button", class: "thumb"}, image);
  open.addEventListener("click", () => acts.open(id));
  const card = made("li", {class: "card", "data-id": id},
    open,
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

function fill(card, result, rank, marks) {
  const name = nameOf(result), find = (selector) => card.querySelector(selector);
  find(".thumb").setAttribute("aria-label", `${rank}: ${name}, ${closeness(result)}. Open`);
  find("b").textContent = name;
  find("b").title = name;
  const share = made("span", {title: closeness(result)}, percentage(result.closer_than));
  find(".closeness").replaceChildren(steps(result.steps), share);
  find(".like").setAttribute("aria-pressed", marks.liked.has(result.id));
  for (const [act, words] of [["like", "is right"], ["unlike", "is wrong"], ["alike", ": more like this"]]) {
    find(`.${act}`).setAttribute("aria-label", `${name} ${words}`.replace(" :", ":"));
  }
  card.classList.toggle("liked", marks.liked.has(result.id));
}

export function showWaiting(list) {
  if (!list.children.length) list.replaceChildren(...Array.from({length: 8}, () => made("li", {class: "card waiting", "aria-hidden": "true"})));
}

// The classes that the network guesses, then labels that several results have, filter when pressed.
export function showFacets(list, guesses, results, chosen, press) {
  const facets = guesses.filter((guess) => guess.probability >= LEAST).map((guess) => ({...guess, share: guess.probability, text: percentage(guess.probability)}));
  const counts = new Map();
  for (const {label} of results) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
  for (const [label, n] of [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6)) {
    if (n > 1 && n < results.length && !facets.some((facet) => facet.label === label)) facets.push({name: label, label, text: `${n} here`});
  }
  for (const label of chosen) if (!facets.some((facet) => facet.label === label)) facets.unshift({name: label, label, text: ""});
  const focused = document.activeElement?.dataset?.label;
  list.replaceChildren(...facets.map((facet) => {
    const content = [made("b", {}, facet.name), made("small", {}, facet.text)];
    if (facet.label === null) {
      return made("li", {}, made("span", {class: "facet", title: "no pictures with this label"}, ...content));
    }
    const fillings = made("i");
    fillings.style.width = `${100 * (facet.share ?? 0)}%`;
    const button = made("button", {
      type: "button", class: "facet", "data-label": facet.label, "aria-pressed": chosen.has(facet.label),
      title: facet.pictures ? `show only these ${pictures(facet.pictures)}` : "show only these",
    }, fillings, ...content);
    button.addEventListener("click", () => press(facet.label));
    if (facet.label === focused) queueMicrotask(() => button.focus());
    return made("li", {}, button);
  }));
  return facets.length > 0;
}

export function showPicture(result) {
  const image = byId("picture-image"), error = byId("picture-error");
  const full = made("img", {alt: nameOf(result), "data-shown": result.id});
  const shown = () => image.isConnected && image.dataset.shown === result.id; // not the next one already
  error.hidden = true;
  image.src = thumbnail(result.id); // until the file is read
  image.alt = nameOf(result);
  image.dataset.shown = result.id;
  full.onload = () => { if (shown()) { Object.assign(full, {id: image.id, hidden: image.hidden}); image.replaceWith(full); } };
  full.onerror = async () => {
    const response = await fetch(large(result.id));
    const {detail} = await response.json().catch(() => ({}));
    if (!shown()) return;
    error.textContent = detail ?? "The picture cannot be shown large.";
    error.hidden = false;
  };
  full.src = large(result.id);
  byId("picture-label").textContent = nameOf(result);
  byId("picture-path").textContent = result.path;
  byId("picture-size").textContent = `${result.width} × ${result.height} pixels`;
  byId("picture-closeness").replaceChildren(steps(result.steps), ` ${closeness(result)} (distance ${result.distance.toFixed(3)})`);
}

export function showWhy(answer) {
  for (const side of ["query", "result"]) {
    byId(`why-${side}`).src = answer[side].view;
    paintMap(byId(`why-${side}-map`), answer[side].strength);
  }
}

// The map's few places, smoothly enlarged, over a picture without colours.
function paintMap(canvas, strength) {
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
