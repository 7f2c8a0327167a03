// node-postgres: queries, named statements, cursors, streams, COPY, notifications, cancel by the server, pools.
const { Client, Pool, types } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const copy = require('pg-copy-streams');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');

const ssl = process.env.DRIVERS_TLS ? { rejectUnauthorized: false } : false;
const columns = require('fs').readFileSync(__dirname + '/types.txt', 'utf8').split('\n').filter(Boolean);
const log = (...words) => console.log(...words.map((w) => (typeof w === 'string' ? w : JSON.stringify(w))));
const FIELDS = ['severity', 'code', 'detail', 'hint', 'position', 'where', 'schema', 'table', 'column', 'dataType', 'constraint', 'file', 'line', 'routine'];
const describe = (e) => [e.message, ...FIELDS.filter((f) => e[f]).map((f) => `${f}=${e[f]}`)].join(' | ');

async function step(label, work) {
  try {
    const value = await work();
    const text = JSON.stringify(value) || 'nothing';
    log(`${label}: ${text.length > 4000 ? text.slice(0, 200) + '… ' + text.length : text}`);
    return value;
  } catch (error) {
    log(`${label}: ${describe(error)}`);
  }
}
const of = (r) => (Array.isArray(r) ? r.map(of) : { command: r.command, count: r.rowCount, rows: r.rows, fields: r.fields.map((f) => [f.name, f.dataTypeID, f.dataTypeSize, f.dataTypeModifier, f.columnID, f.format]) });

async function main() {
  const c = new Client({ ssl });
  c.on('notice', (n) => log('  notice ' + describe(n)));
  c.on('notification', (n) => log('  notified', n.channel, n.payload));
  // Told at the end: which of two connections is heard first is a matter of time.
  const lost = [];
  c.on('error', (e) => lost.push(e.message));
  await c.connect();
  const q = (text, values) => c.query(text, values).then(of);
  for (const column of columns) {
    await step(column, () => q({ text: `SELECT ${column} FROM types ORDER BY id`, types: { getTypeParser: () => (v) => v } }));
    await step(column + ' read', () => q(`SELECT ${column} FROM types ORDER BY id`));
    await step(column + ' binary', () => q({ text: `SELECT ${column} FROM types WHERE id = $1`, values: [1], binary: true, types: { getTypeParser: () => (v) => Buffer.from(v).toString('hex') } }));
  }
  for (const [text, values] of [['SELECT $1::int + 1 AS n', [1]], ['SELECT $1::text', [null]], ['SELECT 1; SELECT 2', undefined], ['SELECT 1/$1::int', [0]], ['SELEC', []], ['SELECT * FROM nowhere', undefined], ['SELECT chat(2)', undefined], ["SELECT fail('P0009')", undefined],
    ['INSERT INTO items (name, qty) VALUES ($1, $2)', ['item 1', 1]], ['SELECT $1::jsonb, $2::int[]', [{ a: [1] }, [1, null]]], ['', undefined], ['SELECT 1; SELECT 1/0; SELECT 3', undefined], ['SELECT $1::int', ['x']], ['SELECT 1 AS a, 2 AS a', []]]) {
    await step(text, () => q(text, values));
  }
  for (let n = 0; n < 4; n++) await step('named', () => q({ name: 'by-id', text: 'SELECT name FROM items WHERE id = $1', values: [n] }));
  await step('array rows', () => q({ text: 'SELECT 1 AS a, 2 AS a', rowMode: 'array' }));
  await step('queued', async () => (await Promise.all([...Array(50).keys()].map((n) => c.query('SELECT $1::int AS n', [n])))).map((r) => r.rows[0].n));
  await step('queued, some fail', async () => (await Promise.allSettled([...Array(9).keys()].map((n) => c.query('SELECT 1/$1::int AS n', [n % 3])))).map((r) => r.status));
  await q('BEGIN');
  await step('in a transaction', () => q('INSERT INTO log VALUES (1, $1)', ['node']));
  await step('fails', () => q('SELECT 1/0'));
  await step('aborted', () => q('SELECT 1'));
  await q('ROLLBACK');
  const cursor = c.query(new Cursor('SELECT id, name FROM items WHERE id > $1 ORDER BY id', [10]));
  await step('cursor', async () => [await cursor.read(3), await cursor.read(2), (await cursor.read(1000)).length, await cursor.read(1)]);
  await cursor.close();
  const early = c.query(new Cursor('SELECT n FROM generate_series(1, 100000) n'));
  await step('left early', async () => [await early.read(2), await early.close()]);
  const failing = c.query(new Cursor('SELECT 1/(5 - n) FROM generate_series(1, 9) n'));
  await step('fails in the middle', async () => [await failing.read(3), await failing.read(3)]);
  await step('usable', () => q('SELECT 1'));
  await step('stream', async () => { let sum = 0; for await (const row of c.query(new QueryStream('SELECT n FROM generate_series(1, 20000) n', [], { batchSize: 77 }))) sum += row.n; return sum; });
  for (const form of ['text', 'csv', 'binary']) {
    await step('copy to ' + form, async () => { const all = []; for await (const piece of c.query(copy.to(`COPY types TO STDOUT (FORMAT ${form})`))) all.push(piece); return Buffer.concat(all).toString('base64'); });
  }
  await step('copy from', async () => { await pipeline(Readable.from(['1\tn\n2\tm', '\n']), c.query(copy.from('COPY log FROM STDIN'))); });
  await step('copy bad', async () => { await pipeline(Readable.from(['x\tn\n']), c.query(copy.from('COPY log FROM STDIN'))); });
  await step('copy breaks', async () => { await pipeline(Readable.from((async function* () { yield '3\tn\n'; throw new Error('the source broke'); })()), c.query(copy.from('COPY log FROM STDIN'))); });
  await step('count', () => q('SELECT count(*), sum(at) FROM log'));
  await q('LISTEN ring');
  const d = new Client({ ssl });
  d.on('error', () => {});
  await d.connect();
  await d.query("NOTIFY ring, 'bell'");
  await new Promise((done) => setTimeout(done, 200));
  await step('large', async () => (await c.query("SELECT repeat('x', 50000000) AS x")).rows[0].x.length);
  await step('1600', async () => (await c.query({ text: 'SELECT * FROM wide', rowMode: 'array' })).rows.map((r) => r.length));
  await step('time-out', () => q('SET statement_timeout = 100; SELECT pg_sleep(9)'));
  await q('SET statement_timeout = 0');
  for (const more of [{ statement_timeout: 4321 }, { application_name: 'me' }, { options: '-c geqo=off' }, { idle_in_transaction_session_timeout: 5000, lock_timeout: 777 }, { database: 'nowhere' }, { query_timeout: 300 }]) {
    await step(JSON.stringify(more), async () => {
      const k = new Client({ ssl, ...more });
      await k.connect();
      try { return (await k.query("SELECT current_setting('statement_timeout'), current_setting('geqo') AS geqo, current_setting('lock_timeout') AS lt, current_setting('idle_in_transaction_session_timeout') AS idle")).rows; } finally { await k.end(); }
    });
  }
  const pool = new Pool({ ssl, max: 5 });
  await step('pool', async () => (await Promise.all([...Array(200).keys()].map((n) => pool.query('SELECT $1::int * 2 AS n', [n])))).reduce((sum, r) => sum + r.rows[0].n, 0));
  await pool.end();
  await step('terminate', () => d.query('SELECT pg_terminate_backend($1)', [c.processID]).then(of));
  await new Promise((done) => setTimeout(done, 300));
  await step('victim', () => q('SELECT 1'));
  log('lost', ...lost);
  await d.end();
}
main().then(() => process.exit(0), (e) => { log('ended: ' + describe(e)); process.exit(1); });
