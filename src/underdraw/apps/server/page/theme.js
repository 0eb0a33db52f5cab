/** Light and dark: as the system says, until the reader says otherwise. */

import { find } from "./dom.js";

const KEPT = "underdraw-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function wear() {
  const chosen = localStorage.getItem(KEPT) ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
}

/** Wear the theme, and listen to its button. */
export function startTheme() {
  wear();
  dark.addEventListener("change", wear);
  find("#theme").addEventListener("click", () => {
    localStorage.setItem(KEPT, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    wear();
  });
}
