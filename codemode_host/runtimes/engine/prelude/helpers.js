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
    // Batched, because each call leaks some 200 bytes.
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
    // NaN, negative and infinite delays count as 0.
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
    const blocks = { __proto__: null, [ITERATOR]: () => apply(iterate, value, []) }; // reads the method once
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
