// Tools
const calls = { __proto__: null };
let lastCall = 0;
const callTool = function (index, input) {
  let text = "null";
  if (input !== undefined) {
    text = json(input);
    if (text === undefined) throw NOT_JSON;
    refuseLoneSurrogates(text);
    refuseDepth(text);
    if (text.length > MAX_CALL) throw "code-mode IPC frame length " + text.length + " exceeds " + MAX_CALL + " bytes";
  }
  const id = ++lastCall;
  const promise = new Promise((resolve, reject) => {
    calls[id] = { __proto__: null, resolve, reject };
  });
  emit("call", id + " " + index + " " + text);
  return promise;
};
