// Strokes as text, and the link that holds them behind its #: browsers do not send that part to a server.
// The text is base64url of bytes: the format's number; per stroke the number of its points, doubled, and one
// more where pressures follow; per point how far it is from the one before, in tenths of a unit (what is sent
// of a drawing), and so the pressure, in hundredths; at the end a checksum of two bytes. Whole numbers have seven
// bits a byte, the lowest first.
import {rounded} from "./strokes.js";

const FORMAT = 1;
const KEY = "#drawing=";
const FARTHEST = 1e6; // tenths of a unit: a pointer that is held may leave the paper
const LONGEST = 2 ** 28; // more than any number that is written
export const MOST = 32_000; // characters of a drawing in a link

const CUT = "The link to a drawing is damaged or cut off: copy all of it, and open it again.";

export function textOf(strokes) {
  const bytes = [FORMAT], at = [0, 0, 0];
  const put = (number) => { for (; number > 127; number >>>= 7) bytes.push(number & 127 | 128); bytes.push(number); };
  const go = (value, axis) => { put(value < at[axis] ? 2 * (at[axis] - value) - 1 : 2 * (value - at[axis])); at[axis] = value; };
  for (const stroke of rounded(strokes)) {
    const felt = stroke[0].length === 3;
    put(2 * stroke.length + felt);
    for (const [x, y, pressure] of stroke) {
      [x, y].forEach((value, axis) => go(Math.round(10 * Math.min(FARTHEST / 10, Math.max(-FARTHEST / 10, value))), axis));
      if (felt) go(Math.round(100 * pressure), 2);
    }
  }
  const sum = checksum(bytes);
  const characters = Array.from([...bytes, sum & 255, sum >> 8], (byte) => String.fromCharCode(byte));
  return btoa(characters.join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// Throws an Error, whose message says what is wrong, for anything that `textOf` does not make.
export function strokesOf(text) {
  const bytes = bytesOf(text), strokes = [], at = [0, 0, 0];
  let next = 1;
  const take = () => {
    let number = 0, unit = 1, byte;
    do {
      if (next >= bytes.length || unit > LONGEST) throw new Error(CUT);
      byte = bytes[next++];
      number += unit * (byte & 127);
      unit *= 128;
    } while (byte > 127);
    return number;
  };
  const go = (axis, [least, most]) => {
    const number = take();
    at[axis] += number % 2 ? -(number + 1) / 2 : number / 2;
    if (at[axis] < least || at[axis] > most) throw new Error(CUT);
    return at[axis];
  };
  while (next < bytes.length) {
    const head = take(), count = Math.floor(head / 2), stroke = [];
    if (!count || count > bytes.length) throw new Error(CUT);
    for (let i = 0; i < count; i++) {
      const place = [0, 1].map((axis) => go(axis, [-FARTHEST, FARTHEST]) / 10);
      stroke.push(head % 2 ? [...place, go(2, [0, 100]) / 100] : place);
    }
    strokes.push(stroke);
  }
  if (!strokes.length) throw new Error(CUT);
  return strokes;
}

function bytesOf(text) {
  let bytes;
  try {
    bytes = Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
  } catch {
    throw new Error(CUT);
  }
  const sum = bytes.splice(-2);
  if (sum.length < 2 || checksum(bytes) !== sum[0] + 256 * sum[1]) throw new Error(CUT);
  if (bytes[0] !== FORMAT) throw new Error("The link to a drawing is of another version of this page; ask for one from the same version.");
  return bytes;
}

const checksum = (bytes) => bytes.reduce((sum, byte) => (31 * sum + byte + 1) % 65521, 7);

export const linkOf = (strokes) => location.href.split("#")[0] + KEY + textOf(strokes);
export const lengthOf = (link) => link.length - link.indexOf(KEY) - KEY.length;

// The strokes that the page's address holds, null where it holds none. They leave it: what is drawn next is not
// what the address would say. Throws an Error for those that cannot be read.
export function strokesOfAddress() {
  if (!location.hash.startsWith(KEY)) return null;
  const text = location.hash.slice(KEY.length);
  history.replaceState(history.state, "", location.pathname + location.search);
  if (text.length > MOST) throw new Error(`The link holds ${text.length} characters of a drawing, at most ${MOST} are read; ask for a simpler drawing.`);
  // Programs for letters and chats break long links, and take a full stop behind them for a part.
  return strokesOf(text.replace(/%20|%0[AD]|\s/gi, "").replace(/[^\w-]+$/, ""));
}
