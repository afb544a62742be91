// The line above the page that says what is wrong. An error goes when an answer comes, a notice when something else is done.
import {byId} from "./view.js";

export function say(message, {kind = "error", retry = false} = {}) {
  byId("error").hidden = !message;
  byId("error").dataset.kind = kind;
  byId("error-text").textContent = message;
  byId("retry").hidden = !retry;
}

export const notice = (message) => say(message, {kind: "notice"});

// Takes away what is said; only what is of a kind, where one is named.
export function hush(kind = byId("error").dataset.kind) {
  if (byId("error").dataset.kind === kind) say("");
}
