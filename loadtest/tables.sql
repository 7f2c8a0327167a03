-- What loadtest/compare measures with, in the schema that comes first. Names say how many MiB the backend makes of a table; the rows
-- that it repeats are these. Values are made up: card numbers are from the range that no network issues.

CREATE TABLE narrow_1024 (
    id integer, name text, email text, phone text, card text, city text, amount double precision, status text, seen_on date, note text
);
INSERT INTO narrow_1024
SELECT 1000000 + n, 'customer ' || lpad((n % 5000)::text, 4, '0'), 'customer' || lpad((n % 5000)::text, 4, '0') || '@example.org',
       '+1-202-555-0' || 100 + n % 100, '9' || lpad((n * 7919 % 1000000000)::text, 15, '0'), 'town ' || n % 90,
       (n % 10000) / 8.0, (ARRAY ['open', 'paid', 'sent'])[1 + n % 3], date '2026-01-01' + n % 300, 'note ' || n % 100
  FROM generate_series(1, 8192) n;
CREATE TABLE narrow_64 AS SELECT * FROM narrow_1024;

-- Ten cells of 1,024 bytes a row, stored as they are.
CREATE TABLE wide_1024 (
    c1 text, c2 text, c3 text, c4 text, c5 text, c6 text, c7 text, c8 text, c9 text, c10 text
);
ALTER TABLE wide_1024
    ALTER c1 SET STORAGE EXTERNAL, ALTER c2 SET STORAGE EXTERNAL, ALTER c3 SET STORAGE EXTERNAL, ALTER c4 SET STORAGE EXTERNAL,
    ALTER c5 SET STORAGE EXTERNAL, ALTER c6 SET STORAGE EXTERNAL, ALTER c7 SET STORAGE EXTERNAL, ALTER c8 SET STORAGE EXTERNAL,
    ALTER c9 SET STORAGE EXTERNAL, ALTER c10 SET STORAGE EXTERNAL;
INSERT INTO wide_1024
SELECT repeat(md5('1' || n), 32), repeat(md5('2' || n), 32), repeat(md5('3' || n), 32), repeat(md5('4' || n), 32),
       repeat(md5('5' || n), 32), repeat(md5('6' || n), 32), repeat(md5('7' || n), 32), repeat(md5('8' || n), 32),
       repeat(md5('9' || n), 32), repeat(md5('0' || n), 32)
  FROM generate_series(1, 128) n;

-- One cell of 16 MiB a row.
CREATE TABLE huge_1024 (cell text);
INSERT INTO huge_1024 SELECT repeat(md5('huge'), 524288);

-- A row by its key, for small queries.
CREATE TABLE accounts (id integer PRIMARY KEY, owner text, balance bigint);
INSERT INTO accounts SELECT n, 'owner ' || n, n * 100 FROM generate_series(1, 1000) n;

-- As much as a real server streams by itself: 10 columns, some 256 MiB.
CREATE TABLE narrow_real AS
SELECT row.* FROM narrow_1024 row, generate_series(1, 256) n;
