//! Listens where a database tells of its own changes, so that what is changed around linegate is known at once and not at
//! the next look (`catalog`).
//!
//! Source: PostgreSQL manual, "LISTEN", "Event Triggers", NotificationResponse. The operator names a channel and makes an
//! event trigger that notifies it (`linegate role` prints both). What the notification says does not matter: whoever may
//! notify can make linegate look again, and nothing else. A listener keeps one connection per database open, outside any
//! transaction, from the first session of that database on.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::Limits;
use codecs::postgres::backend::tag;
use codecs::postgres::build::frontend as tell;

use crate::rt;
use crate::session::postgres::back_door;
use crate::shared::{CatalogWish, Shared, Target};
use crate::slab::Pool;

/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(5);
/// A payload has less than 8,000 bytes, an error not much more.
const LIMITS: Limits = Limits {
    frame_bytes_max: 1 << 20,
};

/// Databases that are listened to, by target and name.
#[derive(Clone, Default)]
pub struct Listening(Rc<RefCell<HashSet<(String, String)>>>);

impl Listening {
    /// Listens to that database from now on, if its target names a channel and nobody does already.
    pub fn begin(&self, shared: &Arc<Shared>, pool: &Rc<Pool>, wish: &CatalogWish) {
        let has_channel = shared
            .targets
            .get(&wish.target)
            .is_some_and(|target| target.config.catalog_channel.is_some());
        let place = (wish.target.clone(), wish.database.clone());
        if has_channel && self.0.borrow_mut().insert(place.clone()) {
            rt::spawn(listen(shared.clone(), pool.clone(), place));
        }
    }
}

/// For as long as linegate runs.
async fn listen(shared: Arc<Shared>, pool: Rc<Pool>, (name, database): (String, String)) {
    let Some(target) = shared.targets.get(&name) else {
        return;
    };
    let Some(channel) = &target.config.catalog_channel else {
        return;
    };
    loop {
        if let Err(why) = attend(&shared, target, &pool, &database, channel).await {
            tracing::warn!(target = %name, %database, %why, "changes of the catalog are not heard; they show at the next look");
        }
        rt::sleep(AGAIN).await;
    }
}

/// One connection's time.
async fn attend(
    shared: &Arc<Shared>,
    target: &Target,
    pool: &Rc<Pool>,
    database: &str,
    channel: &str,
) -> Result<(), String> {
    let parameters = [
        ("application_name", "linegate catalog listener"),
        ("idle_session_timeout", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let parameters = &parameters[..];
    let connected = back_door::connect(target, pool, database, parameters).await;
    let mut backend = connected.map_err(|ended| ended.why)?;
    let mut bytes = Vec::new();
    tell::query(&mut bytes, format!("LISTEN \"{channel}\"").as_bytes());
    let written = backend.link.writer.write_vec(bytes).await.0;
    written.map_err(|error| error.to_string())?;
    loop {
        let frame = backend.next(&LIMITS).await?;
        backend.ingress.consume(frame.size.with_tag());
        match frame.tag {
            // What changed before anybody listened was not heard.
            tag::READY_FOR_QUERY | tag::NOTIFICATION_RESPONSE => {
                shared.catalog(&target.config.name, database).mark_stale();
                shared.wish_catalog(&target.config.name, database);
            }
            tag::ERROR_RESPONSE => return Err("the server refused to be listened to".to_owned()),
            _ => {}
        }
    }
}
