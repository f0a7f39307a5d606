// The rows of a list, as the server's tables and their changes make them. Nothing here knows the page.

const text = (cell) => (cell === null || cell === undefined ? '' : String(cell));
const order = new Intl.Collator(undefined, { numeric: true });

export const keyOf = (row) => {
  const { namespace = '', name = '' } = row.object?.metadata ?? {};
  return `${namespace}/${name}`;
};

/**
 * A page as a table. Aggregated API servers need not know tables: what they list has the columns that kubectl shows then.
 */
export function tableOf(page) {
  if (page.kind === 'Table') return page;
  const items = page.items ?? [page];
  const rows = items.map(({ metadata }) => ({ cells: [metadata.name, ''], object: { metadata } }));
  return { columnDefinitions: [{ name: 'Name', priority: 0 }, { name: 'Age', priority: 0 }], rows };
}

/** Sorts by when objects were made, the newest first. */
export const NEWEST = -2;

export class Rows {
  constructor() {
    this.columns = [];
    this.rows = new Map();
  }

  /** All rows anew, of the pages of one list. */
  reset(pages) {
    const tables = pages.map(tableOf);
    this.columns = tables[0]?.columnDefinitions ?? this.columns;
    this.rows = new Map(tables.flatMap((table) => table.rows ?? []).map((row) => [keyOf(row), row]));
  }

  /** A change of a watch; answers the keys of the rows that it was about. */
  change(type, page) {
    const rows = tableOf(page).rows ?? [];
    for (const row of rows) {
      if (type === 'DELETED') this.rows.delete(keyOf(row));
      else this.rows.set(keyOf(row), row);
    }
    return rows.map(keyOf);
  }

  /** Keys of the rows that hold a text, in order of a column (-1: by namespace and name). */
  view(filter = '', column = -1, descending = false) {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = ([key, row]) => {
      const labels = Object.entries(row.object?.metadata?.labels ?? {}).map(([name, value]) => `${name}=${value}`);
      const whole = [key, ...(row.cells ?? []).map(text), ...labels].join('\n').toLowerCase();
      return words.every((word) => whole.includes(word));
    };
    const found = [...this.rows].filter(holds);
    const by = this.sorting(column);
    found.sort(([a, left], [b, right]) => by(left, right) || order.compare(a, b));
    if (descending) found.reverse();
    return found.map(([key]) => key);
  }

  sorting(column) {
    if (column === -1) return () => 0;
    // An age is a text that says nothing of order; the time of creation does.
    if (column === NEWEST || this.columns[column]?.name === 'Age') {
      const created = (row) => row.object?.metadata?.creationTimestamp ?? '';
      return (a, b) => (created(b) > created(a) ? 1 : created(b) < created(a) ? -1 : 0);
    }
    return (a, b) => order.compare(text(a.cells?.[column]), text(b.cells?.[column]));
  }
}
