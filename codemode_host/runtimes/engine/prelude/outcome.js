// The outcome of the script.
let failure;
const stored = { __proto__: null, session: { __proto__: null }, cell: { __proto__: null } };
const outcome = () => {
  const text = stringify({ __proto__: null, error: failure === undefined ? null : failure, stored: stored.cell });
  if (text.length <= MAX_END) return text;
  return stringify({
    __proto__: null,
    error: failure === undefined ? TOO_MUCH_STORED : failure + "\n" + TOO_MUCH_STORED,
    stored: { __proto__: null },
  });
};
const fail = (text) => {
  if (failure === undefined) {
    const more = text.length - MAX_ERROR_TEXT;
    failure = more <= 0 ? text : wellFormed(slice(text, 0, MAX_ERROR_TEXT)) + "… (" + more + " more characters)";
  }
  emit("failed", "");
};
