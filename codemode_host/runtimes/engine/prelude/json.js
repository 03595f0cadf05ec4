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
