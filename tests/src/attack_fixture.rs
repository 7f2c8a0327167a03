//! What attacks are aimed at: a schema `vault` full of secrets that are fresh in every run, objects that an administrator
//! made around it, the labels and the policy that stand in the way, and the way back to the start after each case.

use crate::attack_client::AttackClient;

use crate::{Linegate, Options, Postgres};

/// Customers with secrets of their own; two more are rows of the child table.
pub const PEOPLE: usize = 8;
const STAFF_FROM: usize = 7;

/// Extensions that cases may use where the server has them.
pub const EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "file_fdw",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pageinspect",
    "pg_buffercache",
    "pg_stat_statements",
    "pg_trgm",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "plpgsql",
    "postgres_fdw",
    "seg",
    "tablefunc",
    "tsm_system_rows",
    "unaccent",
    "uuid-ossp",
    "xml2",
    "amcheck",
    "bloom",
    "earthdistance",
    "tcn",
];

/// Letters and digits that cannot be taken for one another.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A small generator: one seed, one run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below an index")
    }

    /// Every third character is a digit, so that no fragment is a word that programs say anyway.
    fn letters(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count);
        while text.len() < count {
            let from = match text.len() % 3 {
                0 => &ALPHABET[..24],
                1 => &ALPHABET[24..],
                _ => ALPHABET,
            };
            text.push(char::from(from[self.below(from.len())]));
        }
        text
    }

    fn digits(&mut self, first: &str, count: usize) -> String {
        let mut text = first.to_owned();
        while text.len() < count {
            text.push(char::from(b'0' + u8::try_from(self.below(10)).expect("a digit")));
        }
        text
    }
}

/// The secrets of one person.
#[derive(Clone, Debug)]
struct Person {
    email: String,
    ssn: String,
    card: String,
    phone: String,
    tax_id: String,
    street: String,
    account: String,
    blob: String,
    alias: String,
    token: String,
    trail: String,
}

/// The secrets of one run.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// What they were made from.
    pub seed: u64,
    people: Vec<Person>,
}

impl Secrets {
    /// Fresh secrets, the same for the same seed.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let people = (0..PEOPLE)
            .map(|_| {
                let ssn = chance.digits("5", 9);
                Person {
                    email: format!("{}@mail.example", chance.letters(18)),
                    ssn: format!("{}-{}-{}", &ssn[..3], &ssn[3..5], &ssn[5..]),
                    card: chance.digits("4", 16),
                    phone: format!("+1{}", chance.digits("6", 10)),
                    tax_id: chance.letters(20),
                    street: chance.letters(22),
                    account: chance.digits("7", 15),
                    blob: chance.letters(24),
                    alias: chance.letters(16),
                    token: chance.letters(36),
                    trail: chance.letters(26),
                }
            })
            .collect();
        Self { seed, people }
    }

    /// A field of the person with that id, from 1.
    pub fn field(&self, person: usize, field: &str) -> String {
        let person = &self.people[person - 1];
        match field {
            "email" => &person.email,
            "ssn" => &person.ssn,
            "card" => &person.card,
            "phone" => &person.phone,
            "tax_id" => &person.tax_id,
            "street" => &person.street,
            "account" => &person.account,
            "blob" => &person.blob,
            "alias" => &person.alias,
            "token" => &person.token,
            "trail" => &person.trail,
            other => panic!("no secret is called {other}"),
        }
        .clone()
    }

    fn collect(&self, fields: &[&str]) -> Vec<String> {
        let of = |person| fields.iter().map(move |field| self.field(person, field));
        (1..=PEOPLE).flat_map(of).collect()
    }

    /// Secrets of letters and digits.
    pub fn alphanumeric(&self) -> Vec<String> {
        let mut all = self.collect(&["tax_id", "street", "blob", "alias", "token", "trail"]);
        all.extend(
            self.people
                .iter()
                .filter_map(|person| Some(person.email.split('@').next()?.to_owned())),
        );
        all
    }

    /// Secrets that are numbers.
    pub fn digits(&self) -> Vec<String> {
        let mut all = self.collect(&["card", "account"]);
        all.extend(self.people.iter().map(|person| person.ssn.replace('-', "")));
        all.extend(
            self.people
                .iter()
                .map(|person| person.phone.trim_start_matches('+').to_owned()),
        );
        all
    }

    /// Social security numbers as stored.
    pub fn hyphenated(&self) -> Vec<String> {
        self.collect(&["ssn"])
    }

    /// Whole values, for digests.
    pub fn whole(&self) -> Vec<String> {
        self.collect(&[
            "email", "ssn", "card", "phone", "tax_id", "street", "account", "blob", "alias", "token", "trail",
        ])
    }

    /// The rows of the fixture.
    fn rows(&self) -> String {
        let names = [
            "Ada Stone",
            "Bo River",
            "Cem Field",
            "Dora Marsh",
            "Eli Hill",
            "Fay Brook",
            "Gus Lake",
            "Hana Wood",
        ];
        let mut sql = String::new();
        for (index, person) in self.people.iter().enumerate() {
            let id = index + 1;
            let (table, desk) = match id {
                STAFF_FROM.. => ("vault.staff", format!(", 'desk {id}'")),
                _ => ("vault.people", String::new()),
            };
            let plan = ["free", "gold", "team"][id % 3];
            let city = id % 4;
            sql.push_str(&format!(
                "INSERT INTO {table} VALUES ({id}, '{name}', '{email}', '{ssn}', '{card}', '{phone}', {notes}, \
                 '{{\"plan\": \"{plan}\", \"tax_id\": \"{tax_id}\", \"home\": {{\"city\": \"Town{city}\", \"street\": \"{street}\"}}, \
                 \"tags\": [\"a{id}\", \"b\"]}}', {account}, convert_to('{blob}', 'UTF8'), ARRAY['{alias}', 'pal'], {active}, \
                 '2024-01-0{id} 10:00:00+00'{desk});\n",
                name = names[index],
                email = person.email,
                ssn = person.ssn,
                card = person.card,
                phone = person.phone,
                notes = if id == 5 { "NULL".to_owned() } else { format!("'note of person {id}; prefers mail'") },
                tax_id = person.tax_id,
                street = person.street,
                account = person.account,
                blob = person.blob,
                alias = person.alias,
                active = id % 2 == 0,
            ));
            if id < STAFF_FROM {
                sql.push_str(&format!(
                    "INSERT INTO vault.keys VALUES ({id}, {id}, '{}', '2024-01-0{id} 11:00:00+00');\n",
                    person.token
                ));
            }
            sql.push_str(&format!(
                "INSERT INTO vault.visits VALUES ({id}, 'page {id}', '{}');\n",
                person.trail
            ));
        }
        sql.push_str(DATA);
        sql
    }
}

const SHAPE: &str = include_str!("../attacks/sql/fixture.sql");
const DATA: &str = "
INSERT INTO vault.orders SELECT n, 1 + n % 6, n * 7.25, (ARRAY['new', 'paid', 'sent', 'void'])[1 + n % 4],
    CASE WHEN n % 5 = 0 THEN NULL ELSE 'order ' || n END, timestamptz '2024-02-01 08:00:00+00' + n * interval '7 hours'
    FROM generate_series(1, 40) n;
INSERT INTO vault.products SELECT n, 'sku-' || n, 'Thing ' || n, n * 3.5, ARRAY['x', 'y' || n],
    jsonb_build_object('weight', n, 'colour', (ARRAY['red', 'blue'])[1 + n % 2]) FROM generate_series(1, 8) n;
INSERT INTO vault.counters VALUES ('calls', 0);
";

const EMPTY: &str = "TRUNCATE vault.people, vault.staff, vault.keys, vault.visits, vault.orders, vault.products, vault.audit, \
                     vault.counters, vault.outbox RESTART IDENTITY CASCADE;";

const SHAPE_NOW: &str = include_str!("../attacks/sql/shape.sql");
const CLEAN_UP: &str = include_str!("../attacks/sql/clean_up.sql");

const DATA_NOW: &str = include_str!("../attacks/sql/data.sql");

/// What the labels say: see `tests/attacks/README.md`.
pub const LABELS: &str = r#"
[[label]]
name = "contact"
target = "shop"
columns = ["vault.people.email", "vault.visits.trail"]
redact = "blank"

[[label]]
name = "number"
target = "shop"
columns = ["vault.people.ssn", "vault.people.card", "vault.people.phone"]
redact = "keep-last-4"

[[label]]
name = "document"
target = "shop"
columns = ["vault.people.doc"]
paths = ["$.tax_id", "$.home.street"]
redact = "null"

[[label]]
name = "typed"
target = "shop"
columns = ["vault.people.account", "vault.people.blob", "vault.people.aliases"]
redact = "null"

[[label]]
name = "secret"
target = "shop"
columns = ["vault.keys.token"]
redact = "blank"
"#;

/// A server with the fixture, and the administrator's connection to it.
pub struct Target {
    /// The server.
    pub postgres: Postgres,
    /// `server_version_num`.
    pub version: u32,
    /// Extensions that are there.
    pub extensions: Vec<String>,
    admin: Option<AttackClient>,
    secrets: Secrets,
    shape: String,
    data: String,
}

impl Target {
    /// A server of its own, loaded with these secrets.
    pub fn start(secrets: &Secrets) -> Self {
        let postgres = Postgres::start_with(&[
            "wal_level=logical",
            "max_prepared_transactions=10",
            "shared_preload_libraries=pg_stat_statements",
            "session_preload_libraries=auto_explain",
            "jit=off",
        ]);
        postgres.sql("ALTER ROLE app SUPERUSER REPLICATION CREATEDB CREATEROLE");
        postgres.sql("CREATE ROLE boss SUPERUSER LOGIN; CREATE ROLE low NOLOGIN; GRANT low TO app");
        postgres.sql(
            "COPY (VALUES ('host all boss 127.0.0.1/32 trust'), ('host replication app 127.0.0.1/32 scram-sha-256')) \
             TO PROGRAM 'cat >> pg_hba.conf'",
        );
        postgres.sql("SELECT pg_reload_conf()");
        let mut target = Self {
            postgres,
            version: 0,
            extensions: Vec::new(),
            admin: None,
            secrets: secrets.clone(),
            shape: String::new(),
            data: String::new(),
        };
        target.version = target.ask("SHOW server_version_num").parse().expect("a number");
        for extension in EXTENSIONS {
            if target
                .try_ask(&format!(
                    "CREATE EXTENSION IF NOT EXISTS \"{extension}\" SCHEMA public"
                ))
                .is_ok()
                || *extension == "plpgsql"
            {
                target.extensions.push((*extension).to_owned());
            }
        }
        target.rebuild();
        target
    }

    /// Runs statements as the administrator, directly; the rows of the last.
    pub fn try_ask(&mut self, sql: &str) -> Result<String, String> {
        for attempt in 0..2 {
            if self.admin.is_none() {
                let mut admin = AttackClient::connect_trusted(self.postgres.port(), "boss", "shop");
                admin.simple(
                    "SET client_min_messages = error; SET lock_timeout = '5s'; SET statement_timeout = '20s'",
                );
                self.admin = Some(admin);
            }
            let admin = self.admin.as_mut().expect("just connected");
            let outcome = admin.ask(sql);
            if outcome.closed && attempt == 0 {
                self.admin = None;
                continue;
            }
            return match outcome.errors.first() {
                Some((code, message)) => Err(format!("{code} {message}")),
                None => Ok(outcome.as_text()),
            };
        }
        Err("the administrator's connection is gone".to_owned())
    }

    /// The same, which must succeed.
    pub fn ask(&mut self, sql: &str) -> String {
        self.try_ask(sql)
            .unwrap_or_else(|error| panic!("the administrator's statement failed: {error}\n{sql}"))
    }

    /// The same, where an error is an answer too; numbers in it are not compared.
    pub fn ask_effect(&mut self, sql: &str) -> String {
        self.try_ask(sql).unwrap_or_else(|error| {
            let words = error.chars().filter(|character| !character.is_ascii_digit());
            format!("error: {}", words.take(80).collect::<String>())
        })
    }

    fn rebuild(&mut self) {
        self.ask("DROP SCHEMA IF EXISTS vault CASCADE");
        self.ask("DROP SCHEMA IF EXISTS scratch CASCADE");
        self.ask(SHAPE);
        let rows = self.secrets.rows();
        self.ask(&rows);
        self.ask("REFRESH MATERIALIZED VIEW vault.directory");
        self.ask("ANALYZE vault.people, vault.keys, vault.orders, vault.visits");
        self.shape = self.ask(SHAPE_NOW);
        self.data = self.ask(DATA_NOW);
    }

    /// Brings everything back to the start; true when objects had to be made anew.
    pub fn reset(&mut self) -> bool {
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
             AND backend_type = 'client backend' AND usename = 'app' AND state LIKE 'idle in transaction%'",
        );
        if self.ask_effect(SHAPE_NOW) == self.shape {
            if self.ask(DATA_NOW) != self.data {
                let rows = self.secrets.rows();
                self.ask(&format!("BEGIN; {EMPTY} {rows} COMMIT"));
            }
            return false;
        }
        self.clean_up();
        self.rebuild();
        true
    }

    /// Removes what lives outside the schema.
    fn clean_up(&mut self) {
        let statements = self.ask(CLEAN_UP);
        for statement in statements.lines() {
            let _best_effort = self.try_ask(statement);
        }
    }
}

/// A linegate in front of the target, offering TLS with this certificate.
pub fn linegate(target: &Target, key_and_cert: (std::path::PathBuf, std::path::PathBuf)) -> Linegate {
    Linegate::start_with(
        &target.postgres,
        Options {
            record: "statements",
            policies: include_str!("../attacks/policy.cedar").to_owned(),
            client_cert: Some(key_and_cert),
            target: "hold_seconds = 30".to_owned(),
            more: LABELS.to_owned(),
            ..Options::default()
        },
    )
}
