// Errors. Stack traces contain only the script's own frames, in V8's format.
const stackOf = getOwnPropertyDescriptor(Error.prototype, "stack");
const own = (object, key) => {
  const property = getOwnPropertyDescriptor(object, key);
  return property === undefined ? undefined : property.value;
};
const frames = (raw, makers) => {
  let text = "", from = 0, count = 0;
  const limit = own(Error, "stackTraceLimit");
  while (from < raw.length && count < limit) {
    let end = indexOf(raw, "\n", from);
    if (end < 0) end = raw.length;
    const line = slice(raw, from, end), sign = lastIndexOf(line, "@");
    from = end + 1;
    if (sign < 0 || !startsWith(line, FILE, sign + 1)) continue;
    let place = slice(line, sign + 1), name = slice(line, 0, sign), start = "";
    const star = indexOf(name, "*");
    if (star >= 0) {
      if (slice(name, 0, star) !== "async") break; // code that registered a callback is not its caller
      start = "async ";
      name = slice(name, star + 1);
    }
    if (charCodeAt(place, FILE.length) !== 58) {
      // "exec_main.mjs line 3 > eval:1:7"
      const code = lastIndexOf(place, "> "), colon = indexOf(place, ":", code);
      const line3 = slice(place, FILE.length + 6, indexOf(place, " ", FILE.length + 6));
      if (name === "") name = "eval";
      place = "eval at " + FILE + ":" + line3 + ", <anonymous>" + slice(place, colon);
    }
    // "outer/inner<" is the engine's name for an anonymous function.
    if (indexOf(name, "/") >= 0 || indexOf(name, "<") >= 0) name = "";
    // Skip the frames of the error's own constructors.
    if (count === 0 && makers[name] > 0) {
      makers[name]--;
      continue;
    }
    text += "\n    at " + start + (name === "" ? place : name + " (" + place + ")");
    count++;
  }
  return text;
};
const makersOf = (error) => {
  const makers = { __proto__: null };
  try {
    for (let p = getPrototypeOf(error); p !== null && p !== Error.prototype; p = getPrototypeOf(p)) {
      const maker = own(p, "constructor");
      const name = typeof maker === "function" ? own(maker, "name") : undefined;
      if (typeof name === "string") makers[name] = (makers[name] || 0) + 1;
    }
  } catch {}
  return makers;
};
const header = (error) => {
  try {
    return errorToString(error);
  } catch {
    return "Error";
  }
};
const accessor = {
  get stack() {
    const raw = apply(stackOf.get, this, []);
    return typeof raw === "string" ? header(this) + frames(raw, makersOf(this)) : raw;
  },
};
defineProperty(Error.prototype, "stack", {
  __proto__: null,
  get: new Proxy(getOwnPropertyDescriptor(accessor, "stack").get, { __proto__: null }), // has no source to show
  set: stackOf.set,
});
// Two properties of V8 that scripts use without checking for them.
define(Error, "stackTraceLimit", 10, true);
define(
  Error,
  "captureStackTrace",
  hide(function (object, above) {
    const makers = { __proto__: null };
    const name = typeof above === "function" ? own(above, "name") : undefined;
    if (typeof name === "string") makers[name] = 1;
    define(object, "stack", header(object) + frames(apply(stackOf.get, new Error(), []), makers), false);
  }),
  false,
);
// A stack overflow is an InternalError in this engine and a RangeError in others.
setPrototypeOf(InternalError.prototype, RangeError.prototype);
deleteProperty(InternalError.prototype, "name");
deleteProperty(InternalError.prototype, "constructor");

const toText = (value) => {
  // Return String(value), or "" if that throws.
  try {
    return typeof value === "symbol" ? "" : `${value}`;
  } catch {
    return "";
  }
};
const describe = (value) => {
  let stack;
  if ((typeof value === "object" && value !== null) || typeof value === "function") {
    try {
      stack = value.stack;
    } catch {}
  }
  return wellFormed(typeof stack === "string" ? stack : toText(value));
};
