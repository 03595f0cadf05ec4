// The environment of every script. Evaluated once, before the fork, with the callback that is JavaScript's only way out and
// the memory for output; afterwards an untrusted script shares this realm with it.
//
// Change with care. A script may have replaced every builtin it can reach, so code that runs after its first line
//   - calls only functions captured here, through `apply` or bound here: never a method of a value, a patchable global, an
//     iterator, a spread, a destructured array, `await`, `.then`, or a regular expression;
//   - keeps its tables in objects without a prototype, and exposes none of them;
//   - passes `emit` exactly two primitive strings, the second well-formed.
// Values that a script passes to `content`, `as_settled` and `stream_settled` are iterated and awaited as the language
// defines it, by the script's own iterators and `then`: these only receive the script's own values and native functions.
// Functions that are given to a script are bound: a bound function reveals neither its source nor the function behind it.

// The builtins that are used here, as they were before any script.
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
  f.prototype = null; // an instance must not give access to `f`
  const bound = apply(bind, f, first === undefined ? [undefined] : [undefined, first]);
  defineProperty(bound, "name", NAME);
  defineProperty(bound, "length", LENGTH);
  return bound;
};
