/** Words in the reader's language. */

import { tell } from "./bus.js";
import { DICTIONARY } from "./dictionary.js";

const KEPT = "underdraw-language";
let language = localStorage.getItem(KEPT) ?? (navigator.language.startsWith("zh") ? "zh" : "en");

/** The words for a key, with {name} filled in; English where a translation is missing, else the key's last part. */
export function t(key, given = {}) {
  const words = DICTIONARY[language][key] ?? DICTIONARY.en[key] ?? key.split(".").pop().replaceAll("_", " ");
  return words.replace(/\{(\w+)\}/g, (_, name) => String(given[name] ?? ""));
}

export const spoken = () => language;

/** The other language, for the whole page. */
export function setLanguage(wanted) {
  language = wanted;
  localStorage.setItem(KEPT, wanted);
  translate();
  tell("language");
}

/** Fill in what the page's HTML marks: data-t (text), data-t-title (tooltip and name), data-t-placeholder. */
export function translate(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-title]")) {
    element.title = t(element.dataset.tTitle);
    element.setAttribute("aria-label", t(element.dataset.tTitle));
  }
  for (const element of root.querySelectorAll("[data-t-placeholder]"))
    element.placeholder = t(element.dataset.tPlaceholder);
}
