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
    fail(error.lineNumber > 0 ? text + "\n    at " + FILE + ":" + error.lineNumber + ":" + error.columnNumber : text);
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
