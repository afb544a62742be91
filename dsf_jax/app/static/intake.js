// Picture files that are opened, pasted or dropped, and what is said of everything else.
import {sendable} from "./api.js";
import {byId} from "./view.js";

const OWN = /\/api\/pictures\/([^/?]+)/;

let reading = null; // the picture that is being read

// Something else was asked for meanwhile: what is being read is not opened.
export const leaveUnread = () => { reading = null; };

// Calls open(file, note), alike(id) or refuse(message).
export function takeFiles({open, alike, refuse}) {
  const read = async (file, note) => {
    const own = reading = {}, picture = await sendable(file).catch(() => null);
    if (own !== reading) return;
    if (picture) open(picture, note); else refuse(`${named(file)} cannot be read; open it again.`);
  };

  const take = (files, whence) => {
    const images = files.filter((file) => !file.type || file.type.startsWith("image/"));
    if (!images.length) return refuse(`${named(files[0])} is not a picture: ${whence} one, as JPEG, PNG or WebP.`);
    read(images[0], files.length > 1 ? `Of ${files.length} files, one is searched with: ${named(images[0])}.` : "");
  };

  byId("file").addEventListener("change", ({target}) => {
    if (target.files.length) take([...target.files], "open");
    target.value = "";
  });

  addEventListener("paste", ({clipboardData, target}) => {
    const files = [...clipboardData?.files ?? []];
    if (files.length) take(files, "paste");
    else if (!target.matches?.("input")) refuse("There is no picture in the clipboard: copy one, and paste again.");
  });

  let over = 0;
  const overlay = byId("drop");
  const cover = (n) => { over = Math.max(0, n); if (overlay.matches(":popover-open") !== over > 0) overlay.togglePopover(); };
  addEventListener("dragenter", ({dataTransfer}) => { if (dataTransfer?.types.length) cover(over + 1); });
  addEventListener("dragleave", ({dataTransfer}) => { if (dataTransfer?.types.length) cover(over - 1); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    cover(0);
    const {files = [], types = []} = event.dataTransfer ?? {}, link = event.dataTransfer?.getData("text/uri-list") ?? "";
    const own = link.startsWith(location.origin) && OWN.exec(link);
    if (own) alike(decodeURIComponent(own[1])); // one of the results, or the large one
    else if (files.length) take([...files], "drop");
    else if (link || types.includes("text/html")) refuse("A picture of another page cannot be read from here: save it and drop the file, or copy the picture and paste it.");
    else refuse("What was dropped is not a picture: drop a picture file.");
  });
}

const named = (file) => file.name || "The picture";
