// The outcome of the script.
let failure;
const stored = { __proto__: null, session: { __proto__: null }, cell: { __proto__: null } };
const outcome = () =>
  stringify({ __proto__: null, error: failure === undefined ? null : failure, stored: stored.cell });
const fail = (text) => {
  if (failure === undefined) failure = text;
  emit("failed", "");
};
