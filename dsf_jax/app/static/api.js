// What the page asks the server. A query is {strokes}, {picture}, {words} or {file, as}.
import {SIDE} from "./drawing.js";
import {rounded} from "./strokes.js";

const SHRINK_FROM = 4e6, SHRINK_TO = 1600; // bytes; pixels of the longer side

export const UNKNOWN_LABEL = "unknown_label"; // the code of such an error

export class Refused extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Nobody answers: the server is away, or who stands in front of it says so.
export class Away extends Error {
  constructor() { super("The server does not answer. Is launch.serve still running? Your drawing is kept; the search goes on when it is back."); }
}
const AWAY = [502, 503, 504];

export const thumbnail = (id) => `api/pictures/${encodeURIComponent(id)}`;
export const large = (id) => `${thumbnail(id)}?full=1`;
export const health = () => answer(fetch("api/health"));
export const whyNotLarge = (id) => answer(fetch(large(id)).then((response) => response.ok ? Response.json({}) : response));

export function ask(what, query, options, signal) {
  const [body, type] = query.file
    ? [query.file, query.file.type || "image/unknown"]
    : [JSON.stringify(query.picture ? {picture: query.picture} : query.words ? {words: query.words} : {strokes: rounded(query.strokes), box: [0, 0, SIDE, SIDE]}), "application/json"];
  const asked = new URLSearchParams(query.file ? {as: query.as} : {});
  for (const [name, values] of Object.entries(options)) for (const value of [values].flat()) asked.append(name, value);
  return answer(fetch(`api/${what}?${asked}`, {method: "POST", body, headers: {"Content-Type": type}, signal}));
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away();
  }
  if (AWAY.includes(response.status)) throw new Away();
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(content.detail ?? `The server answered ${response.status}.`, response.status, content.code);
  return content;
}

// A picture as it is now, in memory: its file may be another when it is sent. Throws where it cannot be read.
export async function sendable(file) {
  const smaller = file.size > SHRINK_FROM ? await shrunk(file) : null;
  return new File([smaller ?? await file.arrayBuffer()], file.name, {type: (smaller ?? file).type});
}

// Photos of today's phones are larger than what is needed, and than what is taken; null for a format that the
// browser does not know: the server may.
async function shrunk(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SHRINK_TO / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    const brush = canvas.getContext("2d");
    brush.fillStyle = "white"; // what is transparent lies on paper, as the server has it
    brush.fillRect(0, 0, canvas.width, canvas.height);
    brush.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({type: "image/jpeg", quality: 0.92});
  } catch {
    return null;
  }
}
