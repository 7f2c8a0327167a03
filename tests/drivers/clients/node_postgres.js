// postgres.js: tagged templates, automatic pipelining, cursors, COPY, listen, transactions, cancel.
const postgres = require('postgres');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');

const columns = require('fs').readFileSync(__dirname + '/types.txt', 'utf8').split('\n').filter(Boolean);
const log = (...words) => console.log(...words.map((w) => (typeof w === 'string' ? w : JSON.stringify(w))));
const FIELDS = ['severity', 'code', 'detail', 'hint', 'position', 'where', 'schema_name', 'table_name', 'column_name', 'type_name', 'constraint_name', 'file', 'line', 'routine'];
const describe = (e) => [e.message.replace(/localhost|127\.0\.0\.1/, 'host'), ...FIELDS.filter((f) => e[f]).map((f) => `${f}=${e[f]}`)].join(' | ');
async function step(label, work) {
  try {
    const text = JSON.stringify(await work()) || 'nothing';
    log(`${label}: ${text.length > 4000 ? text.slice(0, 200) + '… ' + text.length : text}`);
  } catch (error) {
    log(`${label}: ${describe(error)}`);
  }
}
const of = (r) => ({ command: r.command, count: r.count, rows: [...r], columns: (r.columns || []).map((k) => [k.name, k.type, k.number]), state: r.state && r.state.status });

async function main() {
  const options = { ssl: process.env.DRIVERS_TLS ? { rejectUnauthorized: false } : false, onnotice: (n) => log('  notice', { ...n, file: undefined }) };
  const sql = postgres({ ...options, max: 1 });
  for (const column of columns) await step(column, () => sql`SELECT ${sql(column)} FROM types ORDER BY id`.then(of));
  await step('parameters', () => sql`SELECT ${1}::int + 1 AS a, ${'x'} AS b, ${null}::text AS c, ${[1, 2]}::int[] AS d, ${sql.json({ k: 1 })} AS e, ${new Date(0)}::timestamptz AS f, ${Buffer.from([0, 255])}::bytea AS g`.then(of));
  await step('fails', () => sql`SELECT 1/${0}::int`);
  await step('syntax', () => sql`SELEC`);
  await step('bad value', () => sql`SELECT ${'x'}::int`);
  await step('chat', () => sql`SELECT chat(${2})`.then(of));
  await step('unsafe', () => sql.unsafe('SELECT 1; SELECT 2').then((r) => r.map((x) => of(x))));
  await step('simple', () => sql`SELECT 1 AS x; SELECT 2 AS y`.simple().then((r) => r.map((x) => of(x))));
  await step('insert', () => sql`INSERT INTO log ${sql([{ at: 1, line: 'a' }, { at: 2, line: null }])} RETURNING *`.then(of));
  await step('pipelined', async () => (await Promise.all([...Array(300).keys()].map((n) => sql`SELECT ${n}::int AS n`))).reduce((s, r) => s + r[0].n, 0));
  await step('pipelined, some fail', async () => (await Promise.allSettled([...Array(12).keys()].map((n) => sql`SELECT 1/${n % 3}::int AS n`))).map((r) => r.status));
  await step('describe', () => sql`SELECT id, name FROM items WHERE id = ${1}`.describe().then((d) => [d.types, d.columns.map((k) => k.name)]));
  await step('values', () => sql`SELECT 1, 2`.values());
  await step('raw', () => sql`SELECT 1, 'x'`.raw().then((r) => r.map((row) => row.map((v) => v.toString()))));
  await step('cursor', async () => { const sizes = []; for await (const rows of sql`SELECT n FROM generate_series(1, 25) n`.cursor(10)) sizes.push(rows.length); return sizes; });
  await step('cursor left', async () => { for await (const [row] of sql`SELECT n FROM generate_series(1, 25) n`.cursor()) { if (row.n === 3) return row; } });
  await step('for each', async () => { let s = 0; await sql`SELECT n FROM generate_series(1, 2500) n`.forEach((row) => { s += row.n; }); return s; });
  await step('transaction', () => sql.begin(async (t) => { await t`INSERT INTO log VALUES (7, 't')`; await t.savepoint(async (s) => { await s`SELECT 1/0`; }).catch((e) => log('  inner ' + e.code)); return (await t`SELECT count(*) FROM log`)[0]; }));
  await step('pipelined transaction', () => sql.begin((t) => [t`SELECT 1 AS a`, t`INSERT INTO log VALUES (8, 'p')`, t`SELECT count(*) FROM log`]).then((r) => r.map((x) => of(x))));
  await step('rolled back', () => sql.begin('read only', (t) => t`INSERT INTO log VALUES (9, 'ro')`));
  await step('copy in', async () => { await pipeline(Readable.from(['20\tx\n', '21\ty\n']), await sql`COPY log FROM STDIN`.writable()); });
  await step('copy out', async () => { const all = []; for await (const piece of await sql`COPY (SELECT * FROM types ORDER BY id) TO STDOUT`.readable()) all.push(piece); return Buffer.concat(all).toString(); });
  const heard = new Promise((done) => sql.listen('ring', done).then(() => sql.notify('ring', 'bell')));
  log('heard', await heard);
  await step('cancelled', async () => { const q = sql`SELECT pg_sleep(20)`.execute(); setTimeout(() => q.cancel(), 400); await q; });
  await step('usable', () => sql`SELECT 1 AS one`.then(of));
  await step('large', async () => (await sql`SELECT repeat('x', 20000000) AS x`)[0].x.length);
  await step('reserved', async () => { const r = await sql.reserve(); try { return of(await r`SELECT 1 AS a`); } finally { r.release(); } });
  await sql.end({ timeout: 2 });
  for (const connection of [{ application_name: 'me' }, { statement_timeout: 4000 }, { options: '-c geqo=off' }, { search_path: 'public' }]) {
    const k = postgres({ ...options, max: 1, connection });
    await step(JSON.stringify(connection), () => k`SELECT current_setting('statement_timeout') AS st, current_setting('geqo') AS g, current_setting('search_path') AS sp`.then(of));
    await k.end({ timeout: 2 });
  }
  const many = postgres({ ...options, max: 6 });
  await step('pool', async () => (await Promise.all([...Array(300).keys()].map((n) => many`SELECT ${n}::int AS n`))).reduce((s, r) => s + r[0].n, 0));
  await many.end({ timeout: 2 });
}
main().then(() => process.exit(0), (e) => { log('ended: ' + describe(e)); process.exit(1); });
