// Archives of files as tar has them (POSIX.1-1988, "ustar"): each a block of 512 bytes that describes it, then its content.

const BLOCK = 512;

export interface TarEntry {
  /** Path in the archive, of ASCII: at most 100 bytes, or at most 155 before the first slash and 100 after it. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** The whole archive; every file belongs to root and is its owner's to read. `mtime` in seconds. */
export function tarOf(entries: readonly TarEntry[], mtime: number): Buffer {
  const parts = entries.flatMap(({ name, content }) => [
    headerOf(name, content.length, mtime),
    content,
    Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK),
  ]);
  // Two empty blocks are the end.
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

/** [where, bytes] of the fields that are written (pax(1), "ustar Interchange Format"). */
const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 6],
  version: [263, 2],
  user: [265, 32],
  group: [297, 32],
  prefix: [345, 155],
} as const;

function headerOf(name: string, size: number, mtime: number): Buffer {
  // A long path is in two fields, with the slash between them left out.
  const cut = name.length <= 100 ? -1 : name.indexOf("/");
  const [prefix, rest] = cut < 0 ? ["", name] : [name.slice(0, cut), name.slice(cut + 1)];
  if (!/^[ -~]{0,155}$/.test(prefix) || !/^[ -~]{1,100}$/.test(rest))
    throw new Error(`assertion failed: ${name} is no name for an archive`);
  const header = Buffer.alloc(BLOCK);
  const put = (field: keyof typeof FIELDS, text: string): void => {
    header.write(text, FIELDS[field][0], FIELDS[field][1], "latin1");
  };
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put("name", rest);
  put("prefix", prefix);
  put("mode", octal(0o600, 7));
  put("uid", octal(0, 7));
  put("gid", octal(0, 7));
  put("size", octal(size, 11));
  put("mtime", octal(mtime, 11));
  put("type", "0");
  put("magic", "ustar\0");
  put("version", "00");
  put("user", "root");
  put("group", "root");
  // The sum of all bytes, its own field taken for spaces.
  put("checksum", " ".repeat(8));
  const sum = header.reduce((total, byte) => total + byte, 0);
  put("checksum", `${octal(sum, 6)}\0 `);
  return header;
}
