// The results of promises in the order in which they settle.
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
  define(promise, "constructor", Promise, false); // so that `await` reads no property that a script can replace
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
settled.prototype = null; // its generators inherit directly from the builtin prototype

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
