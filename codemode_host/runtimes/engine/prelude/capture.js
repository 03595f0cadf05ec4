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

// The builtins that everything here uses, as they were before any script.
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
