// The globals: the safe ones of the reference, and no others.
const KEEP =
  " Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error" +
  " AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError globalThis JSON Math Intl ArrayBuffer" +
  " Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray" +
  " Float16Array Float32Array Float64Array DataView Map BigInt Set Iterator WeakMap WeakSet WeakRef Proxy Reflect decodeURI" +
  " decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite isNaN ";
const debuggers = G.debuggerGlobal; // cannot be deleted, and gives access to PythonMonkey's own objects
const inside = debuggers === undefined ? [] : ownKeys(debuggers);
for (let i = 0; i < inside.length; i++) deleteProperty(debuggers, inside[i]);
if (debuggers !== undefined) setPrototypeOf(debuggers, null);
const all = ownKeys(G);
for (let i = 0; i < all.length; i++) {
  if (typeof all[i] !== "string" || indexOf(KEEP, " " + all[i] + " ") < 0) deleteProperty(G, all[i]);
}
// The engine's own runs callbacks during garbage collection. Scripts end before they could need them.
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
define(G, "tools", undefined, true); // these two are first when a script lists its globals
define(G, "ALL_TOOLS", undefined, true);
const names = ownKeys(helpers);
let declared = -1; // there is one more space than names
for (let i = 0; i < GLOBAL_NAMES.length; i++) if (GLOBAL_NAMES[i] === " ") declared++;
if (names.length + 2 !== declared) throw "the prelude has other helpers than codemode_protocol.helpers";
for (let i = 0; i < names.length; i++) {
  if (indexOf(GLOBAL_NAMES, " " + names[i] + " ") < 0) throw "codemode_protocol.helpers does not have " + names[i];
  define(G, names[i], hide(helpers[names[i]]), true);
}
