// Output: records in memory that the host reads, in the format that runtimes/link.py defines.
const bytes = new Uint8Array(G.outputMemory), words = new Uint32Array(G.outputMemory);
const SIZE = bytes.length;
let at = OUTPUT_START, records = 0;
const rewind = () => {
  at = OUTPUT_START;
  words[0] = at;
  records = 0;
};
const empty = () => {
  emit("flush", "");
  rewind();
  records = 1; // the one that is being written
};
const put = (kind, s) => {
  const length = s.length;
  if (++records > MAX_RECORDS) empty();
  // For strings of medium length Python is faster than a loop here; very long ones it would copy too often.
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
      words[at >>> 2] = length | (kind << KIND_SHIFT);
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
    // Do not split an item for the little memory that is left.
    if (SIZE - at - 4 < (length - i) << wide && SIZE - at < NO_PIECE_BELOW) empty();
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
    words[at >>> 2] = size | ((kind | wide) << KIND_SHIFT) | (end < length ? MORE : 0);
    at = (p + 3) & ~3;
    words[0] = at;
  } while (i < length);
};
