//! Reads a database's relations, their columns, where their rows come from, and its functions.
//! Source: PostgreSQL manual, "System Catalogs": pg_class, pg_attribute, pg_rewrite, pg_depend, pg_inherits, pg_proc.
//!
//! [`QUERIES`] are plain simple-protocol texts for PostgreSQL 14 or later; their results come as text cells. Run
//! [`PRELUDE`] first, then every query in order, feeding each row to [`Loader::row`], then [`POSTLUDE`].
//! The login needs no privilege beyond what every role has.
//!
//! Sources are taken from the rule texts as well as from `pg_depend`: dependencies on system catalogs are not
//! recorded there, and a view over `pg_statistic` is exactly what must not be missed. A TOAST table's source is the
//! table whose values it holds.

use std::collections::HashMap;
use std::fmt;

use linegate_policy::catalog::{Catalog, Column, Relation};

/// Relations that are held; more is an error.
pub const RELATIONS_MAX: usize = 500_000;
/// Columns of all relations together.
pub const COLUMNS_MAX: usize = 8_000_000;
/// Pairs of relation and source together.
pub const SOURCES_MAX: usize = 4_000_000;
/// Functions outside `pg_catalog`.
pub const FUNCTIONS_MAX: usize = 1_000_000;
/// `NAMEDATALEN` is 64 unless the server was built otherwise.
pub const NAME_BYTES_MAX: usize = 255;

/// Brings the connection into one consistent, read-only view, with names that mean what they say.
pub const PRELUDE: &[&str] = &[
    "SET search_path = pg_catalog",
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
];

/// Ends what [`PRELUDE`] began.
pub const POSTLUDE: &[&str] = &["COMMIT"];

/// The queries, in the order in which their rows are to be fed.
pub const QUERIES: &[&str] = &[RELATIONS, COLUMNS, SOURCES, FUNCTIONS];

const RELATIONS: &str = "\
SELECT c.oid, n.nspname, c.relname, c.relkind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't')
 ORDER BY c.oid";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attnum, a.attname, a.atttypid
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't') AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum";

const SOURCES: &str = "\
SELECT r.ev_class, m.found[1]::pg_catalog.oid
  FROM pg_catalog.pg_rewrite r,
       LATERAL pg_catalog.regexp_matches(r.ev_action::pg_catalog.text, ':relid ([0-9]+)', 'g') AS m(found)
UNION
SELECT r.ev_class, d.refobjid
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
 WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
UNION
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i
UNION
SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i
UNION
SELECT c.reltoastrelid, c.oid FROM pg_catalog.pg_class c WHERE c.reltoastrelid <> 0";

/// Functions in `pg_catalog` that initdb did not make (their OIDs start at FirstNormalObjectId) count as well.
const FUNCTIONS: &str = "\
SELECT DISTINCT p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname <> 'pg_catalog' OR p.oid >= 16384";

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
#[derive(Default)]
pub struct Loader {
    catalog: Catalog,
    places: HashMap<u32, usize>,
    columns_count: usize,
    sources_count: usize,
}

impl Loader {
    /// The queries, in the order in which their rows are to be fed.
    pub const QUERIES: &'static [&'static str] = QUERIES;

    /// A loader that has seen no row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one row of `QUERIES[query_index]`. Rows about relations that the first query did not show (made
    /// since, or indexes) are passed over.
    pub fn row(&mut self, query_index: usize, cells: &[Option<&[u8]>]) -> Result<(), CatalogError> {
        let row = Row { query_index, cells };
        match (query_index, cells.len()) {
            (0, 4) => self.relation(&row),
            (1, 4) => self.column(&row),
            (2, 2) => self.source(&row),
            (3, 1) => self.function(&row),
            (0..=3, count) => Err(CatalogError::Cells { query_index, count }),
            _ => Err(CatalogError::NoSuchQuery { query_index }),
        }
    }

    fn relation(&mut self, row: &Row<'_>) -> Result<(), CatalogError> {
        let oid = row.number(0)?;
        let kind = match row.cells[3] {
            Some(&[kind]) => kind,
            _ => return Err(row.bad(3)),
        };
        let relation = Relation {
            oid,
            schema: row.name(1)?,
            name: row.name(2)?,
            kind,
            columns: Vec::new(),
            sources: Vec::new(),
        };
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

    /// The catalog, relations by OID, columns by number, sources by OID, all without duplicates.
    pub fn finish(mut self, epoch: u64) -> Catalog {
        self.catalog.epoch = epoch;
        for relation in &mut self.catalog.relations {
            relation.columns.sort_unstable_by_key(|column| column.number);
            relation.columns.dedup_by_key(|column| column.number);
            relation.sources.sort_unstable();
            relation.sources.dedup();
        }
        self.catalog
            .relations
            .sort_unstable_by_key(|relation| relation.oid);
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
            feed(&mut loader, 9, &[]),
            Err(CatalogError::NoSuchQuery { query_index: 9 })
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
        for query in QUERIES {
            let statement = crate::read_detailed(query.as_bytes()).unwrap();
            assert_eq!(statement.effects, linegate_identity::Effects::SELECT);
            assert_eq!(statement.count, 1);
        }
    }
}
