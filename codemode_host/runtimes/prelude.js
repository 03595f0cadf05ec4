// What every script finds around it. Evaluated once, before the fork, with the callback that is JavaScript's only way out and
// the memory that takes the output; afterwards a script that nobody has read shares this realm with it.
//
// Do not touch this lightly. A script may have replaced every builtin it can reach, so that whatever runs after its first line
//   - calls only what was captured here, through `apply` or through functions bound here: never a method of a value, a
//     patchable global, an iterator, a spread, a destructured array, `await`, `.then`, or a regular expression;
//   - keeps its tables in objects without a prototype, and hands out none of them;
//   - gives `emit` exactly two primitive strings, the second well-formed.
// What a script hands in to be gone over or waited for (`content`, `as_settled`, `stream_settled`) is gone over and awaited as the
// language says, and so by the script's own iterators and `then`: these get nothing but what is the script's, and native functions.
// Functions that a script gets to hold are bound: a bound function shows neither its source nor the function behind it.
(emit) => {
  "use strict";
  const G = globalThis;
  const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, setPrototypeOf } = Reflect;
  const { stringify, parse } = JSON;
  const { Promise, Proxy, Error, TypeError, Number, String, Uint8Array, Uint32Array } = G;
  const { trunc } = Math;
  const { isArray } = Array;
  const { isInteger } = Number;
  const ITERATOR = Symbol.iterator;
  const { bind, call } = Function.prototype;
  const uncurry = (method) => apply(bind, call, [method]);
  const charCodeAt = uncurry(String.prototype.charCodeAt);
  const indexOf = uncurry(String.prototype.indexOf);
  const lastIndexOf = uncurry(String.prototype.lastIndexOf);
  const slice = uncurry(String.prototype.slice);
  const startsWith = uncurry(String.prototype.startsWith);
  const toLowerCase = uncurry(String.prototype.toLowerCase);
  const wellFormed = uncurry(String.prototype.toWellFormed);
  const numberToString = uncurry(Number.prototype.toString);
  const errorToString = uncurry(Error.prototype.toString);
  const isPrototypeOf = uncurry(G.Object.prototype.isPrototypeOf), MAP = G.Map.prototype;

  const define = (object, name, value, enumerable) =>
    defineProperty(object, name, { __proto__: null, value, writable: true, configurable: true, enumerable });
  const NAME = { __proto__: null, value: "" }, LENGTH = { __proto__: null, value: 0 };
  const hide = (f, first) => {
    f.prototype = null; // an instance must not lead back to `f`
    const bound = apply(bind, f, first === undefined ? [undefined] : [undefined, first]);
    defineProperty(bound, "name", NAME);
    defineProperty(bound, "length", LENGTH);
    return bound;
  };

  // Output: records in memory that the host reads. See the layout there.
  const bytes = new Uint8Array(G.outputMemory), words = new Uint32Array(G.outputMemory);
  const SIZE = bytes.length, START = 8, MORE = 0x80000000;
  const TEXT = 0, IMAGE = 2, AUDIO = 4, WIDE = 1;
  let at = START;
  const rewind = () => {
    at = START;
    words[0] = at;
  };
  const put = (kind, s) => {
    const length = s.length;
    // Python copies a string of some length faster than a loop here does; a long one it would copy too often.
    if (length > 2048 && length <= 1048576) {
      emit(kind === TEXT ? "text" : kind === IMAGE ? "image" : "audio", wellFormed(s));
      at = words[0];
      return;
    }
    if (at + 4 + length <= SIZE) {
      let p = at + 4, seen = 0;
      for (let i = 0; i < length; i++) {
        const c = charCodeAt(s, i);
        bytes[p++] = c;
        seen |= c;
      }
      if (seen < 256) {
        words[at >>> 2] = length | (kind << 28);
        at = (p + 3) & ~3;
        words[0] = at;
        return;
      }
    }
    putInPieces(kind, wellFormed(s));
  };
  const putInPieces = (kind, s) => {
    const length = s.length;
    let wide = 0;
    for (let i = 0; i < length; i++) {
      if (charCodeAt(s, i) > 255) {
        wide = WIDE;
        break;
      }
    }
    let i = 0;
    do {
      // Not worth a piece: the rest of the memory is shorter than most items.
      if (SIZE - at - 4 < (length - i) << wide && SIZE - at < 4096) {
        emit("flush", "");
        rewind();
      }
      const room = ((SIZE - at - 4) & ~3) >>> wide;
      const end = length - i <= room ? length : i + room;
      const size = (end - i) << wide;
      let p = at + 4;
      if (wide) {
        for (; i < end; i++) {
          const c = charCodeAt(s, i);
          bytes[p++] = c;
          bytes[p++] = c >>> 8;
        }
      } else {
        for (; i < end; i++) bytes[p++] = charCodeAt(s, i);
      }
      words[at >>> 2] = size | ((kind | wide) << 28) | (end < length ? MORE : 0);
      at = (p + 3) & ~3;
      words[0] = at;
    } while (i < length);
  };

  // Errors. A script sees and gets reported its own frames alone, written as V8 writes them.
  const FILE = "exec_main.mjs";
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
        if (slice(name, 0, star) !== "async") break; // what set up a callback is no caller of it
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
      // "outer/inner<" is the engine's guess at a function without a name.
      if (indexOf(name, "/") >= 0 || indexOf(name, "<") >= 0) name = "";
      // An error's own constructors made it; it was not thrown there.
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
  // Two of V8's own that scripts reach for without asking.
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
  // Running out of stack is an InternalError here and a RangeError everywhere else.
  setPrototypeOf(InternalError.prototype, RangeError.prototype);
  deleteProperty(InternalError.prototype, "name");
  deleteProperty(InternalError.prototype, "constructor");

  const toText = (value) => {
    // What String(value) gives, or nothing if that throws.
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
  // JSON text writes a lone surrogate as an escape, which is no text that others could read.
  const refuseLoneSurrogates = (text) => {
    for (let i = indexOf(text, "\\ud"); i >= 0; i = indexOf(text, "\\ud", i + 1)) {
      let backslashes = 0;
      while (backslashes < i && charCodeAt(text, i - 1 - backslashes) === 92) backslashes++;
      if (backslashes % 2 === 0) throw LONE;
    }
    return text;
  };

  // How it ends.
  let failure;
  const stored = { __proto__: null, session: { __proto__: null }, cell: { __proto__: null } };
  const outcome = () =>
    stringify({ __proto__: null, error: failure === undefined ? null : failure, stored: stored.cell });
  const fail = (text) => {
    if (failure === undefined) failure = text;
    emit("failed", "");
  };

  // Tools
  const calls = { __proto__: null };
  let lastCall = 0;
  const callTool = function (index, input) {
    let text = "null";
    if (input !== undefined) {
      text = json(input);
      if (text === undefined) throw NOT_JSON;
      refuseLoneSurrogates(text);
    }
    const id = ++lastCall;
    const promise = new Promise((resolve, reject) => {
      calls[id] = { __proto__: null, resolve, reject };
    });
    emit("call", id + " " + index + " " + text);
    return promise;
  };

  // Timers
  const timers = { __proto__: null };
  let cleared = "", clearedCount = 0;
  let lastTimer = 0;

  // Images, sounds and the blocks of MCP. A block is looked at as JSON, which is what it came as: reading that runs nothing.
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";
  const read = (object, key) => {
    try {
      return object[key];
    } catch (error) {
      throw describe(error);
    }
  };
  const field = (parsed, key) => (typeof parsed === "object" && parsed !== null ? own(parsed, key) : undefined);
  const asJson = (value) => {
    const text = json(value);
    if (text === undefined) throw NOT_JSON;
    return refuseLoneSurrogates(text);
  };
  const DETAILS = { __proto__: null, auto: true, low: true, high: true, original: true };
  const OCTETS = "application/octet-stream";
  const dataUrl = (data, mime) =>
    startsWith(toLowerCase(slice(data, 0, 5)), "data:") ? data : "data:" + mime + ";base64," + data;
  const detailOf = (block) => field(field(block, "_meta"), "codex/imageDetail");
  const putImage = (url, detail) => put(IMAGE, stringify({ __proto__: null, image_url: wellFormed(url), detail }));
  const EXPECTS = {
    __proto__: null,
    image: "image expects a non-empty image URL string, an object with image_url and optional detail, or a raw MCP image block",
    audio: "audio expects a non-empty audio URL string, an object with audio_url, or a raw MCP audio block",
  };
  // The URL that `image` or `audio` was given, and the detail that came with it.
  const mediaOf = (what, value) => {
    let url = value, detail;
    if (isObject(value)) {
      url = read(value, what + "_url");
      if (url !== undefined) {
        if (what === "image") detail = read(value, "detail");
      } else {
        const block = parse(asJson(value)), type = field(block, "type");
        if (typeof type === "string") {
          if (type !== what) throw what + " only accepts MCP " + what + ' blocks, got "' + type + '"';
          const data = field(block, "data");
          if (typeof data !== "string" || data === "") throw what + " expected MCP " + what + " data";
          let mime = field(block, "mimeType");
          if (mime === undefined) mime = field(block, "mime_type");
          url = dataUrl(data, typeof mime === "string" && mime !== "" ? mime : OCTETS);
          detail = detailOf(block);
          if (typeof detail !== "string" || DETAILS[toLowerCase(detail)] !== true) detail = undefined;
        }
      }
    }
    if (typeof url !== "string" || url === "") throw EXPECTS[what];
    const scheme = toLowerCase(slice(url, 0, 6));
    if (!startsWith(scheme, "data:")) {
      throw (
        "Tool call failed: " +
        (what === "image" && (startsWith(scheme, "http:") || scheme === "https:")
          ? "remote image URLs are not supported in tool outputs"
          : "invalid " + what + " output") +
        ". Pass a base64 data URI instead"
      );
    }
    return { __proto__: null, url, detail };
  };
  const showImage = (value, detail) => {
    const media = mediaOf("image", value);
    let chosen = detail === undefined || detail === null ? media.detail : detail;
    if (chosen === undefined || chosen === null) chosen = "high";
    if (typeof chosen !== "string") throw "image detail must be a string when provided";
    chosen = toLowerCase(chosen);
    if (DETAILS[chosen] !== true) throw "image detail must be one of: auto, low, high, original";
    putImage(media.url, chosen);
  };
  const BLOCK_EXPECTS = "content expects one MCP ContentBlock";
  const has = (block, key) => typeof field(block, key) === "string";
  const mayHave = (block, key) => {
    const value = field(block, key);
    return value === undefined || value === null || typeof value === "string";
  };
  const isResource = (resource) =>
    has(resource, "uri") && mayHave(resource, "mimeType") && (has(resource, "text") || has(resource, "blob"));
  const isLink = (block) => {
    const size = field(block, "size"), icons = field(block, "icons");
    return (
      has(block, "uri") &&
      has(block, "name") &&
      mayHave(block, "title") &&
      mayHave(block, "description") &&
      mayHave(block, "mimeType") &&
      (size === undefined || size === null || (isInteger(size) && size < 2 ** 63 && size > -(2 ** 63))) &&
      (icons === undefined || icons === null || isArray(icons))
    );
  };
  const putBlock = (value) => {
    if (value === undefined) throw BLOCK_EXPECTS;
    const text = asJson(value), block = parse(text), type = field(block, "type");
    if (type === "text" && has(block, "text")) put(TEXT, field(block, "text"));
    else if ((type === "image" || type === "audio") && has(block, "data")) {
      const key = field(block, "mimeType") === undefined ? "mime_type" : "mimeType", mime = field(block, key);
      // One of the two names, not both.
      if (!mayHave(block, key) || (key === "mimeType" && field(block, "mime_type") !== undefined)) throw BLOCK_EXPECTS;
      const url = dataUrl(field(block, "data"), typeof mime === "string" ? mime : OCTETS), detail = detailOf(block);
      if (type === "audio") put(AUDIO, url);
      else putImage(url, typeof detail === "string" && DETAILS[detail] === true ? detail : "high");
    } else if ((type === "resource" && isResource(field(block, "resource"))) || (type === "resource_link" && isLink(block))) {
      put(TEXT, text);
    } else throw BLOCK_EXPECTS;
  };

  // Results in the order in which promises settle.
  const settlements = (promises) => {
    const queue = { __proto__: null, first: undefined, last: undefined, pending: 0, wake: undefined, closed: false };
    const keyed = isObject(promises) && isPrototypeOf(MAP, promises);
    let position = 0;
    try {
      for (const entry of promises) {
        if (keyed) watch(queue, entry[0], entry[1]);
        else watch(queue, position++, entry);
      }
    } catch (error) {
      close(queue);
      throw error;
    }
    return queue;
  };
  const watch = async (queue, index, promise) => {
    let result;
    queue.pending++;
    try {
      result = { index, status: "fulfilled", value: await promise };
    } catch (reason) {
      result = { index, status: "rejected", reason };
    }
    queue.pending--;
    if (queue.closed) return;
    const entry = { __proto__: null, result, next: undefined };
    if (queue.first === undefined) queue.first = entry;
    else queue.last.next = entry;
    queue.last = entry;
    const wake = queue.wake;
    queue.wake = undefined;
    if (wake !== undefined) wake();
  };
  const take = (queue) => {
    const entry = queue.first;
    queue.first = entry.next;
    return entry.result;
  };
  const close = (queue) => {
    queue.closed = true;
    queue.first = queue.last = undefined;
  };
  const more = (queue) => {
    const promise = new Promise((resolve) => {
      queue.wake = resolve;
    });
    define(promise, "constructor", Promise, false); // so that awaiting it looks up nothing that a script can reach
    return promise;
  };
  const settled = async function* (queue) {
    try {
      for (;;) {
        while (queue.first === undefined && queue.pending > 0) await more(queue);
        if (queue.first === undefined) return;
        yield take(queue);
      }
    } finally {
      close(queue);
    }
  };
  settled.prototype = null; // what it makes inherits from the language's own prototype alone

  const WHITE = { __proto__: null, 0x20: 1, 0x85: 1, 0xa0: 1, 0x1680: 1, 0x2028: 1, 0x2029: 1, 0x202f: 1, 0x205f: 1, 0x3000: 1 };
  const blank = (s) => {
    for (let i = 0; i < s.length; i++) {
      const c = charCodeAt(s, i);
      if (!((c >= 9 && c <= 13) || (c >= 0x2000 && c <= 0x200a) || WHITE[c] === 1)) return false;
    }
    return true;
  };
  const keyOf = (key, what) => {
    if (typeof key === "symbol") throw what + " key must be a string";
    try {
      return wellFormed(`${key}`);
    } catch {
      throw what + " key must be a string";
    }
  };
  const unableToStore = (key) => {
    let quoted = "";
    for (let i = 0; i < key.length; i++) {
      const c = charCodeAt(key, i);
      if (c === 34 || c === 92) quoted += "\\" + key[i];
      else if (c === 10) quoted += "\\n";
      else if (c === 13) quoted += "\\r";
      else if (c === 9) quoted += "\\t";
      else if (c < 32 || c === 127) quoted += "\\u{" + numberToString(c, 16) + "}";
      else quoted += key[i];
    }
    return 'Unable to store "' + quoted + '". Only plain serializable objects can be stored.';
  };

  const helpers = {
    __proto__: null,
    clearTimeout: function (id) {
      if (id === undefined || id === null) return;
      let number;
      try {
        number = trunc(+id);
      } catch {
        throw "clearTimeout expects a numeric timeout id";
      }
      if (timers[number] === undefined) return;
      delete timers[number];
      // Many in one call, which leaves some 200 bytes behind.
      cleared = cleared === "" ? "" + number : cleared + " " + number;
      if (++clearedCount < 500) return;
      emit("clear", cleared);
      cleared = "";
      clearedCount = 0;
    },
    setTimeout: function (callback, delay) {
      if (typeof callback !== "function") throw "setTimeout expects a function callback";
      let ms;
      try {
        ms = +delay;
      } catch (error) {
        throw describe(error);
      }
      // NaN, negative and infinite are none.
      ms = ms > 0 && ms !== Infinity ? (ms < 9007199254740991 ? trunc(ms) : 9007199254740991) : 0;
      const id = ++lastTimer;
      timers[id] = callback;
      emit("timer", id + " " + ms);
      return id;
    },
    text: function (value) {
      put(TEXT, asText(value));
    },
    content: function (value) {
      const iterate = typeof value === "string" || value === undefined || value === null ? undefined : value[ITERATOR];
      if (typeof iterate !== "function") {
        putBlock(value);
        return;
      }
      const blocks = { __proto__: null, [ITERATOR]: () => apply(iterate, value, []) }; // asks for the method once
      for (const block of blocks) putBlock(block);
    },
    image: function (value, detail) {
      showImage(value, detail);
    },
    audio: function (value) {
      put(AUDIO, mediaOf("audio", value).url);
    },
    generatedImage: function (value) {
      if (!isObject(value)) throw "generatedImage expects an image generation result object";
      let hint;
      try {
        hint = value.output_hint;
      } catch {
        throw "failed to read generatedImage output_hint";
      }
      if (hint !== undefined && typeof hint !== "string") throw "generatedImage output_hint must be a string when provided";
      showImage(value, undefined);
      if (hint !== undefined) put(TEXT, hint);
    },
    store: function (key, value) {
      const name = keyOf(key, "store");
      if (value === undefined) throw unableToStore(name);
      const text = json(value);
      if (text === undefined) throw unableToStore(name);
      refuseLoneSurrogates(text);
      stored.session[name] = stored.cell[name] = text;
    },
    load: function (key) {
      const text = stored.session[keyOf(key, "load")];
      return text === undefined ? undefined : parse(text);
    },
    notify: function (value) {
      const text = asText(value);
      if (blank(text)) throw "notify expects non-empty text";
      emit("notify", wellFormed(text));
    },
    yield_control: function () {
      emit("yield", "");
    },
    exit: function () {
      failure = undefined;
      emit("exit", outcome());
    },
    as_settled: function (promises) {
      return settled(settlements(promises));
    },
    stream_settled: async function (promises, callback) {
      if (typeof callback !== "function") throw new TypeError("stream_settled requires a callback");
      const queue = settlements(promises);
      try {
        for (;;) {
          while (queue.first === undefined && queue.pending > 0) await more(queue);
          if (queue.first === undefined) return;
          await callback(take(queue));
        }
      } finally {
        close(queue);
      }
    },
  };

  // The globals: what the reference has, as far as it is safe, and nothing else.
  const KEEP =
    " Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error" +
    " AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError globalThis JSON Math Intl ArrayBuffer" +
    " Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray" +
    " Float16Array Float32Array Float64Array DataView Map BigInt Set Iterator WeakMap WeakSet WeakRef Proxy Reflect decodeURI" +
    " decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite isNaN ";
  const debuggers = G.debuggerGlobal; // cannot be deleted itself, and leads to PythonMonkey's own objects
  const inside = debuggers === undefined ? [] : ownKeys(debuggers);
  for (let i = 0; i < inside.length; i++) deleteProperty(debuggers, inside[i]);
  if (debuggers !== undefined) setPrototypeOf(debuggers, null);
  const all = ownKeys(G);
  for (let i = 0; i < all.length; i++) {
    if (typeof all[i] !== "string" || indexOf(KEEP, " " + all[i] + " ") < 0) deleteProperty(G, all[i]);
  }
  // The engine's runs callbacks in the middle of a garbage collection. A script ends long before it could miss them.
  define(
    G,
    "FinalizationRegistry",
    class FinalizationRegistry {
      constructor(callback) {
        if (typeof callback !== "function") throw new TypeError("FinalizationRegistry: cleanup must be callable");
      }
      register() {}
      unregister() {
        return false;
      }
    },
    false,
  );
  define(G, "tools", undefined, true); // these two come first when a script lists its globals
  define(G, "ALL_TOOLS", undefined, true);
  const names = ownKeys(helpers);
  for (let i = 0; i < names.length; i++) define(G, names[i], hide(helpers[names[i]]), true);

  // What the realm calls. Each takes one argument; none throws unless the engine is out of memory.
  G.wiring = {
    __proto__: null,
    setTools(text) {
      rewind(); // the memory may be another one than at the last fork
      const all = parse(text), tools = {};
      // Plain assignment is safe, for nothing of the user's has run yet, and it is what a hundred tools can afford.
      for (let i = 0; i < all.length; i++) tools[all[i].name] = hide(callTool, i);
      define(G, "tools", tools, true);
      define(G, "ALL_TOOLS", all, true);
    },
    setStored(text) {
      const values = parse(text);
      setPrototypeOf(values, null);
      stored.session = values;
    },
    settle(text) {
      const answers = parse(text);
      for (let i = 0; i < answers.length; i++) {
        const answer = answers[i], waiting = calls[answer[0]];
        if (waiting === undefined) continue;
        delete calls[answer[0]];
        const settle = answer[1] === true ? waiting.resolve : waiting.reject;
        settle(answer[2]);
      }
    },
    fire(id) {
      const callback = timers[id];
      if (callback === undefined) return;
      delete timers[id];
      try {
        apply(callback, undefined, []);
      } catch (error) {
        fail(describe(error));
      }
    },
    fail(reason) {
      fail(describe(reason));
    },
    // A script that does not compile has no frames, but a place. Nothing of it has run, so this is the engine's own error.
    uncompiled(error) {
      const text = describe(error);
      fail(error.lineNumber > 0 ? text + "\n    at exec_main.mjs:" + error.lineNumber + ":" + error.columnNumber : text);
    },
    unresolved(name) {
      fail("Unsupported import in exec: " + wellFormed(name));
    },
    finish() {
      emit("outcome", outcome());
    },
    // After the warm-up: as if nothing had ever run.
    reset() {
      lastCall = lastTimer = 0;
      failure = undefined;
      stored.session = { __proto__: null };
      stored.cell = { __proto__: null };
      rewind();
    },
  };
}
