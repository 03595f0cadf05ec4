// The functions that the realm calls. Each takes one argument; none throws unless the engine is out of memory.
G.wiring = {
  __proto__: null,
  setTools(text) {
    rewind(); // other memory may have been mapped after the fork
    const all = parse(text), tools = {};
    // Plain assignment is safe, because no code of the user has run yet, and fast enough for a hundred tools.
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
  // A script that does not compile has no frames, only a position. It has not run, so the error is the engine's own.
  uncompiled(error) {
    const text = describe(error);
    fail(error.lineNumber > 0 ? text + "\n    at " + FILE + ":" + error.lineNumber + ":" + error.columnNumber : text);
  },
  unresolved(name) {
    fail("Unsupported import in exec: " + wellFormed(name));
  },
  finish() {
    emit("outcome", outcome());
  },
  // Reset everything after the warm-up.
  reset() {
    lastCall = lastTimer = 0;
    failure = undefined;
    stored.session = { __proto__: null };
    stored.cell = { __proto__: null };
    rewind();
  },
};
