-- What loadtest/compare asks the server and its backend: both must give the same, errors and transactions included.
SELECT * FROM accounts WHERE id < 20 ORDER BY id;
SHOW server_version;
\encoding
SET datestyle = 'SQL, DMY';
SELECT id, seen_on, card FROM narrow_1024 ORDER BY id LIMIT 3;
BEGIN;
SELECT count(*) FROM wide_1024;
PREPARE pick AS SELECT owner FROM accounts WHERE id = 7;
EXECUTE pick;
ROLLBACK;
RESET datestyle;
SELECT id, seen_on FROM narrow_1024 ORDER BY id LIMIT 3;
SELECT length(cell) FROM huge_1024;
COPY (SELECT id, owner FROM accounts WHERE id < 5 ORDER BY id) TO STDOUT;
\set ON_ERROR_STOP off
SELECT * FROM no_such_relation;
SELECT 1 / 0;
BEGIN;
SELECT 1 / 0;
SELECT 'the transaction is over';
ROLLBACK;
SELECT 'and the session goes on';
