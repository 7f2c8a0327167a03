-- Labelled tables that no test of the suite knows; labels.toml says what is labelled.
CREATE SCHEMA vault;
CREATE TABLE vault.people (id int PRIMARY KEY, name text NOT NULL, ssn text UNIQUE, born date, balance numeric, doc jsonb, notes text[]);
INSERT INTO vault.people
  SELECT i, 'person ' || i, lpad((i * 7919 % 1000000000)::text, 9, '0'), date '1960-01-01' + i, i * 10.5, jsonb_build_object('tax_id', 'T' || i, 'city', 'Oslo'), ARRAY['n' || i]
  FROM generate_series(1, 100) AS i;
CREATE TABLE vault.keys (person int REFERENCES vault.people, token text);
INSERT INTO vault.keys SELECT i, md5(i::text) FROM generate_series(1, 100) AS i;
CREATE VIEW vault.directory AS SELECT id, name, ssn FROM vault.people;
