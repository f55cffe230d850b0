import * as api from "./api.js";
import { h, say } from "./dom.js";

/** Ask for a key, where the service wants one. */
export function door(stage) {
  const said = h("p", { class: "bad", role: "alert" });
  const key = h("input", { id: "key", type: "password", autocomplete: "current-password", required: true });
  const enter = async (event) => {
    event.preventDefault();
    try {
      await api.open(key.value.trim());
      location.reload();
    } catch (error) {
      say(said, error.message);
      key.select();
    }
  };
  const form = h(
    "form", { class: "panel stack", onsubmit: enter },
    h("h1", {}, "This studio needs a key"),
    h("p", {}, "Who runs the service makes one with ", h("code", {}, "raypipe keys create NAME"), "."),
    h("label", { htmlFor: "key" }, "Key", key),
    h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Enter")), said,
  );
  stage.replaceChildren(form);
  key.focus();
}
