// Lists that grow by others: as arguments of push() the items of a long list would not fit on the stack.

export function append<T>(list: T[], more: Iterable<T>): void {
  for (const each of more) list.push(each);
}
