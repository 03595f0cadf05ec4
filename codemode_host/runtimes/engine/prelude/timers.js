// Timers
const timers = { __proto__: null };
let cleared = "", clearedCount = 0;
let lastTimer = 0;
