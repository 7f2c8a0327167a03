//! The database that tests protect: a small shop. Card and social security numbers are labelled `pii`; notes are not.

/// The first customers' card numbers, as stored: none may ever be seen by a masked principal.
pub const CARDS: [&str; 3] = ["4111111111111111", "5500005555555559", "340000000000009"];
/// The first customers' social security numbers, as stored.
pub const SSNS: [&str; 3] = ["536-90-4399", "219-09-9999", "457-55-5462"];
/// The target's name in configurations.
pub const TARGET: &str = "shop";

/// Roles with one password and one authentication method each, then the schema.
pub const ROLES: &str = "
SET password_encryption = 'scram-sha-256';
CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE ROLE app_plain LOGIN PASSWORD 'app-secret';
CREATE ROLE app_trust LOGIN;
SET password_encryption = 'md5';
CREATE ROLE app_md5 LOGIN PASSWORD 'app-secret';
CREATE DATABASE shop OWNER app;
";

/// Runs in the database `shop` as its owner.
pub const SCHEMA: &str = "
SET ROLE app;
CREATE SCHEMA app;
CREATE TABLE app.customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    ssn text NOT NULL CONSTRAINT ssn_shape CHECK (ssn LIKE '___-__-____'),
    card_number text NOT NULL CONSTRAINT one_card UNIQUE,
    credit_limit int NOT NULL DEFAULT 1000
);
INSERT INTO app.customers (id, name, email, ssn, card_number) VALUES
    (1, 'first customer', 'one@example.com', '536-90-4399', '4111111111111111'),
    (2, 'second customer', 'two@example.com', '219-09-9999', '5500005555555559'),
    (3, 'third customer', 'three@example.com', '457-55-5462', '340000000000009');
CREATE TABLE app.orders (
    id int PRIMARY KEY,
    customer int REFERENCES app.customers,
    total numeric(10,2) NOT NULL,
    note text
);
INSERT INTO app.orders SELECT n, 1 + n % 3, n * 1.5, 'note ' || n FROM generate_series(1, 1000) n;
CREATE VIEW app.customer_names AS SELECT id, name FROM app.customers;
CREATE VIEW app.customer_cards AS SELECT id, card_number FROM app.customers;
CREATE TABLE app.scratch (id int);
CREATE TABLE app.typed (id int PRIMARY KEY, secret_int int, secret_text text, secret_json jsonb);
INSERT INTO app.typed VALUES (1, 987654321, 'open sesame', '{\"pin\": 4242}');
GRANT ALL ON SCHEMA app TO app_plain, app_trust, app_md5;
GRANT ALL ON ALL TABLES IN SCHEMA app TO app_plain, app_trust, app_md5;
";

/// The labels of the configuration.
pub const LABELS: &str = r#"
[[label]]
name = "pii"
target = "shop"
columns = ["app.customers.ssn", "app.customers.card_number"]
redact = "keep-last-4"

[[label]]
name = "secret"
target = "shop"
columns = ["app.typed.secret_int", "app.typed.secret_text", "app.typed.secret_json"]
redact = "null"
"#;

/// Who belongs together.
pub const GROUPS: &str = r#"
[[group]]
name = "ci"
members = ["workload:ci-runner"]

[[group]]
name = "oncall"
members = ["user:oncall", "user:second-oncall"]

[[group]]
name = "dba"
members = ["user:dba"]
"#;

/// What the groups may do: `ci` works under the mask and waits for `oncall` before it destroys, `dba` reads raw.
pub const POLICIES: &str = r#"
@id("ci-works")
permit (
    principal in Group::"ci",
    action in [
        Action::"connect", Action::"select", Action::"insert", Action::"update", Action::"delete", Action::"create",
        Action::"alter", Action::"drop", Action::"truncate", Action::"copy-in", Action::"copy-out", Action::"set",
        Action::"show", Action::"transaction", Action::"lock", Action::"maintenance", Action::"explain",
        Action::"prepared", Action::"notify"
    ],
    resource
);

@id("dba-works")
permit (principal in Group::"dba", action, resource);

@id("oncall-reads")
permit (
    principal in Group::"oncall",
    action in [Action::"connect", Action::"select", Action::"show", Action::"set", Action::"transaction"],
    resource
);

@id("drops-wait")
@reason("dropping and truncating needs a second person")
@approvers("oncall")
forbid (
    principal in Group::"ci",
    action in [Action::"drop", Action::"truncate"],
    resource
) unless { context.approved };

@id("unbounded-writes-wait")
@reason("this changes every row")
@approvers("oncall")
forbid (
    principal in Group::"ci",
    action in [Action::"update", Action::"delete"],
    resource
) unless { context.bounded || context.approved };
"#;
