//! Reads a database's relations, their columns, where their rows come from, and its functions.
//! Source: PostgreSQL manual, "System Catalogs": pg_class, pg_attribute, pg_rewrite, pg_depend, pg_inherits, pg_proc.
//!
//! [`QUERIES`] are plain simple-protocol texts for PostgreSQL 14 or later; their results come as text cells. Run
//! [`SETTINGS`] first, then those of [`SYSTEM_QUERIES`], then the others in order, feeding each row to [`Loader::row`]. A loader
//! that has seen the system's rows may be kept and cloned for the next reading while [`SYSTEM_VERSION`] stays the same. The
//! queries belong together when [`VERSION`] is the same before and after them, or when they run between [`VIEW`] and [`POSTLUDE`], which costs the server more.
//! The login needs no privilege beyond what every role has.
//!
//! The texts of views and functions come last and by themselves ([`BODIES_AT`]): printing one takes a lock on what it reads,
//! and a session that waits for this catalog may hold that lock. The lock is waited for briefly; where that fails, the
//! catalog goes without the texts, and what is built over labels counts as not followed.
//!
//! Sources are taken from the rule texts as well as from `pg_depend`: dependencies on system catalogs are not
//! recorded there, and a view over `pg_statistic` is exactly what must not be missed. A TOAST table's source is the
//! table whose values it holds.

use std::collections::HashMap;
use std::fmt;

mod goes_along;
mod queries;
mod temporary;

pub use queries::{
    BODIES_AT, MADE_IN, POSTLUDE, QUERIES, SETTINGS, SYSTEM_QUERIES, SYSTEM_VERSION, VERSION, VIEW,
};

use linegate_policy::builtins::Judge;
use linegate_policy::catalog::{Cascade, Catalog, Column, Function, Relation, Test};

/// Relations that are held; more is an error.
pub const RELATIONS_MAX: usize = 500_000;
/// Columns of all relations together.
pub const COLUMNS_MAX: usize = 8_000_000;
/// Pairs of relation and source together.
pub const SOURCES_MAX: usize = 4_000_000;
/// Functions outside `pg_catalog`.
pub const FUNCTIONS_MAX: usize = 1_000_000;
/// Texts of views and functions together.
pub const BODIES_BYTES_MAX: usize = 64 << 20;
/// `NAMEDATALEN` is 64 unless the server was built otherwise.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a row of the catalog was not accepted. The server is at fault, or the database is larger than the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogError {
    /// There is no query of that index.
    NoSuchQuery {
        /// The index given.
        query_index: usize,
    },
    /// A row has another number of cells than its query.
    Cells {
        /// Which query.
        query_index: usize,
        /// How many cells came.
        count: usize,
    },
    /// A cell is NULL, not a number, not UTF-8 or too long.
    Cell {
        /// Which query.
        query_index: usize,
        /// Which cell of the row.
        cell_index: usize,
    },
    /// More rows than are held.
    TooMany {
        /// Which query.
        query_index: usize,
    },
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchQuery { query_index } => write!(f, "there is no catalog query {query_index}"),
            Self::Cells { query_index, count } => {
                write!(f, "catalog query {query_index} returned a row of {count} cells")
            }
            Self::Cell {
                query_index,
                cell_index,
            } => {
                write!(
                    f,
                    "catalog query {query_index} returned an unexpected value in cell {cell_index}"
                )
            }
            Self::TooMany { query_index } => write!(f, "catalog query {query_index} returned too many rows"),
        }
    }
}

impl std::error::Error for CatalogError {}

/// Builds a [`Catalog`] row by row.
#[derive(Clone, Default)]
pub struct Loader {
    catalog: Catalog,
    places: HashMap<u32, usize>,
    columns_count: usize,
    sources_count: usize,
    bodies_bytes: usize,
}

impl Loader {
    /// All queries with their numbers, in the order in which their rows are to be fed.
    pub fn queries() -> impl Iterator<Item = (usize, &'static str)> {
        let system = SYSTEM_QUERIES.iter().copied();
        system.chain(QUERIES.iter().copied().enumerate())
    }

    /// A loader that has seen no row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one row of `QUERIES[query_index]`, or of the query of that number in [`SYSTEM_QUERIES`]. Rows about relations that the first query did not show (made
    /// since, or indexes) are passed over.
    pub fn row(&mut self, query_index: usize, cells: &[Option<&[u8]>]) -> Result<(), CatalogError> {
        let row = Row { query_index, cells };
        match (query_index, cells.len()) {
            (0, 4) => self.relation(&row),
            (1, 4) => self.column(&row),
            (2, 2) => self.source(&row),
            (3, 1) => self.function(&row),
            (4, 3) => self.generated(&row),
            (5, 3) => self.reaction(&row),
            (6, 6) => self.cascade(&row),
            (7, 2) => self.key(&row),
            (8, 4) => self.test(&row),
            (9, 2) => self.extension_function(&row),
            (10, 1) => self.version(&row),
            (11, 3) => self.builtin(&row),
            (12, 3) => self.calling(&row),
            (13, 2) => self.dependent(&row),
            (14, 3) => self.object(&row),
            (15, 1) => self.on_temporary(&row),
            (BODIES_AT, _) => Ok(()),
            (17, 2) => self.view(&row),
            (18, 5) => self.body(&row),
            (0..=18, count) => Err(CatalogError::Cells { query_index, count }),
            _ => Err(CatalogError::NoSuchQuery { query_index }),
        }
    }

    fn relation(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let oid = row.number(0)?;
        let kind = match row.cells[3] {
            Some(&[kind]) => kind,
            _ => return Err(row.bad(3)),
        };
        let relation = Relation::new(oid, &row.name(1)?, &row.name(2)?, kind, Vec::new());
        row.room(self.catalog.relations.len(), RELATIONS_MAX)?;
        if self.places.insert(oid, self.catalog.relations.len()).is_some() {
            return Err(row.bad(0));
        }
        self.catalog.relations.push(relation);
        Ok(())
    }

    fn column(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let oid: u32 = row.number(0)?;
        let column = Column {
            number: row.number(1)?,
            name: row.name(2)?,
            type_oid: row.number(3)?,
        };
        if column.number < 1 {
            return Err(row.bad(1));
        }
        row.room(self.columns_count, COLUMNS_MAX)?;
        if let Some(&place) = self.places.get(&oid) {
            self.columns_count += 1;
            self.catalog.relations[place].columns.push(column);
        }
        Ok(())
    }

    fn source(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (oid, source): (u32, u32) = (row.number(0)?, row.number(1)?);
        row.room(self.sources_count, SOURCES_MAX)?;
        if oid != source
            && self.places.contains_key(&source)
            && let Some(&place) = self.places.get(&oid)
        {
            self.sources_count += 1;
            self.catalog.relations[place].sources.push(source);
        }
        Ok(())
    }

    fn function(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.user_functions.len(), FUNCTIONS_MAX)?;
        self.catalog.user_functions.insert(row.name(0)?.to_lowercase());
        Ok(())
    }

    fn generated(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (oid, column, source): (u32, i16, i16) = (row.number(0)?, row.number(1)?, row.number(2)?);
        row.room(self.sources_count, SOURCES_MAX)?;
        if let Some(&place) = self.places.get(&oid) {
            self.sources_count += 1;
            self.catalog.relations[place].generated.push((column, source));
        }
        Ok(())
    }

    fn reaction(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (oid, code, rules): (u32, u8, u8) = (row.number(0)?, row.number(1)?, row.number(2)?);
        if let Some(&place) = self.places.get(&oid) {
            let reactions = &mut self.catalog.relations[place].reactions;
            reactions.triggers |= code & 1 != 0;
            reactions.calls |= code & 2 != 0;
            reactions.locks |= code & 4 != 0;
            reactions.rules |= rules != 0;
        }
        Ok(())
    }

    fn cascade(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (oid, relation): (u32, u32) = (row.number(0)?, row.number(1)?);
        row.room(self.sources_count, SOURCES_MAX)?;
        let (on_delete, on_update) = (row.text(2)?, row.text(3)?);
        let (column, referenced) = (row.number(4)?, row.number(5)?);
        if let Some(&place) = self.places.get(&oid) {
            self.sources_count += 1;
            self.catalog.relations[place].reactions.cascades.push(Cascade {
                relation,
                column,
                referenced,
                deletes_on_delete: on_delete == "c",
                updates_on_delete: matches!(on_delete, "n" | "d"),
                updates_on_update: matches!(on_update, "c" | "n" | "d"),
            });
        }
        Ok(())
    }

    fn key(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (oid, column): (u32, i16) = (row.number(0)?, row.number(1)?);
        row.room(self.sources_count, SOURCES_MAX)?;
        if let Some(&place) = self.places.get(&oid) {
            self.sources_count += 1;
            self.catalog.relations[place].keys.push(column);
        }
        Ok(())
    }

    fn test(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let (relation, oid, column): (u32, u32, i16) = (row.number(0)?, row.number(1)?, row.number(3)?);
        let kind = row.text(2)?;
        row.room(self.sources_count, SOURCES_MAX)?;
        let Some(&place) = self.places.get(&relation) else {
            return Ok(());
        };
        self.sources_count += 1;
        let tests = &mut self.catalog.relations[place].tests;
        if tests.last().is_none_or(|last| last.oid != oid) && !tests.iter().any(|test| test.oid == oid) {
            tests.push(Test {
                oid,
                of_others: kind != "c",
                ..Test::default()
            });
        }
        if let Some(test) = tests.iter_mut().rev().find(|test| test.oid == oid) {
            test.columns.push(column);
            if kind != "e" {
                test.tells.push(column);
            }
        }
        Ok(())
    }

    fn extension_function(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.extension_functions.len(), FUNCTIONS_MAX)?;
        let function = (row.name(0)?, row.name(1)?.to_lowercase());
        self.catalog.extension_functions.insert(function);
        Ok(())
    }

    /// One of the server's own functions: its name counts as somebody's unless it was found harmless.
    fn builtin(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.user_functions.len(), FUNCTIONS_MAX)?;
        let judge = Judge::of(row.number(0)?);
        if let Some(name) = judge.refuses(row.text(1)?, row.text(2)?) {
            self.catalog.user_functions.insert(name.to_lowercase());
        }
        Ok(())
    }

    fn calling(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.calling.len(), FUNCTIONS_MAX)?;
        if row.cells[0] == Some(b"e") {
            self.catalog.event_triggers = true;
            return Ok(());
        }
        let oid = row.number(2)?;
        if oid > 0 {
            self.catalog.calling_types.insert(oid);
        }
        self.catalog.calling.insert(row.name(1)?.to_lowercase());
        Ok(())
    }

    fn dependent(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.dependents.len(), SOURCES_MAX)?;
        self.catalog.dependents.push((row.number(0)?, row.number(1)?));
        Ok(())
    }

    fn object(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.objects.len(), FUNCTIONS_MAX)?;
        self.catalog
            .objects
            .push((row.name(0)?, row.name(1)?, row.number(2)?));
        Ok(())
    }

    fn on_temporary(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.on_temporary.len(), FUNCTIONS_MAX)?;
        self.catalog.on_temporary.push(row.name(0)?);
        Ok(())
    }

    fn version(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        self.catalog.version = Some(row.text(0)?.to_owned());
        Ok(())
    }

    /// The texts of views and functions could not be read: the catalog is to be read again even if nothing changes.
    pub fn without_bodies(&mut self) {
        self.catalog.version = None;
    }

    fn view(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let oid: u32 = row.number(0)?;
        // A view that was dropped meanwhile has no text any more.
        let body = if row.cells[1].is_some() {
            Some(row.text(1)?)
        } else {
            None
        };
        if let (Some(&place), Some(body)) = (self.places.get(&oid), body)
            && self.room_for(body)
        {
            self.catalog.relations[place].body = Some(body.to_owned());
        }
        Ok(())
    }

    fn body(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        row.room(self.catalog.functions.len(), FUNCTIONS_MAX)?;
        let body = if row.cells[3].is_some() {
            Some(row.text(3)?)
        } else {
            None
        };
        let function = Function {
            schema: row.name(0)?,
            name: row.name(1)?,
            arguments_count: row.number(2)?,
            argument_types: row
                .text(4)?
                .split_ascii_whitespace()
                .map(|oid| oid.parse().unwrap_or(u32::MAX)) // as good as somebody's
                .collect(),
            sql_body: body.filter(|body| self.room_for(body)).map(str::to_owned),
        };
        self.catalog.functions.push(function);
        Ok(())
    }

    /// Whether a text is still within the bounds; one that is not counts as unknown.
    fn room_for(&mut self, body: &str) -> bool {
        if body.len() > crate::STATEMENT_BYTES_MAX || self.bodies_bytes + body.len() > BODIES_BYTES_MAX {
            return false;
        }
        self.bodies_bytes += body.len();
        true
    }

    /// The catalog, relations by OID, columns by number, sources by OID, all without duplicates.
    pub fn finish(mut self, epoch: u64) -> Catalog {
        self.catalog.epoch = epoch;
        for relation in &mut self.catalog.relations {
            relation.columns.sort_unstable_by_key(|column| column.number);
            relation.columns.dedup_by_key(|column| column.number);
            relation.sources.sort_unstable();
            relation.sources.dedup();
            relation.generated.sort_unstable();
            relation.reactions.cascades.sort_unstable();
            relation.keys.sort_unstable();
            relation.keys.dedup();
            for test in &mut relation.tests {
                test.columns.sort_unstable();
                test.tells.sort_unstable();
            }
            relation.tests.sort_unstable();
        }
        self.catalog
            .relations
            .sort_unstable_by_key(|relation| relation.oid);
        self.catalog.dependents.sort_unstable();
        self.catalog.objects.sort_unstable();
        self.catalog
    }
}

/// One row and where it is from.
struct Row<'a> {
    query_index: usize,
    cells: &'a [Option<&'a [u8]>],
}

impl Row<'_> {
    fn bad(&self, cell_index: usize) -> CatalogError {
        CatalogError::Cell {
            query_index: self.query_index,
            cell_index,
        }
    }

    fn room(&self, count: usize, max: usize) -> Result<(), CatalogError> {
        if count < max {
            Ok(())
        } else {
            Err(CatalogError::TooMany {
                query_index: self.query_index,
            })
        }
    }

    fn text(&self, cell_index: usize) -> Result<&str, CatalogError> {
        self.cells[cell_index]
            .and_then(|cell| std::str::from_utf8(cell).ok())
            .ok_or_else(|| self.bad(cell_index))
    }

    fn name(&self, cell_index: usize) -> Result<String, CatalogError> {
        let name = self.text(cell_index)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(self.bad(cell_index));
        }
        Ok(name.to_owned())
    }

    fn number<T: std::str::FromStr>(&self, cell_index: usize) -> Result<T, CatalogError> {
        self.text(cell_index)?.parse().map_err(|_| self.bad(cell_index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(loader: &mut Loader, query_index: usize, cells: &[&str]) -> Result<(), CatalogError> {
        let cells: Vec<Option<&[u8]>> = cells.iter().map(|cell| Some(cell.as_bytes())).collect();
        loader.row(query_index, &cells)
    }

    #[test]
    fn rows_become_relations_in_order() {
        let mut loader = Loader::new();
        feed(&mut loader, 0, &["300", "app", "v", "v"]).unwrap();
        feed(&mut loader, 0, &["200", "app", "t", "r"]).unwrap();
        feed(&mut loader, 1, &["200", "3", "b", "25"]).unwrap();
        feed(&mut loader, 1, &["200", "1", "a", "23"]).unwrap();
        feed(&mut loader, 1, &["999", "1", "gone", "23"]).unwrap();
        for (of, source) in [
            ("300", "200"),
            ("300", "200"),
            ("300", "300"),
            ("300", "999"),
            ("999", "200"),
        ] {
            feed(&mut loader, 2, &[of, source]).unwrap();
        }
        feed(&mut loader, 3, &["MyFunc"]).unwrap();
        let catalog = loader.finish(7);
        assert_eq!(catalog.epoch, 7);
        assert_eq!(
            catalog
                .relations
                .iter()
                .map(|relation| relation.oid)
                .collect::<Vec<_>>(),
            [200, 300]
        );
        let numbers: Vec<_> = catalog.relations[0]
            .columns
            .iter()
            .map(|column| column.number)
            .collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(catalog.relations[1].sources, [200]);
        assert!(catalog.user_functions.contains("myfunc"));
    }

    #[test]
    fn texts_and_reactions_find_their_relations() {
        let mut loader = Loader::new();
        feed(&mut loader, 0, &["200", "app", "t", "r"]).unwrap();
        feed(&mut loader, 0, &["300", "app", "v", "v"]).unwrap();
        feed(&mut loader, 4, &["200", "3", "1"]).unwrap();
        feed(&mut loader, 5, &["200", "1", "0"]).unwrap();
        feed(&mut loader, 5, &["300", "0", "1"]).unwrap();
        feed(&mut loader, 6, &["200", "201", "c", "n", "2", "1"]).unwrap();
        feed(&mut loader, 6, &["999", "201", "c", "a", "2", "1"]).unwrap();
        feed(&mut loader, 7, &["200", "2"]).unwrap();
        feed(&mut loader, 7, &["200", "1"]).unwrap();
        feed(&mut loader, 7, &["201", "1"]).unwrap();
        for (constraint, kind, column) in [("9", "x", "3"), ("8", "c", "2"), ("8", "c", "0"), ("9", "e", "1")]
        {
            feed(&mut loader, 8, &["200", constraint, kind, column]).unwrap();
        }
        feed(&mut loader, 8, &["999", "7", "c", "1"]).unwrap();
        feed(&mut loader, 9, &["ext", "Similarity"]).unwrap();
        feed(&mut loader, 10, &["c:1"]).unwrap();
        feed(&mut loader, 11, &["150020", "lower(text)", "fis-i"]).unwrap();
        feed(&mut loader, 11, &["150020", "lo_get(oid)", "fvs-i"]).unwrap();
        feed(&mut loader, 11, &["150020", "Novel(text)", "fis-i"]).unwrap();
        feed(&mut loader, 12, &["o", "=~=", "0"]).unwrap();
        feed(&mut loader, 12, &["t", "Mood", "20007"]).unwrap();
        feed(&mut loader, 12, &["e", "tells", "0"]).unwrap();
        feed(&mut loader, 13, &["200", "300"]).unwrap();
        feed(&mut loader, 14, &["app", "t_pkey", "200"]).unwrap();
        feed(&mut loader, 15, &["through"]).unwrap();
        feed(&mut loader, 17, &["300", "SELECT 1"]).unwrap();
        loader.row(17, &[Some(b"301"), None]).unwrap();
        feed(&mut loader, 18, &["app", "f", "2", "SELECT $1", "25 2205"]).unwrap();
        loader
            .row(18, &[Some(b"app"), Some(b"g"), Some(b"0"), None, Some(b"")])
            .unwrap();
        let catalog = loader.finish(1);
        let [table, view] = catalog.relations.as_slice() else {
            panic!("two relations")
        };
        assert!(!catalog.user_functions.contains("lower") && catalog.user_functions.contains("lo_get"));
        assert!(
            catalog.user_functions.contains("novel"),
            "nobody looked at it yet"
        );
        assert_eq!(table.generated, [(3, 1)]);
        assert_eq!(table.keys, [1, 2]);
        let tests = table.tests.iter();
        let tests: Vec<_> = tests
            .map(|test| (test.of_others, &*test.columns, &*test.tells))
            .collect();
        assert_eq!(tests, [(false, &[0, 2][..], &[0, 2][..]), (true, &[1, 3], &[3])]);
        assert_eq!(catalog.version.as_deref(), Some("c:1"));
        assert!(catalog.calling.contains("=~=") && catalog.calling.contains("mood"));
        assert!(catalog.calling_types == [20007].into() && catalog.event_triggers);
        assert!(catalog.dependents == [(200, 300)] && catalog.objects.len() == 1);
        assert!(
            catalog
                .extension_functions
                .contains(&("ext".into(), "similarity".into()))
        );
        assert!(table.reactions.triggers && !table.reactions.rules && view.reactions.rules);
        let cascade = table.reactions.cascades[0];
        assert_eq!((cascade.column, cascade.referenced), (2, 1));
        assert!(cascade.deletes_on_delete && !cascade.updates_on_delete && cascade.updates_on_update);
        assert_eq!(view.body.as_deref(), Some("SELECT 1"));
        let bodies = catalog.functions.iter().map(|f| f.sql_body.as_deref());
        assert_eq!(bodies.collect::<Vec<_>>(), [Some("SELECT $1"), None]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut loader = Loader::new();
        assert_eq!(
            feed(&mut loader, 0, &["1", "a", "b"]),
            Err(CatalogError::Cells {
                query_index: 0,
                count: 3
            })
        );
        assert_eq!(
            feed(&mut loader, 19, &[]),
            Err(CatalogError::NoSuchQuery { query_index: 19 })
        );
        let bad = |query_index, cell_index| {
            Err(CatalogError::Cell {
                query_index,
                cell_index,
            })
        };
        assert_eq!(feed(&mut loader, 0, &["x", "a", "b", "r"]), bad(0, 0));
        assert_eq!(feed(&mut loader, 0, &["1", "a", "b", "rr"]), bad(0, 3));
        assert_eq!(
            feed(&mut loader, 0, &["1", "a", &"b".repeat(256), "r"]),
            bad(0, 2)
        );
        assert_eq!(feed(&mut loader, 1, &["1", "0", "b", "23"]), bad(1, 1));
        assert_eq!(loader.row(3, &[None]), bad(3, 0));
        feed(&mut loader, 0, &["1", "a", "b", "r"]).unwrap();
        assert_eq!(feed(&mut loader, 0, &["1", "a", "c", "r"]), bad(0, 0));
    }

    #[test]
    fn the_queries_themselves_are_readable_and_only_read() {
        for (index, query) in Loader::queries() {
            let statement = crate::read_detailed(query.as_bytes()).unwrap();
            let expected = match index {
                BODIES_AT => linegate_identity::Effects::SET,
                _ => linegate_identity::Effects::SELECT,
            };
            assert_eq!(statement.effects, expected);
            assert_eq!(statement.count, 1);
        }
    }
}
