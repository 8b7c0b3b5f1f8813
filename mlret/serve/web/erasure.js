// Erasing a record: what it means, the confirmation, and the proof.

import { button, html, newId, refill } from "./dom.js";
import { announce, problemOf } from "./messages.js";
import { table } from "./pictures.js";
import { call } from "./requests.js";
import { narrowed } from "./scope.js";
import { counted, number, userText } from "./texts.js";

/** Ask whether a record shall be erased, do it, and call `erased` with the proof. */
export function eraseDialog(record, permissions, erased) {
  const sure = html("input", { type: "checkbox", onchange: () => (go.disabled = !sure.checked) });
  const cascade = html("input", { type: "checkbox", checked: true });
  const shown = html("div", {});
  const go = html("button", { type: "submit", class: "main danger", disabled: true }, "Erase for good");
  const cancel = button("Cancel", () => dialog.close());
  const title = newId("erase");
  const dialog = html(
    "dialog",
    { "aria-labelledby": title, onclose: () => dialog.remove() },
    html(
      "form",
      {
        async onsubmit(event) {
          event.preventDefault();
          go.disabled = cancel.disabled = true;
          refill(shown, html("p", { role: "status" }, "Erasing, and searching the disk for what may be left …"));
          try {
            const body = { ids: [record.id], cascade: cascade.checked, scope: narrowed(permissions) };
            const proof = await call("POST", "/v1/memories:erase", { body });
            dialog.close();
            erased(proof);
          } catch (error) {
            refill(shown, problemOf(error));
            go.disabled = !sure.checked;
          } finally {
            cancel.disabled = false;
          }
        },
      },
      html("h2", { id: title }, "Erase this record?"),
      userText(record.text, record.language, { tag: "blockquote", name: "text" }),
      html("p", {}, "All versions and their vectors are removed from the disk, and the disk is searched for what may be left. Only its existence and the times of what was done to it stay in the history. ", html("b", {}, "It cannot be undone.")),
      html("label", { class: "check" }, cascade, " Also what was derived from it or merged into it"),
      html("label", { class: "check" }, sure, " I understand that it cannot be undone"),
      shown,
      html("div", { class: "actions" }, cancel, go),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

/** Make the view of a proof, which can be saved. */
export function proofView(proof, id) {
  const save = button("Save the proof", () => {
    const content = { erased_at: new Date().toISOString(), server: location.origin, ...proof };
    const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
    html("a", { href: address, download: `erasure-${id.replace(/[^\w-]/g, "_")}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    announce("The proof is saved.");
  }, { class: "main" });
  const left = Object.entries(proof.files).map(([file, { places }]) => [file, number(places)]);
  const heading = html("h1", { tabindex: "-1" }, proof.complete ? "It is erased: nothing is left on the disk" : "It is erased, but not yet from all of the disk");
  setTimeout(() => heading.focus());
  return html(
    "div",
    { class: proof.complete ? "proof complete" : "proof" },
    heading,
    html("p", { class: "lead" }, proof.complete ? `All files were searched for ${counted(proof.pieces, "fragment")} of its text and its id. None was found that is not part of something else.` : proof.note),
    html(
      "dl",
      { class: "facts" },
      [
        ["Records", proof.ids.map((one) => html("code", {}, one, " "))],
        ["Versions", number(proof.versions)],
        ["Fragments searched for", number(proof.pieces)],
        ["Complete", proof.complete ? "yes" : "no"],
        proof.shared.length > 0 && ["Other records that contain some of them", proof.shared.map((one) => html("code", {}, one, " "))],
      ]
        .filter(Boolean)
        .map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))),
    ),
    left.length > 0 && html("details", { class: "behind", open: !proof.complete }, html("summary", {}, "All files that were searched"), table(["File", "Fragments found"], left, "Fragments of the record in each file")),
    html("div", { class: "actions start" }, save, html("a", { href: "#/memory", class: "button" }, "Back to the memory")),
  );
}
