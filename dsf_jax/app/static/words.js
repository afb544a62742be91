// The field of words, and the slider that weighs them against what is shown.
import {byId} from "./view.js";

let understood = true; // by the network; until it is asked, words that the tab kept are tried

export const said = () => understood ? byId("words").value.trim() : "";

// Words that are joined to what is shown.
export const joined = (asked) => said() && !asked.words ? {words: said(), words_share: byId("share").value / 100} : {};

// What was typed or slid since a step; null where nothing was.
export function unsettled(step) {
  const words = said(), share = Number(byId("share").value);
  return understood && (words !== step.words || share !== step.share) ? {words, share} : null;
}

export function showWords({words, share}) {
  if (said() !== words) byId("words").value = words; // else the cursor stays for who types on
  byId("share").value = share;
}

// Shows the field where the network knows words, and searches by none elsewhere; returns whether that is another query.
export function offerWords(known) {
  const before = said();
  understood = known;
  byId("saying").hidden = byId("help-words").hidden = !known;
  return said() !== before;
}

// Calls typed() while one types or slides, and settled() when that has an end.
export function prepareWords({typed, settled}) {
  for (const id of ["words", "share"]) {
    byId(id).addEventListener("input", typed);
    byId(id).addEventListener("change", settled);
  }
}
