//! One side connection: asks a server what its catalogs look like, and reads them.
//!
//! What the server brought along is read once per connection and kept while it stays what it was: it is most of what there is, and
//! a session that makes tables waits for each reading.

use std::collections::HashSet;
use std::rc::Rc;

use codecs::postgres::Limits;
use codecs::postgres::backend::tag;
use codecs::postgres::build::frontend as tell;
use linegate_policy::{Catalog, Relation};
use linegate_sql::catalog::{
    BODIES_AT, Loader, MADE_IN, POSTLUDE, QUERIES, SETTINGS, SYSTEM_QUERIES, SYSTEM_VERSION, VERSION, VIEW,
};

use crate::session::postgres::back_door::{self, Backend};
use crate::shared::Target;
use crate::slab::Pool;

/// What the catalog is read under, whatever defaults somebody gave the role or the database: names and operators are the
/// server's own, texts are printed as they are read here, and nobody cuts a reading short. Values as SQL
/// spells them.
const PINNED: &[(&str, &str)] = &[
    ("search_path", "pg_catalog"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_deferrable", "off"),
    ("jit", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("row_security", "on"),
    ("role", "none"),
];
const LIMITS: Limits = Limits {
    frame_bytes_max: 16 << 20,
};
const REFUSED: &str = "the server refused a catalog query";

/// A connection, and what it read of the server's own.
pub(super) struct Side {
    backend: Backend,
    target: String,
    system: Option<System>,
    /// Queries that the server has planned: planning one takes longer than running it.
    planned: HashSet<String>,
}

/// What the server brought along.
struct System {
    version: String,
    loader: Loader,
}

impl Side {
    pub(super) async fn open(target: &Target, pool: &Rc<Pool>, database: &str) -> Result<Self, String> {
        let application = ("application_name", "linegate catalog");
        // Role and path are left as a session begins with them, which is asked for later; both are set before anything is named.
        let parameters: Vec<(String, String)> = PINNED
            .iter()
            .filter(|(name, _)| !["search_path", "role"].contains(name))
            .chain([&application])
            .map(|(name, value)| ((*name).to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let backend = back_door::connect(target, pool, database, &parameters)
            .await
            .map_err(|ended| ended.why)?;
        let mut side = Self {
            backend,
            target: target.config.name.clone(),
            system: None,
            planned: HashSet::new(),
        };
        // Once more as statements, and those two: since PostgreSQL 17, a trigger may run after the login.
        let set = |(name, value): &(&str, &str)| format!("SET {name} = {value};");
        let settings: String = PINNED.iter().map(set).collect();
        match side.ask(&settings, &mut |_| Ok(())).await? {
            true => Ok(side),
            false => Err("the server refused the settings that catalogs are read under".to_owned()),
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let mut bytes = Vec::new();
        tell::terminate(&mut bytes);
        let _ = self.backend.link.writer.write_vec(bytes).await;
    }

    /// The catalog, if it is not of that version.
    pub(super) async fn changed(&mut self, version: Option<&str>) -> Result<Option<Catalog>, String> {
        let before = self.version().await?;
        let made_in = self.made_in().await?;
        // Not all of what that depends on is in a database's catalogs.
        let stamped = |version: Option<String>| version.map(|version| format!("{version} {made_in:?}"));
        let finished = |mut catalog: Catalog| {
            catalog.version = stamped(catalog.version);
            catalog.made_in.clone_from(&made_in);
            Some(catalog)
        };
        if version.is_some() && stamped(before.clone()).as_deref() == version {
            return Ok(None);
        }
        for setting in SETTINGS {
            self.must(setting).await?;
        }
        let base = self.system().await?;
        let catalog = self.read(base, &[]).await?;
        let after = self.version().await?;
        if before.is_some() && before == after {
            return Ok(finished(catalog));
        }
        // Somebody is changing it all the time. What the server brought along is read within the same view.
        self.system = None;
        for query in SETTINGS.iter().chain(VIEW) {
            self.must(query).await?;
        }
        let base = self.read_system().await?;
        self.read(base, POSTLUDE).await.map(finished)
    }

    /// Where a session makes things without a schema; `None` where it can make none.
    async fn made_in(&mut self) -> Result<Option<String>, String> {
        let mut found = None;
        let keep = &mut |cells: &[Option<&[u8]>]| {
            let cell = cells.first().copied().flatten();
            found = cell.and_then(|cell| String::from_utf8(cell.to_vec()).ok());
            Ok(())
        };
        match self.ask(MADE_IN, keep).await? {
            true => Ok(found),
            false => Err(REFUSED.to_owned()),
        }
    }

    /// A loader that has seen what the server brought along.
    async fn system(&mut self) -> Result<Loader, String> {
        let version = self.one("linegate_system_version", SYSTEM_VERSION).await?;
        if let Some(known) = &self.system
            && version.as_ref() == Some(&known.version)
        {
            return Ok(known.loader.clone());
        }
        self.system = None;
        let loader = self.read_system().await?;
        // It is kept where nobody changed it meanwhile, and nobody's relation may be among it.
        let has_hidden = hidden(&loader.clone().finish(0)).is_some();
        if let Some(version) = version.filter(|_| !has_hidden)
            && self
                .one("linegate_system_version", SYSTEM_VERSION)
                .await?
                .as_ref()
                == Some(&version)
        {
            let loader = loader.clone();
            self.system = Some(System { version, loader });
        }
        Ok(loader)
    }

    async fn read_system(&mut self) -> Result<Loader, String> {
        let mut loader = Loader::new();
        for (index, query) in SYSTEM_QUERIES {
            let mut take =
                |cells: &[Option<&[u8]>]| loader.row(*index, cells).map_err(|error| error.to_string());
            let name = format!("linegate_system_{index}");
            if !self.ask_planned(&name, query, &mut take).await? {
                return Err(REFUSED.to_owned());
            }
        }
        Ok(loader)
    }

    /// The rest of one reading, and `end` behind it.
    async fn read(&mut self, mut loader: Loader, end: &[&str]) -> Result<Catalog, String> {
        for (index, query) in QUERIES.iter().enumerate() {
            let mut take =
                |cells: &[Option<&[u8]>]| loader.row(index, cells).map_err(|error| error.to_string());
            let is_setting = query.starts_with("SET");
            let is_well = if is_setting {
                self.ask(query, &mut take).await?
            } else {
                let name = format!("linegate_{index}");
                self.ask_planned(&name, query, &mut take).await?
            };
            if is_well {
                continue;
            }
            if index < BODIES_AT {
                return Err(REFUSED.to_owned());
            }
            // The rest goes without: what is built over labels then counts as not followed.
            tracing::warn!(target = %self.target, "texts of views and functions could not be read");
            loader.without_bodies();
        }
        for query in end {
            self.must(query).await?;
        }
        Ok(loader.finish(0))
    }

    /// What the catalogs say of themselves now.
    async fn version(&mut self) -> Result<Option<String>, String> {
        self.one("linegate_version", VERSION).await
    }

    /// The one cell that a query answers with; `None` where the server refused it.
    async fn one(&mut self, name: &str, query: &str) -> Result<Option<String>, String> {
        let mut found = None;
        let keep = &mut |cells: &[Option<&[u8]>]| {
            let cell = cells.first().copied().flatten();
            found = cell.and_then(|cell| String::from_utf8(cell.to_vec()).ok());
            Ok(())
        };
        let is_well = self.ask_planned(name, query, keep).await?;
        Ok(found.filter(|_| is_well))
    }

    /// Asks what returns nothing.
    async fn must(&mut self, query: &str) -> Result<(), String> {
        match self.ask(query, &mut |_| Ok(())).await? {
            true => Ok(()),
            false => Err(REFUSED.to_owned()),
        }
    }

    /// The same as [`Self::ask`], with the plan that the server made when it was asked under that name before.
    async fn ask_planned(
        &mut self,
        name: &str,
        query: &str,
        take: &mut impl FnMut(&[Option<&[u8]>]) -> Result<(), String>,
    ) -> Result<bool, String> {
        if !self.planned.contains(name) {
            if !self
                .ask(&format!("PREPARE {name} AS {query}"), &mut |_| Ok(()))
                .await?
            {
                return Ok(false);
            }
            self.planned.insert(name.to_owned());
        }
        self.ask(&format!("EXECUTE {name}"), take).await
    }

    /// Asks one query and hands over its rows. False when the server refused it.
    async fn ask(
        &mut self,
        query: &str,
        take: &mut impl FnMut(&[Option<&[u8]>]) -> Result<(), String>,
    ) -> Result<bool, String> {
        let mut bytes = Vec::new();
        tell::query(&mut bytes, query.as_bytes());
        let written = self.backend.link.writer.write_vec(bytes).await.0;
        written.map_err(|error| error.to_string())?;
        let mut is_well = true;
        loop {
            let frame = self.backend.next(&LIMITS).await?;
            let payload = frame.payload(self.backend.ingress.data());
            match frame.tag {
                tag::DATA_ROW => take(&cells(payload).ok_or("a malformed row")?)?,
                tag::ERROR_RESPONSE => is_well = false,
                _ => {}
            }
            self.backend.ingress.consume(frame.size.with_tag());
            if frame.tag == tag::READY_FOR_QUERY {
                return Ok(is_well);
            }
        }
    }
}

/// Somebody's relation with a number of the server's own: it was made before the server ran as one.
pub(super) fn hidden(catalog: &Catalog) -> Option<&Relation> {
    const OURS_FROM: u32 = 16384; // FirstNormalObjectId
    let is_systems = |schema: &str| matches!(schema, "pg_catalog" | "information_schema" | "pg_toast");
    let mut relations = catalog.relations.iter();
    relations.find(|relation| relation.oid < OURS_FROM && !is_systems(&relation.schema))
}

fn cells(payload: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = payload.split_first_chunk::<2>()?;
    let mut cells = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        match i32::from_be_bytes(*length) {
            -1 => {
                cells.push(None);
                rest = after;
            }
            length => {
                let (cell, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                cells.push(Some(cell));
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(cells)
}
