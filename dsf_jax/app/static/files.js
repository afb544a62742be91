// Results as files: a table for a spreadsheet, and a page that holds its pictures.
import {Away, thumbnail} from "./api.js";
import {preview} from "./saved.js";
import {WORDS, made, nameOf, pictures} from "./view.js";

// The rank counts results; a picture's near-duplicates have its rank.
const COLUMNS = ["rank", "label", "path", "width", "height", "closeness", "distance", "id"];
const FORMULA = /^[\s\0]*[=+\-@＝＋－＠]|^[\t\r\n]/; // what spreadsheets would compute
const STYLE = `body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#1c1d1f}ol{list-style:none;padding:0;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(170px,1fr))}li{border:1px solid #dedbd3;border-radius:8px;padding:.5rem;overflow-wrap:anywhere}
img{display:block;max-width:100%;height:150px;object-fit:contain;margin:auto}small{display:block;color:#63645f}
svg{width:160px;border:1px solid #dedbd3;border-radius:8px;fill:none;stroke:#1c1d1f;stroke-width:5;stroke-linecap:round;stroke-linejoin:round}`;

const rows = (result, i) => [result, ...result.duplicates].map((picture) => row(picture, i));
const row = (result, i) => [i + 1, result.label ?? "", result.path, result.width, result.height, WORDS[result.steps], result.distance, result.id];

// A mark before what a spreadsheet would take for a formula; quotes as RFC 4180 has them.
function cell(value) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveTable(results) {
  const lines = [COLUMNS, ...results.flatMap(rows)].map((values) => values.map(cell).join(","));
  download(["\ufeff", lines.map((line) => `${line}\r\n`).join("")], "text/csv", "csv"); // the mark tells spreadsheets that it is UTF-8
}

// Throws Away where the server does not give the pictures.
export async function savePage(results, {title, strokes, among}) {
  const images = await Promise.all(results.map(inlined));
  const page = document.implementation.createHTMLDocument(`Found: ${title}`);
  page.documentElement.lang = "en";
  page.head.prepend(
    made("meta", {charset: "utf-8"}),
    made("meta", {"http-equiv": "Content-Security-Policy", content: "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}),
    made("meta", {name: "viewport", content: "width=device-width, initial-scale=1"}));
  page.body.append(
    made("h1", {}, `Found: ${title}`),
    made("p", {}, `${results.length} of ${pictures(among)}, nearest first; ${new Date().toLocaleString()}`),
    ...strokes.length ? [preview(strokes)] : [],
    made("ol", {}, ...results.map((result, i) => item(result, i, images[i]))));
  // Its style is put in as text: here, the policy of this page would hold for it.
  const text = page.documentElement.outerHTML.replace("</head>", () => `<style>${STYLE}</style></head>`);
  download(["<!doctype html>\n", text], "text/html", "html");
}

function item(result, i, image) {
  return made("li", {},
    image ? made("img", {src: image, alt: nameOf(result)}) : made("p", {}, "(no picture)"),
    made("b", {}, `${i + 1}. ${nameOf(result)}`),
    made("small", {}, `${WORDS[result.steps]} (distance ${result.distance.toFixed(3)}), ${result.width} × ${result.height}`),
    ...[result, ...result.duplicates].map(({path}) => made("small", {}, path)));
}

// A thumbnail as a data: address; null where the gallery does not have it any more.
async function inlined({id}) {
  let response;
  try { response = await fetch(thumbnail(id)); } catch { throw new Away(); }
  if (!response.ok) return null;
  const blob = await response.blob();
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}

function download(parts, type, suffix) {
  const address = URL.createObjectURL(new Blob(parts, {type: `${type};charset=utf-8`}));
  const now = new Date(), day = [now.getFullYear(), now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()];
  made("a", {href: address, download: `found-${day.map((n) => String(n).padStart(2, "0")).join("-")}.${suffix}`}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers read it later
}
