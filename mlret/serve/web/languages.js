// Names and directions of languages, from the browser's own data.

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });
const RIGHT_TO_LEFT = new Set(["ar", "arc", "ckb", "dv", "fa", "he", "ks", "ku-Arab", "ps", "sd", "syr", "ug", "ur", "yi"]);
// Languages that a query may be in although the index holds none of it; the browser names them.
const COMMON =
  "af am ar az be bg bn bs ca cs cy da de el en es et eu fa fi fil fr ga gl gu ha he hi hr hu hy id ig is it ja jv ka kk km kn ko ky lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru rw sd si sk sl so sq sr su sv sw ta te tg th ti tk tl tr uk ur uz vi xh yo zh zu".split(
    " ",
  );

/** Return whether a code is one that the page may put into an attribute `lang`. */
export function isLanguage(code) {
  return Boolean(code) && code !== "und";
}

/** Return the English name of a language; its code if the browser knows none. */
export function languageName(code) {
  if (!isLanguage(code)) return "Unknown language";
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Return what a language calls itself, or null if that is its English name too, or unknown. */
export function ownName(code) {
  try {
    const found = new Intl.DisplayNames([code], { type: "language", fallback: "none" }).of(code);
    return found && found.toLowerCase() !== languageName(code).toLowerCase() ? found : null;
  } catch {
    return null;
  }
}

/** Return whether a language is written from right to left. */
export function isRightToLeft(code) {
  if (!isLanguage(code)) return false;
  try {
    const locale = new Intl.Locale(code);
    const info = locale.getTextInfo?.() ?? locale.textInfo;
    if (info) return info.direction === "rtl";
  } catch {
    return false;
  }
  return RIGHT_TO_LEFT.has(code.split("-")[0]);
}

/** Return options of a select element for the language of a text: those of an index first. */
export function languageOptions(held = []) {
  const own = held.filter(isLanguage);
  const byName = (codes) =>
    codes.map((code) => [code, languageName(code)]).sort((one, other) => one[1].localeCompare(other[1]));
  const others = byName(COMMON.filter((code) => !own.includes(code)));
  const options = [["", "Detected"]];
  if (own.length) options.push(["Of the texts", byName(own)]);
  options.push([own.length ? "Others" : "Languages", others]);
  return options;
}
