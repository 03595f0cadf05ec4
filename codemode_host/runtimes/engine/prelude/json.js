// The helpers throw strings, as the reference does.
const NOT_JSON = "failed to serialize JavaScript value: expected value at line 1 column 1";
const json = (value) => {
  try {
    return stringify(value);
  } catch (error) {
    throw describe(error);
  }
};
const asText = (value) => {
  const type = typeof value;
  if (type === "string") return value;
  if (value !== null && (type === "object" || type === "function" || type === "symbol")) {
    const text = json(value);
    return text === undefined ? "undefined" : text;
  }
  return "" + value;
};
const TOO_DEEP = "failed to serialize JavaScript value: it is nested more than " + MAX_JSON_DEPTH + " levels deep";
// What is nested deeper others could not read.
const refuseDepth = (text) => {
  if (text.length <= 2 * MAX_JSON_DEPTH) return;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = charCodeAt(text, i);
    if (c === 34) i = endOfString(text, i);
    else if (c === 91 || c === 123) {
      if (++depth > MAX_JSON_DEPTH) throw TOO_DEEP;
    } else if (c === 93 || c === 125) depth--;
  }
};
const endOfString = (text, i) => {
  for (;;) {
    i = indexOf(text, '"', i + 1);
    let before = i - 1;
    while (charCodeAt(text, before) === 92) before--;
    if ((i - before) % 2 === 1) return i;
  }
};
const LONE = "failed to serialize JavaScript value: lone surrogate in a string";
// JSON encodes a lone surrogate as an escape, which other parsers refuse.
const refuseLoneSurrogates = (text) => {
  for (let i = indexOf(text, "\\ud"); i >= 0; i = indexOf(text, "\\ud", i + 1)) {
    let backslashes = 0;
    while (backslashes < i && charCodeAt(text, i - 1 - backslashes) === 92) backslashes++;
    if (backslashes % 2 === 0) throw LONE;
  }
  return text;
};
