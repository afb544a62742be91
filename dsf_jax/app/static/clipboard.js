// Text into the clipboard, also where the browser does not trust the page with it.
import {made} from "./view.js";

// Returns whether it is there now. Over http, as in a home network, navigator.clipboard does not exist.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text);
  }
}

function copiedBySelection(text) {
  const focused = document.activeElement, field = made("textarea", {readonly: "", class: "unseen", "aria-hidden": "true"});
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field); // what lies outside of a dialog cannot be selected
  field.select();
  const is = document.execCommand("copy");
  field.remove();
  focused?.focus({preventScroll: true});
  return is;
}
