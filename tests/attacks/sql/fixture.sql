-- What the attack cases are aimed at. Rows come from the runner, with fresh secrets.
CREATE SCHEMA vault;
CREATE SCHEMA scratch;
CREATE TABLE vault.people (
    id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, ssn text UNIQUE, card text, phone text, notes text, doc jsonb,
    account bigint, blob bytea, aliases text[], active bool NOT NULL DEFAULT true, created timestamptz NOT NULL DEFAULT now());
CREATE TABLE vault.staff (desk text) INHERITS (vault.people);
CREATE TABLE vault.keys (
    id int PRIMARY KEY, person_id int REFERENCES vault.people (id), token text UNIQUE, created timestamptz DEFAULT now());
CREATE TABLE vault.visits (id int NOT NULL, page text, trail text) PARTITION BY RANGE (id);
CREATE TABLE vault.visits_low PARTITION OF vault.visits FOR VALUES FROM (1) TO (5);
CREATE TABLE vault.visits_high PARTITION OF vault.visits FOR VALUES FROM (5) TO (1000);
CREATE TABLE vault.orders (
    id int PRIMARY KEY, person_id int, amount numeric(10,2) NOT NULL, status text NOT NULL, note text,
    placed timestamptz NOT NULL DEFAULT now());
CREATE INDEX orders_person ON vault.orders (person_id);
CREATE TABLE vault.products (id int PRIMARY KEY, sku text UNIQUE, title text, price numeric(10,2), tags text[], spec jsonb);
CREATE TABLE vault.audit (id serial PRIMARY KEY, at timestamptz DEFAULT '2024-03-01 00:00:00+00', what text);
CREATE TABLE vault.counters (name text PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE vault.outbox (id int PRIMARY KEY, body text);
-- Objects of an administrator; none of their columns bears a label of its own.
CREATE VIEW vault.contact AS SELECT id, name, email AS mail, phone AS tel FROM vault.people;
CREATE VIEW vault.everything AS SELECT * FROM vault.people;
CREATE VIEW vault.roster AS SELECT id, name, active FROM vault.people;
CREATE VIEW vault.order_report AS
    SELECT o.id, o.amount, o.status, p.name FROM vault.orders o JOIN vault.people p ON p.id = o.person_id;
CREATE VIEW vault.badge AS SELECT id, name || ' <' || email || '>' AS badge FROM vault.people;
CREATE VIEW vault.second_hand AS SELECT tel AS note, id FROM vault.contact;
CREATE MATERIALIZED VIEW vault.directory AS SELECT id, name, ssn AS ref FROM vault.people;
CREATE FUNCTION vault.mail_of(int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT email FROM vault.people WHERE id = $1';
CREATE FUNCTION vault.fixed_mail(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT email FROM vault.people WHERE id = $1';
CREATE FUNCTION vault.holder(text) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM vault.people WHERE ssn = $1';
CREATE FUNCTION vault.search(text) RETURNS SETOF vault.people LANGUAGE sql STABLE
    AS 'SELECT * FROM vault.people WHERE name LIKE $1';
CREATE FUNCTION vault.listing() RETURNS TABLE (k int, v text) LANGUAGE sql STABLE AS 'SELECT id, card FROM vault.people';
CREATE FUNCTION vault.document(int) RETURNS json LANGUAGE plpgsql STABLE AS
    $$ DECLARE r json; BEGIN EXECUTE 'SELECT row_to_json(p) FROM vault.people p WHERE id = $1' INTO r USING $1; RETURN r; END $$;
CREATE FUNCTION vault.fold(state text, value text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, '''') || $2';
CREATE AGGREGATE vault.glue(text) (SFUNC = vault.fold, STYPE = text);
CREATE FUNCTION vault.concatenate(vault.people, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ($1).ssn || $2';
CREATE OPERATOR vault.<+> (LEFTARG = vault.people, RIGHTARG = text, FUNCTION = vault.concatenate);
CREATE FUNCTION vault.show_card(vault.people) RETURNS text LANGUAGE sql STABLE AS 'SELECT ($1).card';
CREATE FUNCTION vault.shout(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'value %', $1; RETURN ''; END $$;
CREATE FUNCTION vault.refuse(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = $1; END $$;
CREATE PROCEDURE vault.wipe_orders() LANGUAGE sql AS 'DELETE FROM vault.orders';
CREATE PROCEDURE vault.tell(INOUT who int, INOUT what text) LANGUAGE plpgsql AS
    $$ BEGIN SELECT ssn INTO what FROM vault.people WHERE id = who; END $$;
CREATE FUNCTION vault.archive() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
    'WITH d AS (DELETE FROM vault.orders RETURNING 1) SELECT count(*) FROM d';
CREATE FUNCTION vault.bump() RETURNS int LANGUAGE sql AS
    'UPDATE vault.counters SET n = n + 1 WHERE name = ''calls'' RETURNING n';
CREATE VIEW vault.v_orders AS SELECT * FROM vault.orders;
CREATE RULE v_orders_clean AS ON UPDATE TO vault.v_orders DO INSTEAD DELETE FROM vault.orders;
CREATE FUNCTION vault.on_outbox() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM vault.orders; RETURN NEW; END $$;
CREATE TRIGGER outbox_sweeps AFTER INSERT ON vault.outbox FOR EACH ROW EXECUTE FUNCTION vault.on_outbox();
